"""The sample video: ``python -m training.video.make_samples``. A public-domain portrait that sways, two seconds."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FILE = "video/portrait.mp4"
FRAMES, RATE, SIDE = 50, 25, 320
_FACE = (224.0, 117.0)
"""Middle of the face in ``astronaut.jpg``, in pixels."""


def swaying(picture: NDArray[np.uint8], place: int) -> NDArray[np.uint8]:
    """One frame, UINT8 [SIDE, SIDE, 3] in the order of colours of the picture."""
    angle, scale = 4 * np.sin(place / 7), 1 + 0.04 * np.sin(place / 4)
    matrix = np.asarray(cv2.getRotationMatrix2D(_FACE, angle, scale), dtype=np.float64)
    matrix[:, 2] += (SIDE / 2 - _FACE[0] + 20 * np.sin(place / 6), SIDE / 2 - _FACE[1] + 8 * np.cos(place / 5))
    return np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)


def main(target: Path = SAMPLES / FILE) -> int:
    """Write it."""
    picture = np.asarray(cv2.imread(str(SAMPLES / "astronaut.jpg"))[:, :, ::-1], dtype=np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "slow", "crf": "23"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for place in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(swaying(picture, place)), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
