"""The sample video and the canary: ``python -m training.video.make_samples``. A public-domain portrait that sways."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
FILE = "video/portrait.mp4"
CANARY = ROOT / "serving" / "canary.mp4"
FRAMES, RATE, SIDE = 50, 25, 320
CANARY_FRAMES, CANARY_SIDE = 8, 192
"""A third of a second, small in bytes and quickly judged."""
_FACE = (224.0, 117.0)
"""Middle of the face in ``astronaut.jpg``, in pixels."""


def swaying(picture: NDArray[np.uint8], place: int, side: int = SIDE) -> NDArray[np.uint8]:
    """One frame, UINT8 [side, side, 3] in the order of colours of the picture."""
    angle, scale = 4 * np.sin(place / 7), 1 + 0.04 * np.sin(place / 4)
    matrix = np.asarray(cv2.getRotationMatrix2D(_FACE, angle, scale), dtype=np.float64)
    sway = side / SIDE
    matrix[:, 2] += (
        side / 2 - _FACE[0] + 20 * sway * np.sin(place / 6),
        side / 2 - _FACE[1] + 8 * sway * np.cos(place / 5),
    )
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)


def write(target: Path, count: int, side: int) -> None:
    """Write ``count`` frames of ``side`` pixels as H.264, 25 a second."""
    picture = np.asarray(cv2.imread(str(SAMPLES / "astronaut.jpg"))[:, :, ::-1], dtype=np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "slow", "crf": "23"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for place in range(count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(swaying(picture, place, side)), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(target: Path = SAMPLES / FILE, canary: Path = CANARY) -> int:
    """Write both."""
    write(target, FRAMES, SIDE)
    write(canary, CANARY_FRAMES, CANARY_SIDE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
