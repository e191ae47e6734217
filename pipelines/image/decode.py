"""JPEG or BMP bytes to pixels, on the CPU. Its GPU twin is the DALI pipeline of ``export/dali_image.py``."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError


def decode_image(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode what the probe handed on, with EXIF orientation applied.

    Args:
        picture: UINT8 [n], JPEG or BMP bytes.

    Returns:
        UINT8 [height, width, 3], RGB, rows from the top.

    Raises:
        MediaError: the bytes do not decode.
    """
    try:
        pixels = cv2.imdecode(picture, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise MediaError(
            "the picture's data is damaged",
            code=ErrorCode.CORRUPT,
            remedy="open it in a picture program and save it again",
        )
    return np.asarray(pixels, dtype=np.uint8)
