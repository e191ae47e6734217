"""Biometrics of the main face of a video: does it blink, look, nod, speak and pulse as a body does?

Measurements (``pipelines.analyzers.face_evidence``; docs/biometrics.md). None of them carries a weight in the verdict:
no data of ours tells what they are worth.

Cost of a frame, on one core of the project's machine: about 0.7 ms for the crop, 3 ms for one eye, and 2.5 ms for the
mesh, which every second frame of 25 a second goes through; decoding and RGB, some 5 ms at 720p, come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepscan_client.verdict import Evidence
from pipelines.analyzers.face_evidence import face_evidence, identity_evidence
from pipelines.analyzers.face_reader import FaceReader
from pipelines.analyzers.face_series import FaceSeries
from pipelines.analyzers.identity import identity_drift
from pipelines.analyzers.series import Floats, longest_stretch
from pipelines.infer import Infer
from pipelines.video.steady import landmarks_at

MOST_S = 20.0
"""Seconds of a face that are looked at, from the start of its longest stretch."""
MOST_FPS = 30.0
"""Frames a second that are looked at; of faster videos every second or fourth."""
_LONGEST_GAP_S = 1.0
"""Between two detections that are further apart the face's way is not known."""
_LEAST_S = 1.0


class Picture(Protocol):
    """A frame: ``pipelines.video.source.Frame``, or anything with these."""

    @property
    def time(self) -> float:
        """Seconds."""
        ...

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """UINT8 [h, w, 3] RGB."""
        ...


@dataclass(frozen=True)
class Measured:
    """What was measured of a face, and the weights of the networks that took part: name to sha256."""

    evidence: tuple[Evidence, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)


def watched(times: Floats) -> tuple[float, float] | None:
    """The seconds of a track that are looked at, or None where no stretch is long enough.

    Args:
        times: seconds of its detections, rising, [k].
    """
    part = longest_stretch(times, _LONGEST_GAP_S)
    if part.stop - part.start < 2:
        return None
    begin, end = float(times[part.start]), float(times[part.stop - 1])
    return (begin, min(end, begin + MOST_S)) if end - begin >= _LEAST_S else None


def read_face(
    frames: Iterable[Picture],
    times: Floats,
    landmarks: NDArray[np.float32],
    infer: Infer,
    keep: tuple[int, ...] = (),
) -> FaceSeries:
    """Follow one face through frames, between its detections on smooth lines (``pipelines.video.steady``).

    Args:
        frames: in the order of time; those outside :func:`watched` are skipped.
        times: seconds of the detections, rising, [k]; landmarks: [k, 5, 2] in pixels of the frames.
        infer: runs ``face_mesh`` and ``eye_iris``.
        keep: numbers of the points of the mesh that are wanted at every frame.

    Raises:
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    window = watched(times)
    last = -np.inf
    with FaceReader(infer, keep) as reader:
        if window is None:
            return reader.finish()
        for frame in frames:
            # A little slack, so that 30 frames a second with rounded times are all taken.
            if not window[0] - 1e-6 <= frame.time <= window[1] + 1e-6 or frame.time - last < 0.9 / MOST_FPS:
                continue
            last = frame.time
            (here,), (followed,) = landmarks_at(times, landmarks, np.array([frame.time]))
            reader.add(frame.time, frame.pixels, here, bool(followed))
        return reader.finish()


def biometrics(
    frames: Iterable[Picture],
    times: Floats,
    landmarks: NDArray[np.float32],
    size: tuple[int, int],
    infer: Infer,
    embeddings: NDArray[np.float32] | None = None,
) -> Measured:
    """Everything that is measured of one face; what cannot be measured is left out.

    Args:
        frames, times, landmarks, infer: see :func:`read_face`.
        size: width and height of the frames in pixels.
        embeddings: of the face at its detections, [k, d].

    Raises:
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    return measured_of(read_face(frames, times, landmarks, infer), size, times, embeddings)


def measured_of(
    series: FaceSeries, size: tuple[int, int], times: Floats, embeddings: NDArray[np.float32] | None = None
) -> Measured:
    """The same of a face that was read; arguments as of :func:`biometrics`."""
    rows = face_evidence(series, size)
    if embeddings is not None:
        drift = identity_drift(times, embeddings)
        rows += () if drift is None else (identity_evidence(drift),)
    return Measured(rows, series.weights)
