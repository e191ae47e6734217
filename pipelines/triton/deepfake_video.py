"""Triton model ``deepfake_video``: a video with progress, then its verdict.

Decoupled: each stretch of frames is a message with PROGRESS, and the last message is the verdict. It ends the request
by itself, because not every client is told of Triton's own end of a stream.

A request takes its file at once and then waits for a worker: an upload would expire in Triton's own queue, behind a
crowd or an hour of video. A caller that went away is noticed between two frames, and its file is gone with its request.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import cv2
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import CancelledError, RequestError
from deepscan_client.verdict import Progress
from pipelines.options import Options, parse_options
from pipelines.triton.backend import (
    open_repository,
    probability_tensor,
    profile_of,
    single_bytes,
    text_tensor,
    triton_error,
    verdict_tensors,
)
from pipelines.triton.bls import BlsInfer
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.upload import Spool
from pipelines.video.verdict import VideoJudge

WORKERS = 2
"""Videos that one instance judges side by side: decoding and the calls of networks leave Python to others, and a long
video does not hold up the short ones behind it."""
_LOOK_SECONDS = 0.1
"""Time between two questions whether the caller is still there; each is a message to another process."""
_LAST = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """VIDEO or UPLOAD, and OPTIONS, to messages of PROGRESS, and one of VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records; the networks are other models of this server."""
        cv2.setNumThreads(1)
        repository, profile = open_repository(args), profile_of(args)
        self._spool = Spool()
        self._ending = threading.Event()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="video")
        self._idle: queue.SimpleQueue[tuple[VideoAnalyzer, VideoJudge]] = queue.SimpleQueue()
        for _ in range(WORKERS):  # nothing is shared between two videos
            analyzer = VideoAnalyzer(repository, BlsInfer(), profile=profile)
            self._idle.put((analyzer, VideoJudge(repository, profile)))

    def execute(self, requests: list[Any]) -> None:
        """Take each request's file and leave the rest to the workers; an error is the answer of its request alone."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                with ExitStack() as held:
                    options = parse_options(single_bytes(request, "OPTIONS"))
                    path = held.enter_context(self._file(request))
                    self._workers.submit(self._answer, sender, path, options, held.pop_all())
            except Exception as error:
                _send_error(sender, error)

    def finalize(self) -> None:
        """End what is still at work."""
        self._ending.set()
        self._workers.shutdown(wait=True)

    def _answer(self, sender: Any, path: Path, options: Options, held: ExitStack) -> None:
        caller = _Caller(sender, self._ending)
        tools = self._idle.get()
        try:
            with held:
                if caller.left():  # while it waited
                    raise CancelledError("the caller cancelled the request")
                verdict = analyze_video(path, *tools, options, caller.tell, caller.left)
            tensors = [text_tensor("PROGRESS", ""), *verdict_tensors(verdict)]
            sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=_LAST)
        except CancelledError:
            sender.send(flags=_LAST)
        except Exception as error:
            _send_error(sender, error)
        finally:
            self._idle.put(tools)

    def _file(self, request: Any) -> AbstractContextManager[Path]:
        video, upload = single_bytes(request, "VIDEO"), single_bytes(request, "UPLOAD")
        if (video is None) == (upload is None):
            raise RequestError(
                "a request has either VIDEO or UPLOAD", remedy="send the video, or the id of its upload, and not both"
            )
        if upload is None:
            return self._spool.whole(video or b"")
        return self._spool.claim(upload.decode("utf-8", "replace"))


class _Caller:
    """Who asked for a verdict."""

    def __init__(self, sender: Any, ending: threading.Event) -> None:
        self._sender = sender
        self._ending = ending
        self._looked = 0.0
        self._left = False

    def left(self) -> bool:
        """Whether the caller cancelled or went away, or the model ends."""
        now = time.monotonic()
        if not self._left and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._left = self._ending.is_set() or bool(self._sender.is_cancelled())
        return self._left

    def tell(self, progress: Progress) -> None:
        """Send a message of progress."""
        message = [
            text_tensor("PROGRESS", progress.to_json()),
            text_tensor("VERDICT", ""),
            text_tensor("LABEL", ""),
            probability_tensor(progress.fake_probability),
        ]
        self._sender.send(pb_utils.InferenceResponse(output_tensors=message))


def _send_error(sender: Any, error: Exception) -> None:
    sender.send(pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error)), flags=_LAST)
