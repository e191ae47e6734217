"""Whether the service works: not whether a port is open, but whether a photo, a recording and a video get a verdict.

A Triton whose Python process was killed still says that it is ready, so canaries go through the public models every few
seconds, and at once after a request that got no answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from deepscan_client import DeepScanError, InternalError, Medium, UnavailableError
from ml_backend.inference.verdicts import Verdicts

log = logging.getLogger("deepscan.gateway")
_RETRY_SECONDS = 1.0
"""Time between canaries while Triton does not answer."""


class Health:
    """What the canary said last.

    Args:
        verdicts: the way to Triton.
        canaries: an encoded file of each medium that is served.
        seconds: time between two looks.
    """

    def __init__(self, verdicts: Verdicts, canaries: Mapping[Medium, bytes], seconds: float) -> None:
        self._verdicts = verdicts
        self._canaries = canaries
        self._failed: dict[Medium, DeepScanError] = {}
        self._seconds = seconds
        self._checked: float | None = None
        self._good: float | None = None
        self._error: DeepScanError | None = None
        self._milliseconds: float | None = None
        self._one_at_a_time = asyncio.Lock()
        self.draining = False
        """Health says 503, so that a load balancer turns away."""
        self.closing = False
        """New files are refused; those at work are finished."""

    @property
    def ready(self) -> bool:
        """Whether photos, recordings and videos are answered."""
        return self._checked is not None and self._error is None and not self.draining

    def refuse_when_closing(self) -> None:
        """Let a file in, unless the gateway is about to end.

        Raises:
            UnavailableError: it is.
        """
        if self.closing:
            raise UnavailableError("the gateway is ending", remedy="send it again, another instance answers")

    @property
    def doubtful(self) -> bool:
        """Whether a request got no answer since the last canary."""
        return self._verdicts.lost_triton.is_set()

    async def check(self) -> None:
        """Send each canary once and remember what came back."""
        async with self._one_at_a_time:
            self._verdicts.lost_triton.clear()
            start = time.perf_counter()
            was_good = self._checked is not None and self._error is None
            failed: dict[Medium, DeepScanError] = {}
            for medium, data in self._canaries.items():
                try:
                    await self._verdicts.canary(medium, data)
                except DeepScanError as error:
                    if was_good or self._checked is None:
                        log.warning("the canary of %s got no verdict: %s", medium, error)
                    failed[medium] = error
                except Exception as error:  # a defect here must not look like health, and must not end the watch
                    log.exception("the canary failed in the gateway itself")
                    failed[medium] = InternalError(f"{type(error).__name__} in the gateway", remedy="look at its log")
            self._failed = failed
            self._error = next(iter(failed.values()), None)
            if self._error is None:
                self._good = time.monotonic()
                self._milliseconds = (time.perf_counter() - start) * 1e3
            self._checked = time.monotonic()

    async def watch(self) -> None:
        """Check again and again; ends when cancelled."""
        while True:
            await self.check()
            pause = self._seconds if self._error is None else min(_RETRY_SECONDS, self._seconds)
            try:
                # A failed request brings the next look forward, but never makes it a busy loop.
                await asyncio.sleep(min(_RETRY_SECONDS, pause))
                await asyncio.wait_for(self._verdicts.lost_triton.wait(), max(0.0, pause - _RETRY_SECONDS))
            except TimeoutError:
                continue

    def snapshot(self) -> dict[str, Any]:
        """What ``/api/health`` shows."""
        now = time.monotonic()
        canary: dict[str, Any] = {
            "last_good_s_ago": None if self._good is None else round(now - self._good, 3),
            "ms": None if self._milliseconds is None else round(self._milliseconds, 3),
        }
        if self._error is not None:
            canary["error"] = self._error.to_dict()
        if self.draining:
            state = "draining"
        elif self._checked is None:
            state = "starting"
        else:
            state = "ready" if self._error is None else "unavailable"
        return {
            "status": "ok" if self.ready else state,
            "gateway": "draining" if self.draining else "ok",
            "triton": "unknown" if self._checked is None else ("ready" if self._error is None else "unavailable"),
            "media": {str(medium): self._state_of(medium) for medium in self._canaries},
            "canary": canary,
        }

    def _state_of(self, medium: Medium) -> str:
        if self._checked is None:
            return "unknown"
        return "unavailable" if medium in self._failed else "ready"
