"""Triton model ``deepfake_video``: a video with progress, then its verdict.

Decoupled: each stretch of frames is a message with PROGRESS, and the last message is the verdict. It ends the request
by itself, because not every client is told of Triton's own end of a stream. A caller that went away is noticed between
two frames, and its file is gone with its request.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import CancelledError, RequestError
from deepscan_client.verdict import Progress
from pipelines.options import parse_options
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

_LOOK_SECONDS = 0.1
"""Time between two questions whether the caller is still there; each is a message to another process."""


class TritonPythonModel:
    """VIDEO or UPLOAD, and OPTIONS, to messages of PROGRESS, and one of VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records; the networks are other models of this server."""
        cv2.setNumThreads(1)
        repository, profile = open_repository(args), profile_of(args)
        self._analyzer = VideoAnalyzer(repository, BlsInfer(), profile=profile)
        self._judge = VideoJudge(repository, profile)
        self._spool = Spool()

    def execute(self, requests: list[Any]) -> None:
        """Answer each request; an error is the answer of its request and of no other."""
        for request in requests:
            sender = request.get_response_sender()
            last = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            try:
                tensors = self._watch(request, sender)
                sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=last)
            except CancelledError:
                sender.send(flags=last)
            except Exception as error:
                sender.send(pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error)), flags=last)

    def _watch(self, request: Any, sender: Any) -> list[Any]:
        """The tensors of the last message.

        Raises:
            CancelledError: the caller went away.
        """
        caller = _Caller(sender)
        with self._file(request) as path:
            options = parse_options(single_bytes(request, "OPTIONS"))
            verdict = analyze_video(path, self._analyzer, self._judge, options, caller.tell, caller.left)
        return [text_tensor("PROGRESS", ""), *verdict_tensors(verdict)]

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

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._looked = 0.0
        self._left = False

    def left(self) -> bool:
        """Whether the caller cancelled or went away."""
        now = time.monotonic()
        if not self._left and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._left = bool(self._sender.is_cancelled())
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
