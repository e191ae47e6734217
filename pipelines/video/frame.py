"""One frame of a video: its pixels upright, with square pixels, as a player shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.video.faults import BROKEN

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One frame: ``pixels`` uint8 [h, w, 3] RGB, upright; ``time`` in seconds from the first; ``index`` from 0."""

    time: float
    index: int
    pixels: Pixels


class HeldFrame:
    """A decoded frame whose pixels are still as the codec stores them: half the memory of RGB, and no work done.

    Attributes:
        time: seconds from the first frame; index: from 0; stored: pixels that the codec keeps of it.
    """

    def __init__(
        self, time: float, index: int, frame: VideoFrame, aspect: float, turns: int, size: tuple[int, int]
    ) -> None:
        self.time, self.index, self.stored = time, index, frame.width * frame.height
        self._frame, self._aspect, self._turns, self._size = frame, aspect, turns, size

    def pixels(self, max_side: int | None = None) -> Pixels:
        """RGB, uint8 [h, w, 3], upright, with square pixels; shrunk so that the longer side is at most ``max_side``.
        One that is stored in another size than the first frame gets its size, as in a player."""
        return upright(self._frame, self._aspect, self._turns, max_side, self._size)


def upright(
    frame: VideoFrame, aspect: float, turns: int, max_side: int | None, size: tuple[int, int] | None = None
) -> Pixels:
    """RGB pixels with square pixels, after so many quarter turns counter-clockwise.

    Args:
        size: width and height that the frame is taken to be stored in; its own where left out.

    Raises:
        MediaError: the layout or the matrix of its colours is not read.
    """
    width, height = size or (frame.width, frame.height)
    width = max(1, round(width * aspect))
    factor = min(1.0, (max_side or max(width, height)) / max(width, height))
    width, height = max(1, round(width * factor)), max(1, round(height * factor))
    try:
        if (width, height) == (frame.width, frame.height):
            pixels = frame.to_ndarray(format="rgb24")
        else:
            pixels = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    except BROKEN as error:
        raise MediaError(
            f"frames in {frame.format.name} with the colour matrix {int(frame.colorspace)} of ITU-T H.273 are not read",
            code=ErrorCode.UNSUPPORTED,
            remedy="save it as MP4 with H.264 and BT.709 colours",
        ) from error
    return np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)


def stamp_of(frame: VideoFrame) -> int:
    """When it is shown, in units of its track's time."""
    stamp = frame.pts if frame.pts is not None else frame.dts
    assert stamp is not None
    return int(stamp)


def turns_of(frame: VideoFrame) -> int:
    """Quarter turns counter-clockwise that the file asks for, 0 to 3."""
    return round((frame.rotation or 0) / 90) % 4
