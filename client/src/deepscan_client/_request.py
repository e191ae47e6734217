"""What the two clients share: a detection as tensors, its answer as a verdict, when to try again."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import index
from typing import TypeVar

from deepscan_client._cancel import Cancellation
from deepscan_client._config import Deadline, RetryBudget, RetryPolicy
from deepscan_client._status import deadline_error
from deepscan_client._transport import Arrays, CallOptions, bytes_tensor
from deepscan_client._video import Upload
from deepscan_client.codes import ErrorCode, Medium
from deepscan_client.errors import DeepScanError, InternalError, OverloadedError, RequestError, UnavailableError
from deepscan_client.verdict import Progress, Verdict

T = TypeVar("T")
OUTPUTS = ("VERDICT",)
STREAM_OUTPUTS = ("PROGRESS", "VERDICT")
"""Of a model that streams: VERDICT is empty in every message but the last."""


MOST_HEADERS = 8000
"""Characters of all headers together: servers take 16 KB with those of the protocol itself."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+(?<!-bin)")
"""What gRPC and HTTP both take; gRPC keeps the end ``-bin`` for bytes."""

UNTOLD = Progress(0.0)
"""What a server says of a video that it has seen nothing of: that it is there."""


@dataclass(frozen=True)
class Kind:
    """The public models of one medium."""

    model: str
    tensor: str
    stream: str = ""
    """The model that tells its progress; empty where there is none."""
    streams_only: bool = False
    """There is no model that answers once."""


IMAGE = Kind("deepfake_image", "IMAGE")
AUDIO = Kind("deepfake_audio", "AUDIO", "deepfake_audio_stream")
VIDEO = Kind("deepfake_video", "VIDEO", "deepfake_video", streams_only=True)
MULTIMODAL = Kind("deepfake_multimodal", "VIDEO", "deepfake_multimodal", streams_only=True)
KINDS = {Medium.IMAGE: IMAGE, Medium.AUDIO: AUDIO, Medium.VIDEO: VIDEO, Medium.MULTIMODAL: MULTIMODAL}


class Listener:
    """Tells a caller how far a call has come, each step once.

    Args:
        on_progress: the caller's function; None where nobody listens.
    """

    def __init__(self, on_progress: Callable[[Progress], object] | None) -> None:
        self._on_progress = on_progress
        self._told = UNTOLD
        self.raised: BaseException | None = None
        """What the caller's function raised: it ends the call, also where the same error of a server is tried again."""

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return self._on_progress is not None

    def tell(self, progress: Progress) -> None:
        """Hand on what is new."""
        known, self._told = self._told, progress
        if self._on_progress is None or progress == known:
            return
        try:
            self._on_progress(progress)
        except BaseException as error:
            self.raised = error
            raise


@dataclass(frozen=True)
class Detection:
    """One request, ready to be sent."""

    kind: Kind
    inputs: Arrays
    options: CallOptions
    files: tuple[Upload, ...] = ()
    """A video, and the recording beside it."""

    def begin(self) -> tuple[Arrays, Iterator[Arrays]]:
        """The tensors of one try, and those of the pieces of large files that go before it to ``video_upload``."""
        begun = [file.begin() for file in self.files]
        inputs = dict(self.inputs)
        for named, _ in begun:
            inputs.update(named)
        return inputs, chain.from_iterable(pieces for _, pieces in begun)


