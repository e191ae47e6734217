"""Verdicts that take minutes: told step by step as server-sent events, and given up when their caller goes away.

https://html.spec.whatwg.org/multipage/server-sent-events.html: each event is ``event: <name>`` and ``data: <one line of
JSON>``; a line that begins with a colon says only that the connection lives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deepscan_client import DeepScanError, InternalError, Progress, Verdict

_T = TypeVar("_T")
_ALIVE_SECONDS = 10.0
"""Without an event for so long, a comment is sent, so that no proxy takes the connection for dead."""
_HEAD_SECONDS = 1.0
"""So long an answer waits for its first event: an error that is found by then has its own HTTP status."""
EVENT_STREAM = "text/event-stream"

Work = Callable[[Callable[[Progress], None]], Coroutine[Any, Any, Verdict]]
"""Works for a verdict and tells its progress."""


def event(name: str, line: str) -> bytes:
    """One server-sent event of a line of JSON."""
    return f"event: {name}\ndata: {line}\n\n".encode("utf-8", "replace")


async def while_present(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """Await some work, and cancel it as soon as its caller goes away.

    Args:
        receive: the request's, whose body has been read.

    Raises:
        ClientDisconnect: the caller went away.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        await _end(task, gone)


class VerdictEvents(Response):
    """``progress`` events, then one ``verdict`` or one ``error``.

    Args:
        work: begins at once.
        told: what an error looks like in the stream.
        held: closed when the answer has been sent, or could not be.
    """

    media_type = EVENT_STREAM

    def __init__(self, work: Work, told: Callable[[DeepScanError], dict[str, Any]], held: AsyncExitStack) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._told = told
        self._held = held
        self._news: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._task = asyncio.create_task(work(self._news.put_nowait))
        self._task.add_done_callback(lambda _: self._news.put_nowait(None))

    @classmethod
    async def begin(
        cls, work: Work, told: Callable[[DeepScanError], dict[str, Any]], held: AsyncExitStack
    ) -> VerdictEvents:
        """The answer, once something is there to be told or a second has passed.

        Raises:
            DeepScanError: the work failed at once, before anything was told: an answer with a status of its own.
        """
        answer = cls(work, told, held)
        try:
            await asyncio.wait({answer._task}, timeout=_HEAD_SECONDS)
            if answer._task.done() and answer._news.qsize() <= 1:
                answer._task.result()
        except BaseException:
            await _end(answer._task)
            await held.aclose()
            raise
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; the work ends with the connection."""
        gone = asyncio.create_task(_gone(receive))

        async def piece(body: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while (news := await self._next(gone)) is not None:
                await piece(news)
            if gone.done():
                raise ClientDisconnect
            await piece(self._last(), more=False)
        finally:
            await _end(self._task, gone)
            await self._held.aclose()

    async def _next(self, gone: asyncio.Task[None]) -> bytes | None:
        """The next piece of the stream; None where only its end is left."""
        waiting: asyncio.Task[Progress | None] = asyncio.create_task(self._news.get())
        try:
            await asyncio.wait({waiting, gone}, timeout=_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return None
            if not waiting.done():
                return b": at work\n\n"
            progress = waiting.result()
            return None if progress is None else event("progress", progress.to_json())
        finally:
            await _end(waiting)

    def _last(self) -> bytes:
        try:
            return event("verdict", self._task.result().to_json())
        except DeepScanError as error:
            return event("error", json.dumps(self._told(error)))
        except Exception as error:  # the answer has begun: its status cannot say so any more
            defect = InternalError(f"{type(error).__name__} in the gateway", remedy="report it with the request id")
            return event("error", json.dumps(self._told(defect)))


async def _gone(receive: Receive) -> None:
    """Return when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
