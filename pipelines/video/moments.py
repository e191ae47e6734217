"""Which frames of a video are wanted, by their times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wanted_frames(
    times: NDArray[np.float64],
    seconds: float,
    num_frames: int | None = None,
    fps: float | None = None,
    window: tuple[float, float] | None = None,
) -> NDArray[np.int64]:
    """Numbers of the frames that a player shows at the wanted moments, rising and each once.

    Args:
        times: seconds of every frame, from 0, rising, [n] with n of at least 1; seconds: length of the video.
        num_frames: so many moments, in the middles of equal parts of the time.
        fps: so many a second, from the window's start on; every frame where neither is given.
        window: seconds from and to; the whole video where it is left out.

    Raises:
        ValueError: both ``num_frames`` and ``fps``, or one of them not positive.
    """
    if num_frames is not None and fps is not None:
        raise ValueError("give num_frames or fps, not both")
    start, end = window or (0.0, seconds)
    start, end = max(0.0, start), min(end, seconds)
    if num_frames is not None:
        if num_frames < 1:
            raise ValueError(f"num_frames must be positive, got {num_frames}")
        moments = start + (np.arange(num_frames) + 0.5) * (end - start) / num_frames
    elif fps is not None:
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        moments = np.arange(start, end, 1.0 / fps)
    else:
        return np.flatnonzero((times >= start) & (times < end))
    shown = np.searchsorted(times, moments + 1e-9, side="right") - 1
    return np.asarray(np.unique(np.maximum(shown, 0)), dtype=np.int64)
