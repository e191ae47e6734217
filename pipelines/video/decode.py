"""Frames of a piece of a video by number, on the CPU. Its GPU twin is the DALI pipeline of ``export/dali_video.py``."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.video.frame import Pixels


def decode_frames(piece: bytes, places: NDArray[np.int32]) -> Pixels:
    """RGB, uint8 [n, h, w, 3], as stored: not turned, and by the coefficients of ITU-R BT.601 whatever the file says,
    because DALI knows no others.

    Args:
        piece: an MP4 as :mod:`pipelines.video.pieces` cuts it; places: numbers of frames, rising, [n].

    Raises:
        MediaError: it does not decode, or has fewer frames.
    """
    wanted = set(places.tolist())
    found: list[Pixels] = []
    try:
        with av.open(io.BytesIO(piece), "r", format="mp4") as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    pixels = frame.to_ndarray(format="rgb24", src_colorspace="itu601")
                    found.append(np.asarray(pixels, dtype=np.uint8))
                if len(found) == len(wanted):
                    break
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"the piece does not decode: {error}", code=ErrorCode.CORRUPT, remedy="use PyAV") from error
    if len(found) != len(places):
        raise MediaError(
            f"{len(found)} of {len(places)} frames are in the piece", code=ErrorCode.CORRUPT, remedy="use PyAV"
        )
    return np.stack(found)
