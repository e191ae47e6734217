"""What the decoupled models of videos share: files, workers, messages, and callers who go away.

Each stretch of frames is a message with PROGRESS, and the last message is the verdict. It ends the request by itself,
because not every client is told of Triton's own end of a stream.

A request takes its files at once and then waits for a worker: an upload would expire in Triton's own queue, behind a
crowd or an hour of video. A caller that went away is noticed between two frames, or while it waits in the line, and its
files are gone with its request. A request for few frames of a small file has a worker of its own: it takes a fraction
of a second, and the canary is one, so that an hour of video does not look like a server that is broken.

From the moment in which its files are taken a request has a message every few seconds until it is answered, also where
there is nothing new to tell; see :mod:`pipelines.triton.callers`.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import triton_python_backend_utils as pb_utils

from cards.card import Profile
from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import CancelledError, MediaError, RequestError
from deepscan_client.verdict import Verdict
from pipelines.options import Options, parse_options
from pipelines.triton.backend import (
    open_repository,
    profile_of,
    single_bytes,
    text_tensor,
    verdict_tensors,
)
from pipelines.triton.callers import Caller, Heart
from pipelines.video.upload import Spool

WORKERS = 2
"""Videos that one instance judges side by side: decoding and the calls of networks leave Python to others, and a long
video does not hold up the short ones behind it."""
QUICK_FRAMES, QUICK_BYTES = 4, 64 * 1024
"""What a request may ask for, and how large its files may be together, to go to the worker of the quick ones: not even
an hour of blackness fits, whose frames would all have to be decoded."""
_LINE_SECONDS = 0.25
"""Time between two looks at those who wait."""

Tools = TypeVar("Tools")


class _Lane(Generic[Tools]):
    """Workers, and what each of them judges with."""

    def __init__(self, tools: list[Tools]) -> None:
        self.pool = ThreadPoolExecutor(len(tools), thread_name_prefix="video")
        self.idle: queue.SimpleQueue[Tools] = queue.SimpleQueue()
        for each in tools:
            self.idle.put(each)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request in the line: its files, and what closes them."""

    caller: Caller
    paths: list[Path | None]
    options: Options
    held: ExitStack


class _Line:
    """Requests that wait for a worker; whoever takes one out of it answers it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[_Waiting] = set()

    def add(self, waiting: _Waiting) -> None:
        """Begin to wait."""
        with self._lock:
            self._waiting.add(waiting)

    def take(self, waiting: _Waiting) -> bool:
        """Whether it still waited."""
        with self._lock:
            there = waiting in self._waiting
            self._waiting.discard(waiting)
            return there

    def give_up(self) -> None:
        """Let those go whose caller went away."""
        with self._lock:
            line = list(self._waiting)
        for waiting in line:
            with self._lock:
                gone = waiting in self._waiting and waiting.caller.left()
                if gone:
                    self._waiting.discard(waiting)
            if gone:
                waiting.held.close()
                waiting.caller.answer()


class FilmModel(Generic[Tools]):
    """A video, and what belongs to it, to messages of PROGRESS, and one of VERDICT, FAKE_PROBABILITY and LABEL.

    A model says in ``files`` what it takes, in :meth:`tools` what judges one video at a time, and in :meth:`judge` how.
    """

    files: tuple[tuple[str, str], ...]
    """Inputs that carry each of its files: the bytes, or the id of an upload. The first file must come."""

    def tools(self, repository: ModelRepository, profile: Profile) -> Tools:
        """What one worker judges with; nothing is shared between two videos."""
        raise NotImplementedError

    def judge(self, paths: list[Path | None], tools: Tools, options: Options, caller: Caller) -> Verdict:
        """The verdict on one request; ``paths`` are those of ``files``, None where one was left out.

        Raises:
            DeepScanError: there is none.
        """
        raise NotImplementedError

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records; the networks are other models of this server."""
        cv2.setNumThreads(1)
        repository, profile = open_repository(args), profile_of(args)
        self._spool = Spool()
        self._ending = threading.Event()
        self._usual = _Lane([self.tools(repository, profile) for _ in range(WORKERS)])
        self._quick = _Lane([self.tools(repository, profile)])
        self._line = _Line()
        self._heart = Heart()
        threading.Thread(target=self._watch_line, name="line", daemon=True).start()
        threading.Thread(target=self._heart.run, args=[self._ending], name="heart", daemon=True).start()

    def execute(self, requests: list[Any]) -> None:
        """Take each request's files and leave the rest to the workers; an error is the answer of its request alone."""
        for request in requests:
            caller = Caller(request.get_response_sender(), self._ending)
            try:
                with ExitStack() as held:
                    options = parse_options(single_bytes(request, "OPTIONS"))
                    paths = [self._taken(request, held, *names) for names in self.files]
                    if paths[0] is None:
                        raise _one_of(*self.files[0])
                    lane = self._quick if _is_quick(paths, options) else self._usual
                    self._heart.add(caller)
                    waiting = _Waiting(caller, paths, options, held.pop_all())
                    self._line.add(waiting)
                    lane.pool.submit(self._answer, lane, waiting)
            except Exception as error:
                caller.fail(error)

    def finalize(self) -> None:
        """End what is still at work."""
        self._ending.set()
        for lane in (self._usual, self._quick):
            lane.pool.shutdown(wait=True)

    def _answer(self, lane: _Lane[Tools], waiting: _Waiting) -> None:
        if not self._line.take(waiting):
            return  # its caller went away while it waited
        caller = waiting.caller
        tools = lane.idle.get()
        try:
            with waiting.held:
                if caller.left():
                    raise CancelledError("the caller cancelled the request")
                verdict = self.judge(waiting.paths, tools, waiting.options, caller)
            caller.answer([text_tensor("PROGRESS", ""), *verdict_tensors(verdict)])
        except CancelledError:
            caller.answer()
        except Exception as error:
            caller.fail(error)
        finally:
            lane.idle.put(tools)

    def _watch_line(self) -> None:
        while not self._ending.wait(_LINE_SECONDS):
            try:
                self._line.give_up()
            except Exception as error:  # the next look may do better; the workers answer in any case
                pb_utils.Logger.log_error(f"the line of videos cannot be looked through: {error}")

    def _taken(self, request: Any, held: ExitStack, whole: str, by_id: str) -> Path | None:
        """The path of one file, None where it was left out; it is gone when ``held`` closes."""
        data, upload = single_bytes(request, whole), single_bytes(request, by_id)
        if data is None and upload is None:
            return None
        if data is not None and upload is not None:
            raise _one_of(whole, by_id)
        if data == b"":
            what = "video" if (whole, by_id) == self.files[0] else "recording, or leave it out"
            raise MediaError(f"{whole} is empty", code=ErrorCode.EMPTY, remedy=f"send the bytes of a {what}")
        file: AbstractContextManager[Path]
        if upload is None:
            file = self._spool.whole(data or b"")
        else:
            file = self._spool.claim(upload.decode("utf-8", "replace"))
        return held.enter_context(file)


def _is_quick(paths: list[Path | None], options: Options) -> bool:
    frames = options.num_frames
    size = sum(path.stat().st_size for path in paths if path is not None)
    return frames is not None and frames <= QUICK_FRAMES and size <= QUICK_BYTES and not options.analyzers


def _one_of(whole: str, by_id: str) -> RequestError:
    return RequestError(
        f"a request has either {whole} or {by_id}", remedy="send the file, or the id of its upload, and not both"
    )
