"""Read a video's frames on the CPU, sampled by time.

The packets are listed first, without decoding: their time stamps tell what is there, also where the header lies, the
frame rate varies or the file is cut off. Then only what is asked for is decoded, one frame at a time, with a jump to
the next key frame where that saves work. Memory is bounded by one frame and eight bytes for each frame's time stamp.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cards.limits import MAX_IMAGE_PIXELS, MAX_VIDEO_SECONDS
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.video.avi import chunks_of
from pipelines.video.ending import missing_end
from pipelines.video.faults import BROKEN, check_scans, no_frames
from pipelines.video.frame import Frame, HeldFrame, stamp_of, turns_of, upright
from pipelines.video.hidden import hidden_frames, other_tracks
from pipelines.video.leaving import Check, checker
from pipelines.video.moments import wanted_frames
from pipelines.video.opening import check_file, opened
from pipelines.video.packets import listed

_WORTH_A_JUMP = 30  # frames


@dataclass(frozen=True)
class VideoInfo:
    """What is in the file, measured from its packets.

    Attributes:
        width, height: of an upright frame with square pixels.
        rotation: degrees counter-clockwise that were applied to the stored picture: 0, 90, 180 or 270.
        seconds: from the first frame to the end of the last that is there.
        frames: frames that are there.
        fps: ``frames / seconds``, an average where the rate varies.
        variable: whether more than one gap in twenty differs from their median by more than a fifth.
        sound: whether there is a sound track.
        decoder: who decodes: library, version and codec.
        notes: what a reader of the verdict should know, such as a cut-off end.
        format: kind of file, as FFmpeg calls it; codec: of the picture track.
        cut_off: whether fewer frames are there than the header promises.
        hidden: whether the file holds frames that it does not show (:mod:`pipelines.video.hidden`).
    """

    width: int
    height: int
    rotation: int
    seconds: float
    frames: int
    fps: float
    variable: bool
    sound: bool
    decoder: str
    notes: tuple[str, ...] = field(default=())
    format: str = ""
    codec: str = ""
    cut_off: bool = False
    hidden: bool = False


class VideoSource:
    """The frames of one video file.

    Args:
        path: a local file; addresses are not opened.
        threads: for the decoder.
        check: called for each packet that is decoded, and while packets are listed, whatever lies between two frames
            that are wanted; what it raises ends the work.

    Raises:
        MediaError: missing, empty, not a video, cut off before its index, or nothing of it decodes.
        LimitError: too many bytes, pixels, seconds or frames (``cards/limits.py``).
    """

    def __init__(self, path: Path | str, threads: int = 1, check: Check | None = None) -> None:
        self.path, self.threads = Path(path), threads
        self._check = check or checker(None)
        #: Frames that were damaged and left out by the last ``frames``.
        self.damaged = 0
        self._formats = check_file(self.path, self._check)
        with self._open() as (container, stream):
            chunks = chunks_of(self.path, stream.index, self._check) if container.format.name == "avi" else None
            there = listed(container, stream, self._check)
            self._stamps, self._keys = there.stamps, there.keys
            self._missing = missing_end(self.path, container, stream, there, chunks)
            self._others = other_tracks(container, stream)
            edits = container.format.name.startswith("mov")
            self._base = float(stream.time_base or 0)
            shape = stream.codec_context.sample_aspect_ratio
            self._aspect = min(4.0, max(0.25, float(shape))) if shape else 1.0
            if not len(self._stamps) or self._base <= 0:
                raise no_frames(container)
            self._times = (self._stamps - self._stamps[0]) * self._base
        with self._open(ignore_editlist="1") if edits else contextlib.nullcontext((None, None)) as (_, whole):
            self._hidden = hidden_frames(there, whole, chunks, self.path)
        self._size = (0, 0)
        self.info = self._describe()

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Seconds of every frame that is there, from 0, rising: float64 [frames]."""
        return np.asarray(self._times)

    def frames(
        self,
        num_frames: int | None = None,
        fps: float | None = None,
        window: tuple[float, float] | None = None,
        max_side: int | None = None,
    ) -> Iterator[Frame]:
        """:meth:`held` frames as RGB pixels, shrunk so that their longer side has at most ``max_side`` pixels."""
        for held in self.held(num_frames, fps, window):
            yield Frame(held.time, held.index, held.pixels(max_side))

    def held(
        self, num_frames: int | None = None, fps: float | None = None, window: tuple[float, float] | None = None
    ) -> Iterator[HeldFrame]:
        """Decode frames in the order of time.

        Arguments are those of :func:`~pipelines.video.moments.wanted_frames`.

        Each wanted time gets the frame that a player shows at it; a frame comes once. Frames that are damaged are
        left out and counted in ``damaged``.

        Raises:
            MediaError: not one of the wanted frames decodes.
            ValueError: both ``num_frames`` and ``fps``, or one of them not positive.
        """
        wanted = self._stamps[wanted_frames(self._times, self.info.seconds, num_frames, fps, window)]
        self.damaged = 0
        yield from self._held(wanted)

    def _held(self, wanted: npt.NDArray[np.int64], given: int = 0) -> Iterator[HeldFrame]:
        """The frames with these time stamps; ``given`` is how many others were given before."""
        with self._open() as (container, stream):
            for frame in self._decode(container, stream, wanted):
                stamp = stamp_of(frame)
                given += 1
                yield self._hold(stamp, frame, turns_of(frame))
        if not given:
            raise MediaError(
                f"none of the {len(wanted)} wanted frames decodes",
                code=ErrorCode.CORRUPT,
                remedy="open the video in a video program and save it again",
            )

    def _hold(self, stamp: int, frame: VideoFrame, turns: int) -> HeldFrame:
        index = int(np.searchsorted(self._stamps, stamp))
        return HeldFrame((stamp - int(self._stamps[0])) * self._base, index, frame, self._aspect, turns, self._size)

    def _open(self, **options: str) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        return opened(self.path, self._formats, self.threads, self._check, **options)

    def _describe(self) -> VideoInfo:
        with self._open() as (container, stream):
            width, height = round(stream.codec_context.width * self._aspect), stream.codec_context.height
            if width * height > MAX_IMAGE_PIXELS:
                raise LimitError(
                    f"frames of {width:,} x {height:,} pixels; {MAX_IMAGE_PIXELS:,} pixels are allowed",
                    code=ErrorCode.TOO_MANY_PIXELS,
                    remedy="send it smaller",
                )
            first = next(self._decode(container, stream, self._stamps), None)
            if first is None:
                raise MediaError(
                    "not one frame of the video decodes",
                    code=ErrorCode.CORRUPT,
                    remedy="open the video in a video program and save it again",
                )
            self._size = (first.width, first.height)
            shown = upright(first, self._aspect, turns_of(first), None)
            gaps = np.diff(self._times)
            usual = float(np.median(gaps)) if len(gaps) else 1 / 25
            seconds = float(self._times[-1]) + usual
            if seconds > MAX_VIDEO_SECONDS:
                raise LimitError(
                    f"the video is {seconds:,.0f} s long, {MAX_VIDEO_SECONDS:,} s are allowed", remedy="cut it"
                )
            count = len(self._stamps)
            return VideoInfo(
                width=shown.shape[1],
                height=shown.shape[0],
                rotation=turns_of(first) * 90,
                seconds=seconds,
                frames=count,
                fps=count / seconds,
                variable=bool(len(gaps) and (np.abs(gaps - usual) > 0.2 * usual).mean() > 0.05),
                sound=bool(container.streams.audio),
                decoder=f"pyav {av.__version__}, {stream.codec_context.name}",
                notes=tuple(note for note in (self._missing, *self._hidden.notes, self._others) if note),
                format=container.format.name.split(",")[0],
                codec=stream.codec_context.codec.canonical_name,
                cut_off=bool(self._missing),
                hidden=self._hidden.told,
            )

    def _decode(
        self, container: InputContainer, stream: VideoStream, wanted: npt.NDArray[np.int64]
    ) -> Iterator[VideoFrame]:
        """The frames with these time stamps; for a damaged one the next that decodes."""
        decoded = self._decoded(container, stream)
        position = int(self._stamps[0]) - 1
        place = 0
        while place < len(wanted):
            key = self._keys[max(0, int(np.searchsorted(self._keys, wanted[place], side="right")) - 1)]
            skipped = np.searchsorted(self._stamps, key) - np.searchsorted(self._stamps, position)
            if skipped > _WORTH_A_JUMP:
                with contextlib.suppress(*BROKEN):  # a file that cannot be searched is read through
                    container.seek(int(key), stream=stream)
                    decoded = self._decoded(container, stream)
            frame = next((f for f in decoded if stamp_of(f) >= wanted[place]), None)
            if frame is None:
                return
            position = stamp_of(frame)
            place = int(np.searchsorted(wanted, position, side="right"))
            yield frame

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Whole frames from here on; what is damaged is counted and left out."""
        packets = container.demux(stream)
        while True:
            self._check()
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                check_scans(packet, stream)
                frames: list[Any] = list(packet.decode())
            except av.error.EOFError:
                return
            except BROKEN:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                elif frame.pts is not None or frame.dts is not None:
                    yield frame
