"""A caller who goes away ends the work: it is asked between two packets, two frames and two calls of networks."""

from __future__ import annotations

from collections.abc import Callable

from deepscan_client.errors import CancelledError

Stopped = Callable[[], bool]
"""Whether the caller went away; cheap, because it is asked for each packet that is decoded."""
Check = Callable[[], None]
"""Raises ``CancelledError`` where the caller went away."""


def checker(stopped: Stopped | None, request_id: str = "") -> Check:
    """The check for a caller; one that never fails where nobody can leave."""

    def check() -> None:
        if stopped is not None and stopped():
            raise CancelledError("the caller cancelled the request", request_id=request_id or None)

    return check
