"""A video whose frames the stage ``video_decode`` decodes: NVDEC on GPU hosts.

PyAV reads the packets and decodes the first frame in any case. What NVDEC does not take goes PyAV's way, and a note
says why. For the rest the first frame is asked of the stage as a trial: where it is not the one that PyAV sees, or does
not come, PyAV decodes the whole file. After that the stage gets the file in pieces (:mod:`pipelines.video.pieces`), one
answer at a time, each of at most some tens of megabytes. Where a later piece fails PyAV decodes from there on, and the
stage is not asked again: each frame goes one way, and the verdict's ``decode`` names both.

NVDEC's answers could not be seen where this was written, so the trial stands before every file. It does not see what
comes later: of a frame that is damaged inside NVDEC hands over what it made of it, while PyAV leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from deepscan_client.errors import CancelledError, DeepScanError
from pipelines.infer import Call, Infer
from pipelines.video.frame import HeldFrame, Pixels, turns_of
from pipelines.video.leaving import Check
from pipelines.video.pieces import NotCutError, Piece, cut
from pipelines.video.source import VideoInfo, VideoSource

STAGE = "video_decode"
FORMATS = {"mov": "MP4", "matroska": "MKV or WebM"}
"""FFmpeg's word for what is sent to NVDEC, and everybody's."""
CODECS = ("h264", "hevc", "vp9", "av1")
_LAYOUTS = ("yuv420p", "yuvj420p")
"""NVDEC reads 4:2:0 of 8 bits for all four codecs."""
ANSWER_BYTES = 64_000_000
"""Of one answer's pixels; a single frame may have more."""
_SIDE, _CLOSE = 32, 4.0
"""Sides of the small pictures that are compared in the trial, and grey levels that they may differ by on average. DALI
on the CPU differs by 1.2, because PyAV's conversion rounds down, another range of colours by 7 or more; another matrix
of colours differs by 1 to 2 and is not seen."""


def _to_rgb(red: float, blue: float) -> NDArray[np.float64]:
    """Luma and the differences of blue and red to RGB, [3, 3], by the weights of red and blue in the luma."""
    green = 1.0 - red - blue
    return np.array(
        [
            [1.0, 0.0, 2.0 * (1.0 - red)],
            [1.0, -2.0 * blue * (1.0 - blue) / green, -2.0 * red * (1.0 - red) / green],
            [1.0, 2.0 * (1.0 - blue), 0.0],
        ]
    )


_FROM_601 = _to_rgb(0.2126, 0.0722) @ np.linalg.inv(_to_rgb(0.299, 0.114))
"""DALI turns every video into RGB as ITU-R BT.601 says; this makes of it what BT.709 would have given."""
COLOURS: dict[int, NDArray[np.float64] | None] = {1: _FROM_601, 2: None, 5: None, 6: None}
"""By the number in ITU-T H.273 (matrix coefficients): BT.709, not told, BT.601 (twice). PyAV takes what is not told for
BT.601."""


class _LeftError(Exception):
    """The stage does not do its part; the message says why."""


