"""The time series of one face through a video that the biometric analyzers read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.landmarks import Floats


@dataclass(frozen=True)
class KeptPoints:
    """Points of the mesh at every frame.

    Attributes:
        times: seconds [n]; points: float32 [n, p, 3] in pixels of the face crop.
        seen: bool [n], whether the face was followed and the mesh found it.
    """

    times: Floats
    points: NDArray[np.float32]
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class FaceSeries:
    """What was measured, as columns; n frames, m of them with a mesh. NaN where no face was seen.

    Attributes:
        times: seconds [n]; eyes: [n] which eye was looked at, 0 at the left of the picture, 1 at the right.
        openness: eye aspect ratio [n]; gaze: [n, 2] in widths of the eye; colours: mean RGB of the cheeks [n, 3].
        mesh_times: seconds [m]; points: [m, len(POSE_POINTS), 2] in pixels of the frame; lips: opening [m].
        eye_px: median width of an eye in pixels of the frame; seen: share of the meshes that found a face.
        weights: network: sha256 of the weights that ran.
        kept: the points that were asked for at every frame.
    """

    times: Floats
    eyes: NDArray[np.int64]
    openness: Floats
    gaze: Floats
    colours: Floats
    mesh_times: Floats
    points: Floats
    lips: Floats
    eye_px: float
    seen: float
    weights: dict[str, str] = field(default_factory=dict)
    kept: KeptPoints | None = None
