"""How many files may be at work and how many may wait: the rest is told at once to come back later.

Triton's own queue policies stall on this server (some requests wait 500 ms), so load is shed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deepscan_client.errors import OverloadedError


class Admission:
    """A bounded number at work and a bounded number waiting, first come first served.

    Args:
        at_work: places.
        waiting: callers that may wait for a place.
        what: they are, for the message to those who are turned away.
    """

    def __init__(self, at_work: int, waiting: int, what: str = "photos") -> None:
        self._what = what
        self._places = asyncio.Semaphore(at_work)
        self._waiting_allowed = waiting
        self.at_work = 0
        self.waiting = 0
        self.shed = 0

    @asynccontextmanager
    async def place(self, patient: bool = False) -> AsyncIterator[None]:
        """Hold a place.

        Args:
            patient: wait even where the queue is full. For the items of a batch, which were let in together
                and of which only a few ask at a time.

        Raises:
            OverloadedError: all places are taken and the queue is full.
        """
        if self._places.locked() and self.waiting >= self._waiting_allowed and not patient:
            self.shed += 1
            raise OverloadedError(
                f"{self.at_work} {self._what} are at work and {self.waiting} are waiting",
                remedy="send it again after the seconds in Retry-After, or send fewer at a time",
            )
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1
            self._places.release()