class StagedSource(VideoSource):
    """The frames of one video file, from the stage where it can give them.

    Args:
        path, threads, check: as of :class:`~pipelines.video.source.VideoSource`, and so are the errors.
        infer: reaches the stage.

    Attributes:
        info: names the decoder that has run so far.
    """

    def __init__(self, path: Path | str, infer: Infer, threads: int = 1, check: Check | None = None) -> None:
        super().__init__(path, threads, check)
        self._infer = infer
        self._pyav = self.info
        self._used = False
        try:
            self._try()
        except (_LeftError, NotCutError) as error:
            self.info = _noted(self._pyav, f"{error}: decoded by PyAV")
        else:
            self._used = True
            self.info = replace(self._pyav, decoder=f"dali (nvdec), {self._pyav.codec}")

    def _held(self, wanted: NDArray[np.int64], given: int = 0) -> Iterator[HeldFrame]:
        if self._used:
            try:
                for held in self._staged(wanted):
                    given += 1
                    yield held
                return
            except (_LeftError, NotCutError) as error:
                self._used = False
                from_s = float(self._times[np.searchsorted(self._stamps, wanted[given])])
                self.info = _noted(
                    replace(self._pyav, decoder=f"{self.info.decoder}; from {from_s:.2f} s {self._pyav.decoder}"),
                    f"{error}: decoded by PyAV from {from_s:.2f} s on",
                )
        yield from super()._held(wanted[given:], given)

    def _try(self) -> None:
        """Compare the stage's first frame with PyAV's.

        Raises:
            _LeftError, NotCutError: the stage is not to be used.
        """
        if why := _unfit(self._pyav):
            raise _LeftError(why)
        with self._open() as (container, stream):
            first = next(self._decode(container, stream, self._stamps[:1]))
            if why := _unfit_frame(first):
                raise _LeftError(why)
            self._turns, self._colours = turns_of(first), COLOURS[first.colorspace]
            self._shape = (first.height, first.width, 3)
            piece = cut(container, stream, int(self._stamps[0]), self._stamps[:1], self._check)
        (theirs,) = self._ask(piece)
        ours = first.to_ndarray(format="rgb24")
        small = [cv2.resize(each, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for each in (ours, theirs)]
        gap = float(cv2.absdiff(*small).mean())
        if gap > _CLOSE:
            raise _LeftError(f"{STAGE} gave another first frame ({gap:.1f} grey levels apart)")

    def _staged(self, wanted: NDArray[np.int64]) -> Iterator[HeldFrame]:
        most = max(1, ANSWER_BYTES // int(np.prod(self._shape)))
        starts = np.maximum(np.searchsorted(self._keys, wanted, side="right") - 1, 0)
        with self._open() as (container, stream):
            for start in np.unique(starts).tolist():
                group = wanted[starts == start]
                for begin in range(0, len(group), most):
                    part = group[begin : begin + most]
                    pixels = self._ask(cut(container, stream, int(self._keys[start]), part, self._check))
                    for stamp, picture in zip(part.tolist(), pixels):
                        yield self._hold(stamp, VideoFrame.from_ndarray(picture, format="rgb24"), self._turns)

    def _ask(self, piece: Piece) -> Iterator[Pixels]:
        """RGB frames of a piece, as stored, with the colours that PyAV gives.

        Raises:
            _LeftError: they do not come, or are no such frames.
        """
        content = np.frombuffer(piece.data, dtype=np.uint8)[None]
        try:
            (answer,) = self._infer.run([Call(STAGE, {"VIDEO": content, "FRAMES": piece.places[None]}, ("PIXELS",))])
        except CancelledError:
            raise
        except DeepScanError as error:
            raise _LeftError(f"{STAGE} failed ({error.code})") from error
        pixels = np.asarray(answer["PIXELS"])
        if pixels.dtype != np.uint8 or pixels.shape != (1, len(piece.places), *self._shape):
            raise _LeftError(f"{STAGE} gave {pixels.dtype} {list(pixels.shape)}")
        return (self._coloured(picture) for picture in pixels[0])

    def _coloured(self, picture: Pixels) -> Pixels:
        if self._colours is None:
            return np.ascontiguousarray(picture)
        return np.asarray(cv2.transform(picture, self._colours), dtype=np.uint8)


def _noted(info: VideoInfo, note: str) -> VideoInfo:
    return replace(info, notes=(*info.notes, note))


def _unfit(info: VideoInfo) -> str:
    """Why NVDEC is not asked for such a file; empty where it is."""
    if info.format not in FORMATS:
        return f"NVDEC is asked for {' or '.join(FORMATS.values())}, not for {info.format}"
    if info.codec not in CODECS:
        return f"NVDEC is asked for {', '.join(CODECS)}, not for {info.codec}"
    return "the file is cut off" if info.cut_off else ""


def _unfit_frame(frame: VideoFrame) -> str:
    """Why NVDEC would decode such frames in another way than PyAV, or not at all; empty where it would not."""
    if frame.format.name not in _LAYOUTS:
        return f"NVDEC is asked for 4:2:0 of 8 bits, not for {frame.format.name}"
    if frame.interlaced_frame:
        return "NVDEC is not asked for interlaced pictures"
    if frame.width % 2 or frame.height % 2:
        return f"NVDEC is not asked for odd sides ({frame.width} x {frame.height})"
    return "" if frame.colorspace in COLOURS else f"DALI does not know the colours of this video ({frame.colorspace})"
