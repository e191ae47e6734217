"""The client for threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from deepscan_client._cancel import Cancellation
from deepscan_client._config import Deadline, Health, RetryBudget, RetryPolicy, Timeout
from deepscan_client._media import Recording, Source, read_recording, read_source
from deepscan_client._request import (
    AUDIO,
    IMAGE,
    KINDS,
    MULTIMODAL,
    OUTPUTS,
    STREAM_OUTPUTS,
    VIDEO,
    Detection,
    Listener,
    ended_early,
    make_request,
    next_pause,
    read_progress,
    read_verdict,
)
from deepscan_client._transport import Arrays, Transport, connect
from deepscan_client._video import UPLOAD_MODEL, UPLOAD_OUTPUTS, Clip, Upload, Voice
from deepscan_client.codes import Medium
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Progress, Verdict

DEFAULT_URL = "127.0.0.1:8001"


class DeepScanClient:
    """Asks a DeepScan server; one object serves many threads.

    Args:
        url: ``host:port`` is gRPC; ``grpc://``, ``grpcs://``, ``http://`` and ``https://`` are understood.
        timeout: deadlines for calls that bring none.
        retry: when a request is sent again.
        transport: speaks to the server instead of one for ``url``, for example a
            :class:`~deepscan_client.FakeTransport`.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.timeout = timeout or Timeout()
        self.retry = retry or RetryPolicy()
        self.transport: Transport = connect(url, self.timeout) if transport is None else transport
        self._budget = RetryBudget(self.retry)

    def detect_image(
        self,
        image: Source,
        *,
        heatmaps: bool = False,
        confidence_threshold: float | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Verdict:
        """Judge one photo.

        Args:
            image: a path, the bytes of a file, or UINT8 [height, width, 3] RGB (sent without loss).
            heatmaps: add a class-activation map to each face.
            confidence_threshold: ``fake`` where the probability is at least this (0 to 1); the operating
                point of the server's record where left out.
            request_id: at most 128 printable ASCII characters; made up where left out.
            deadline: seconds, or a moment that several calls share; the client's timeout where left out.
            headers: passed on, for example ``{"traceparent": "00-…"}``.
            cancellation: cancels from another thread.

        Raises:
            OSError: the path cannot be read (a lost file is FileNotFoundError); nothing was sent.
            InputError: the photo cannot be judged, another one can.
            RequestError: the request is wrong.
            ServiceError: the service did not answer (unavailable, overloaded, deadline, cancelled, defect).
            InstallationError: the server's models are missing or damaged.
        """
        until = Deadline.of(deadline, self.timeout.request)
        return self._detect(
            make_request(
                IMAGE,
                read_source(image),
                heatmaps=heatmaps,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                cancellation=cancellation,
            )
        )

    def detect_audio(
        self,
        audio: Recording,
        *,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Verdict:
        """Judge one recording, a second or an hour long.

        Args:
            audio: a path, the bytes of a file (sound alone, or a video with a sound track), or
                (samples, rate): float32 of -1 to 1 or int16, [n] or [n, channels], and hertz (sent without loss).
            analyzers: measure the voice as well (pitch, jitter, shimmer, pauses, breaths, speaker drift), as evidence
                without weight.
            confidence_threshold: as for a photo.
            on_progress: told again and again how far a recording has been heard; over gRPC only. What it raises
                ends the call.
            request_id: as for a photo, like the rest; the deadline is the client's for recordings where left out.

        Raises:
            OSError: the path cannot be read; nothing was sent.
            InputError: the recording cannot be judged, another one can.
            RequestError: the request is wrong, or progress was asked for over HTTP.
            ServiceError: the service did not answer (unavailable, overloaded, deadline, cancelled, defect).
            InstallationError: the server's models are missing or damaged.
        """
        until = Deadline.of(deadline, self.timeout.recording)
        return self._detect(
            make_request(
                AUDIO,
                read_recording(audio),
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                cancellation=cancellation,
            ),
            on_progress,
        )

    def detect_video(
        self,
        video: Clip,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Verdict:
        """Judge one video, over gRPC. A large one is sent in pieces and never held in memory as a whole.

        Args:
            video: a path, the bytes of a file, or a file open for reading in binary.
            num_frames: frames to judge, spread evenly over its time; five a second where left out.
            fps: frames a second to judge instead, as far as the server's limit of frames allows.
            heatmaps: add a heat map of each face in each frame that was judged to its track.
            analyzers: measure the main face as well (blinks, gaze, head, lips, pulse), as evidence without weight.
            confidence_threshold: as for a photo.
            on_progress: told again and again how far the video has been seen, with the faces and the timeline so far;
                not told what it has been told already, nor while nothing has been seen. What it raises ends the call.
            request_id: as for a photo, like the rest; the deadline is the client's for videos where left out.

        Raises:
            OSError: the path cannot be read; nothing was sent.
            InputError: the video cannot be judged, another one can.
            RequestError: the request is wrong, or the client speaks HTTP to Triton: the gateway takes videos over HTTP.
            ServiceError: the service did not answer (unavailable, overloaded, deadline, cancelled, defect). It is
                unavailable too where it began and then is silent for ``Timeout.silence``: its model was killed.
            InstallationError: the server's models are missing or damaged.
        """
        until = Deadline.of(deadline, self.timeout.video)
        return self._detect(
            make_request(
                VIDEO,
                Upload.of(video),
                num_frames=num_frames,
                fps=fps,
                heatmaps=heatmaps,
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                cancellation=cancellation,
                silence=self.timeout.silence,
            ),
            on_progress,
        )

    def detect_multimodal(
        self,
        video: Clip,
        audio: Voice | None = None,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Verdict:
        """Judge the pictures and the sound of one video together, over gRPC.

        Args:
            video: as for :meth:`detect_video`.
            audio: a recording that begins with the video, instead of its own sound track: a file, or (samples, rate)
                as for :meth:`detect_audio`.
            num_frames: as for a video, like ``fps``, ``heatmaps`` and ``on_progress``, which is told how far the
                pictures have been seen.
            analyzers: measure the main face and the voice as well, as evidence without weight. Whether lips and sound
                are in step is measured in any case.
            confidence_threshold: as for a photo, for both parts.
            request_id: as for a photo, like the rest; the deadline is the client's for videos where left out.

        Raises:
            InputError: the video, or the recording that was given, cannot be judged. A sound track that is missing or
                cannot be judged is a reason in the verdict (``no_sound``), no error.
            OSError, RequestError, ServiceError, InstallationError: as for a video.
        """
        until = Deadline.of(deadline, self.timeout.video)
        return self._detect(
            make_request(
                MULTIMODAL,
                Upload.of(video),
                None if audio is None else Upload.beside(audio),
                num_frames=num_frames,
                fps=fps,
                heatmaps=heatmaps,
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                cancellation=cancellation,
                silence=self.timeout.silence,
            ),
            on_progress,
        )

    def health(self, deadline: float | Deadline | None = None, medium: Medium = Medium.IMAGE) -> Health:
        """Whether the server lives and can judge a medium; a server that is away is an answer, no error."""
        return self.transport.health(KINDS[medium].model, Deadline.of(deadline, self.timeout.health))

    def is_ready(self, deadline: float | Deadline | None = None, medium: Medium = Medium.IMAGE) -> bool:
        """Whether the server can judge a medium."""
        return self.health(deadline, medium).ready

    def close(self) -> None:
        """Give the connections back."""
        self.transport.close()

    def __enter__(self) -> DeepScanClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, detection: Detection, on_progress: Callable[[Progress], object] | None = None) -> Verdict:
        options, listener = detection.options, Listener(on_progress)
        tried = 0
        while True:
            if options.cancellation is not None:
                options.cancellation.raise_if_cancelled(options.request_id)
            tried += 1
            try:
                arrays = self._ask(detection, listener)
            except DeepScanError as error:
                if error is listener.raised:
                    raise
                error.request_id = error.request_id or options.request_id
                pause = next_pause(error, tried, self.retry, self._budget, options.deadline)
                if options.cancellation is not None:
                    options.cancellation.wait(pause)
                else:
                    time.sleep(pause)
                continue
            self._budget.give_back()
            return read_verdict(arrays, options.request_id)

    def _ask(self, detection: Detection, listener: Listener) -> Arrays:
        """One try: the message that holds the verdict."""
        kind, options = detection.kind, detection.options
        inputs, pieces = detection.begin()
        if not (listener.listens or kind.streams_only):
            return self.transport.infer(kind.model, inputs, OUTPUTS, options)
        messages = self.transport.stream(kind.stream, inputs, STREAM_OUTPUTS, options)
        with contextlib.closing(messages):
            for piece in pieces:  # before the stream, which begins with its first message
                self.transport.infer(UPLOAD_MODEL, piece, UPLOAD_OUTPUTS, options)
            for message in messages:
                progress = read_progress(message, options.request_id)
                if progress is None:
                    return message
                listener.tell(progress)
        raise ended_early(options.request_id)