def make_request(
    kind: Kind,
    media: bytes | Upload,
    beside: Upload | None = None,
    *,
    confidence_threshold: float | None,
    request_id: str | None,
    deadline: Deadline | None,
    headers: Mapping[str, str] | None,
    cancellation: Cancellation | None = None,
    silence: float | None = None,
    heatmaps: bool = False,
    analyzers: bool = False,
    num_frames: int | None = None,
    fps: float | None = None,
) -> Detection:
    """The request of one photo, recording or video; ``beside`` is the recording that belongs to a video.

    Raises:
        RequestError: the threshold is no number of 0 to 1, ``num_frames`` no whole number, ``fps`` no number, or the
            request id or a header cannot be sent as one.
    """
    request_id = request_id or uuid.uuid4().hex
    if len(request_id) > 128 or not (request_id.isascii() and request_id.isprintable()):
        raise RequestError(
            "the request id is not usable as a header", remedy="give at most 128 printable ASCII characters"
        )
    asked: dict[str, object] = {"request_id": request_id}
    if heatmaps:
        asked["heatmaps"] = True
    if analyzers:
        asked["analyzers"] = True
    if confidence_threshold is not None:
        threshold = _number("confidence_threshold", float, confidence_threshold, request_id)
        if not 0.0 <= threshold <= 1.0:
            raise RequestError(
                f"confidence_threshold is {threshold}", remedy="give a number from 0 to 1", request_id=request_id
            )
        asked["confidence_threshold"] = threshold
    if num_frames is not None:
        asked["num_frames"] = _number("num_frames", index, num_frames, request_id)
    if fps is not None:
        asked["fps"] = _number("fps", float, fps, request_id)
    inputs = {"OPTIONS": bytes_tensor(json.dumps(asked).encode())}
    options = CallOptions(deadline, request_id, _headers(headers or {}, request_id), cancellation, silence)
    if isinstance(media, Upload):
        return Detection(kind, inputs, options, (media,) if beside is None else (media, beside))
    return Detection(kind, {kind.tensor: bytes_tensor(media), **inputs}, options)


def _number(name: str, kind: Callable[[T], T], value: T, request_id: str) -> T:
    """A plain number, of NumPy's too; the server says which numbers it takes."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"{name} is {value!r}", remedy="give a number", request_id=request_id) from error


def _headers(given: Mapping[str, str], request_id: str) -> dict[str, str]:
    """The headers, where every transport can send them."""
    for name, value in given.items():
        text = isinstance(value, str) and value.isascii() and value.isprintable()
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name) and text):
            raise RequestError(
                f"the header {name!r} cannot be sent",
                remedy="name it with letters, digits and -, and give printable ASCII characters",
                request_id=request_id,
            )
    size = sum(len(name) + len(value) for name, value in given.items())
    if size > MOST_HEADERS:
        raise RequestError(
            f"the headers have {size:,} characters, {MOST_HEADERS:,} are sent",
            remedy="send less",
            request_id=request_id,
        )
    return dict(given)


def read_verdict(arrays: Arrays, request_id: str) -> Verdict:
    """The verdict in a server's answer.

    Raises:
        InternalError: there is none (code ``bad_answer``).
    """
    try:
        verdict = Verdict.from_json(arrays["VERDICT"].reshape(-1)[0])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _bad_answer(f"the server's answer is no verdict that this client reads: {error}", request_id) from error
    # The id of the question is the id of the answer, also where a cache answered.
    return verdict if verdict.request_id == request_id else dataclasses.replace(verdict, request_id=request_id)


def read_progress(message: Arrays, request_id: str) -> Progress | None:
    """What one message of a stream says of the progress; None for the last one, which brings the verdict.

    Raises:
        InternalError: it is neither (code ``bad_answer``).
    """
    try:
        if message["VERDICT"].reshape(-1)[0]:
            return None
        return Progress.from_json(message["PROGRESS"].reshape(-1)[0])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _bad_answer(f"the server's message is no progress that this client reads: {error}", request_id) from error


def ended_early(request_id: str) -> InternalError:
    """The error for a stream that ended before its verdict."""
    return _bad_answer("the server's stream ended without a verdict", request_id)


def _bad_answer(message: str, request_id: str) -> InternalError:
    return InternalError(
        message,
        code=ErrorCode.BAD_ANSWER,
        remedy="client and server differ: update both to the same version",
        request_id=request_id,
    )


def next_pause(
    error: DeepScanError, tried: int, policy: RetryPolicy, budget: RetryBudget, deadline: Deadline | None
) -> float:
    """Seconds to wait before sending again.

    Raises:
        DeadlineError: the deadline would pass meanwhile.
        DeepScanError: ``error`` itself, where it must not or cannot be tried again.
    """
    nothing_done = isinstance(error, OverloadedError) or (isinstance(error, UnavailableError) and not error.sent)
    if not nothing_done or tried >= policy.attempts:
        raise error
    pause = policy.pause(tried)
    if deadline is not None and deadline.expired:
        raise deadline_error(error.request_id) from error
    if deadline is not None and deadline.remaining() <= pause:
        raise error
    if not budget.take():
        raise error
    return pause
