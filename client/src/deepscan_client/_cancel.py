"""A handle that cancels a call which another thread waits for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from deepscan_client.errors import CancelledError


class Cancellation:
    """Cancels the calls that it was given to, from any thread, once and for good.

    >>> cancellation = Cancellation()
    >>> cancellation.cancelled
    False

    With asyncio there is no need for it: cancel the task.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._actions: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel every call that has this handle, now and later."""
        with self._lock:
            self._event.set()
            actions = list(self._actions)
        for action in actions:
            action()

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until the cancellation; True where it came."""
        return self._event.wait(seconds)

    def raise_if_cancelled(self, request_id: str | None = None) -> None:
        """
        Raises:
            CancelledError: :meth:`cancel` was called.
        """
        if self.cancelled:
            raise CancelledError("the caller cancelled the request", request_id=request_id)

    @contextlib.contextmanager
    def runs(self, action: Callable[[], object]) -> Iterator[None]:
        """While inside, ``action`` is what cancelling does; at once where it came before."""
        with self._lock:
            self._actions.append(action)
            already = self.cancelled
        if already:
            action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)
