"""Animated GIF, WebP and PNG as videos: Pillow decodes them, because FFmpeg reads no animated WebP.

The same face as ``pipelines.video.source.VideoSource``: ``info``, ``times``, ``held``, ``frames`` and ``damaged``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cards.limits import (
    MAX_ANIMATION_FRAMES,
    MAX_ANIMATION_PIXELS,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_VIDEO_SECONDS,
)
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.video.frame import Frame, Pixels
from pipelines.video.leaving import Check, checker
from pipelines.video.moments import wanted_frames
from pipelines.video.source import VideoInfo

FORMATS = ("GIF", "WEBP", "PNG")
_HEADS = (b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n")
_BACKGROUND = 128
"""Grey behind transparent pixels, as for photos."""
_UNTIMED_MS = 100.0
"""Players show a frame of at most 10 ms for a tenth of a second; so does this."""


def is_animation(head: bytes) -> bool:
    """Whether a file that begins with these bytes (at least 16) is a picture that may move."""
    return head.startswith(_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


class HeldPicture:
    """A decoded picture of an animation; as ``pipelines.video.source.HeldFrame``."""

    def __init__(self, time: float, index: int, pixels: Pixels) -> None:
        self.time, self.index, self._pixels = time, index, pixels
        self.stored = pixels.shape[0] * pixels.shape[1]

    def pixels(self, max_side: int | None = None) -> Pixels:
        """RGB, uint8 [h, w, 3]; shrunk so that the longer side is at most ``max_side``."""
        height, width = self._pixels.shape[:2]
        factor = min(1.0, (max_side or max(width, height)) / max(width, height))
        if factor == 1.0:
            return self._pixels
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        return np.asarray(cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class AnimationSource:
    """The pictures of one animation. A file with a single picture is a video of one frame.

    Args:
        path: a local file.
        check: called for each picture; what it raises ends the work.

    Raises:
        MediaError: not such a file, or its pictures do not decode.
        LimitError: too many bytes, pixels, pictures or seconds.
    """

    def __init__(self, path: Path, check: Check | None = None) -> None:
        self.path = path
        self._check = check or checker(None)
        self.damaged = 0
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise LimitError(
                f"the animation has {path.stat().st_size:,} bytes, {MAX_IMAGE_BYTES:,} are allowed",
                remedy="save it as a video",
            )
        image = self._open()
        width, height = image.size
        if width * height > MAX_IMAGE_PIXELS:
            raise LimitError(
                f"pictures of {width:,} x {height:,} pixels; {MAX_IMAGE_PIXELS:,} pixels are allowed",
                code=ErrorCode.TOO_MANY_PIXELS,
                remedy="send it smaller",
            )
        durations, cut_off = self._durations(image)
        self._times = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
        seconds = float(sum(durations))
        if seconds > MAX_VIDEO_SECONDS:
            raise LimitError(
                f"the animation is {seconds:,.0f} s long, {MAX_VIDEO_SECONDS:,} s are allowed", remedy="cut it"
            )
        kind = str(image.format).lower()
        self.info = VideoInfo(
            width=width,
            height=height,
            rotation=0,
            seconds=seconds,
            frames=len(durations),
            fps=len(durations) / seconds,
            variable=len(set(durations)) > 1,
            sound=False,
            decoder=f"pillow {PIL.__version__}, {kind}",
            notes=("an animated picture: FFmpeg does not read all of them, Pillow does",)
            + (("the file ends early or is damaged inside",) if cut_off else ()),
            format=kind,
            codec=kind,
            cut_off=cut_off,
        )

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of every picture, from 0, rising: float64 [frames]."""
        return np.asarray(self._times)

    def frames(
        self,
        num_frames: int | None = None,
        fps: float | None = None,
        window: tuple[float, float] | None = None,
        max_side: int | None = None,
    ) -> Iterator[Frame]:
        """:meth:`held` pictures as pixels."""
        for held in self.held(num_frames, fps, window):
            yield Frame(held.time, held.index, held.pixels(max_side))

    def held(
        self, num_frames: int | None = None, fps: float | None = None, window: tuple[float, float] | None = None
    ) -> Iterator[HeldPicture]:
        """Decode pictures in the order of time; arguments as of :func:`~pipelines.video.moments.wanted_frames`."""
        self.damaged = 0
        image = self._open()
        drawn = -1
        for index in wanted_frames(self._times, self.info.seconds, num_frames, fps, window).tolist():
            try:
                for step in range(drawn + 1, index + 1):  # each is drawn over the one before it
                    self._check()
                    image.seek(step)
                    image.load()
                drawn = index
                pixels = _flat(image)
            except (OSError, EOFError, ValueError, SyntaxError):
                self.damaged += 1
                return
            yield HeldPicture(float(self._times[index]), index, pixels)

    def _open(self) -> Image.Image:
        try:
            return Image.open(self.path, formats=FORMATS)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise MediaError(
                f"{self.path.name} is not an animation that can be read",
                code=ErrorCode.CORRUPT,
                remedy="save it again, or send a video",
            ) from error

    def _durations(self, image: Image.Image) -> tuple[list[float], bool]:
        """Seconds of each picture that decodes, and whether the file breaks off."""
        found: list[float] = []
        try:
            count = int(getattr(image, "n_frames", 1))
            _check_work(count, *image.size)
            for index in range(count):
                self._check()
                image.seek(index)
                image.load()
                told = float(image.info.get("duration") or 0.0)
                found.append((told if told > 10.0 else _UNTIMED_MS) / 1000.0)
        except (OSError, EOFError, ValueError, SyntaxError) as error:
            if not found:
                raise MediaError(
                    "not one picture of the animation decodes",
                    code=ErrorCode.CORRUPT,
                    remedy="open it in a picture program and save it again",
                ) from error
            return found, True
        return found, False


def _check_work(count: int, width: int, height: int) -> None:
    """Refuse before the first picture is drawn what would keep a worker busy for minutes: a file of a few kilobytes
    can hold hundreds of single pixels on a canvas of millions."""
    if count > MAX_ANIMATION_FRAMES:
        raise LimitError(f"the animation has more than {MAX_ANIMATION_FRAMES:,} pictures", remedy="save it as a video")
    if count * width * height > MAX_ANIMATION_PIXELS:
        raise LimitError(
            f"the animation has {count:,} pictures of {width:,} x {height:,} pixels; {MAX_ANIMATION_PIXELS:,} pixels "
            "in all are allowed",
            code=ErrorCode.TOO_MANY_PIXELS,
            remedy="save it as a video, or send it smaller",
        )


def _flat(image: Image.Image) -> Pixels:
    """RGB over grey."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, (_BACKGROUND, _BACKGROUND, _BACKGROUND, 255))
        image = Image.alpha_composite(ground, clear)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
