"""Biometrics of the main face of a video: does it blink, look, nod, speak and pulse as a body does?

Measurements, each with method, unit and confidence (docs/biometrics.md). None of them carries a weight in the verdict:
no data of ours tells what they are worth. ``confidence`` (0 to 1) says how well a number stands: how much of what it is
measured from was there, times how clean it was; it says nothing of real or fake.

Cost of a frame, on one core of the project's machine: about 0.7 ms for the crop, 3 ms for one eye, and 2.5 ms for the
mesh, which every second frame of 25 a second goes through; decoding and RGB, some 5 ms at 720p, come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepscan_client.verdict import Evidence
from pipelines.analyzers.blinks import Blinks, find_blinks
from pipelines.analyzers.face_series import FaceReader, FaceSeries
from pipelines.analyzers.gaze import Gaze, eye_movement
from pipelines.analyzers.identity import IdentityDrift, identity_drift
from pipelines.analyzers.mouth import Mouth, mouth_movement
from pipelines.analyzers.pose import HeadPoses, head_poses
from pipelines.analyzers.pulse import Pulse, pulse_of
from pipelines.analyzers.series import Floats, enough, longest_stretch
from pipelines.infer import Infer
from pipelines.video.steady import landmarks_at

MOST_S = 20.0
"""Seconds of a face that are looked at, from the start of its longest stretch."""
MOST_FPS = 30.0
"""Frames a second that are looked at; of faster videos every second or fourth."""
_LONGEST_GAP_S = 1.0
"""Between two detections that are further apart the face's way is not known."""
_LEAST_S = 1.0
_HIDDEN = 0.75
"""Below this share of its usual opening an eye hides its iris, and one frame before and after it does in part."""


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
        rows += () if drift is None else (_identity(drift),)
    return Measured(rows, series.weights)


def face_evidence(series: FaceSeries, size: tuple[int, int]) -> tuple[Evidence, ...]:
    """The evidence of a series.

    Args:
        series: of one face; size: width and height of its frames in pixels.
    """
    if len(series.times) < 2 or series.seen == 0.0:
        return ()
    clear = series.seen * enough(series.eye_px, 10.0)
    rows: list[Evidence] = []
    blinks = find_blinks(series.times, series.openness, series.eyes)
    if blinks is not None:
        rows += _blinks(blinks, clear)
    gaze = eye_movement(series.times, visible_gaze(series), series.eyes)
    if gaze is not None:
        rows += _gaze(gaze, clear)
    poses = head_poses(series.points, size)
    rows += _pose(poses, series.seen)
    mouth = mouth_movement(series.mesh_times, series.lips)
    if mouth is not None:
        rows += _mouth(mouth, clear)
    pulse = pulse_of(series.times, series.colours)
    if pulse is not None:
        rows += _pulse(pulse, series.seen)
    return tuple(rows)


def visible_gaze(series: FaceSeries) -> Floats:
    """Gaze [n, 2] where the iris is seen, else NaN."""
    gaze = series.gaze.copy()
    for eye in (0, 1):
        own = np.flatnonzero(series.eyes == eye)
        openness = series.openness[own]
        if np.isfinite(openness).any():
            hidden = ~(openness > _HIDDEN * np.nanmedian(openness))
            gaze[own[ndimage.binary_dilation(hidden)]] = np.nan
    return gaze


def _blinks(found: Blinks, clear: float) -> list[Evidence]:
    # A curve that trembles by half of what a blink takes hides blinks and makes some.
    calm = float(np.clip(1.0 - found.noise / 0.2, 0.0, 1.0))
    rate = found.frames / found.seconds
    note = f"{len(found)} in {found.seconds:.1f} s, from the eye aspect ratio of {rate:.0f} frames a second"
    if len(found):
        note += "; at " + ", ".join(f"{moment:.2f}" for moment in found.times[:10]) + " s"
    rows = [
        Evidence(
            "blink_rate", found.per_minute, "a minute", note=note, confidence=clear * calm * enough(found.seconds, 15)
        )
    ]
    if len(found):
        shape = f"median of {len(found)}, between four fifths open; closing takes "
        shape += f"{np.median(found.closing / found.lengths):.0%} of it"
        sharp = clear * calm * enough(len(found), 3) * enough(rate, 10)
        rows.append(Evidence("blink_length", float(np.median(found.lengths)), "s", note=shape, confidence=sharp))
    return rows


def _gaze(found: Gaze, clear: float) -> list[Evidence]:
    calm = float(np.clip(1.0 - found.noise / 0.05, 0.0, 1.0))
    confidence = clear * calm * enough(found.seconds, 5)
    rows = [
        Evidence(
            "gaze_range",
            found.spread,
            "eye widths",
            note="of the iris between the corners of its eye, 5th to 95th percentile; 0.07 is about 10 degrees",
            confidence=confidence,
        ),
        Evidence(
            "gaze_shifts",
            found.per_minute,
            "a minute",
            note=f"{len(found.shifts)} in {found.seconds:.1f} s",
            confidence=confidence,
        ),
    ]
    if np.isfinite(found.together):
        # Eyes that rest have no movement to compare.
        moved = enough(found.spread, 0.05)
        note = "correlation of the horizontal movement of both eyes"
        rows.append(Evidence("eyes_together", found.together, "correlation", note=note, confidence=confidence * moved))
    return rows


def _pose(found: HeadPoses, seen: float) -> list[Evidence]:
    known = np.isfinite(found.gaps)
    if np.count_nonzero(known) < 5:
        return []
    gaps, forward = found.gaps[known], found.whole[known][:, :, 2]
    middle = forward.mean(axis=0)
    middle /= max(float(np.linalg.norm(middle)), 1e-9)
    away = np.degrees(np.arccos(np.clip(forward @ middle, -1.0, 1.0)))
    confidence = seen * enough(len(gaps), 10)
    return [
        Evidence(
            "head_pose_gap",
            float(np.median(gaps)),
            "degrees",
            note=f"between the directions of the whole and of the inner face, median of {len(gaps)} frames; "
            f"90th percentile {np.quantile(gaps, 0.9):.1f}",
            confidence=confidence,
        ),
        Evidence(
            "head_movement",
            float(np.quantile(away, 0.9)),
            "degrees",
            note="from the mean direction of the face, 90th percentile",
            confidence=confidence,
        ),
    ]


def _mouth(found: Mouth, clear: float) -> list[Evidence]:
    confidence = clear * enough(found.seconds, 4)
    return [
        Evidence(
            "mouth_opening",
            found.opening,
            "mouth widths",
            note=f"between the inner lips, 10th to 90th percentile over {found.seconds:.1f} s",
            confidence=confidence,
        ),
        Evidence(
            "mouth_rhythm",
            found.rhythm,
            "Hz",
            note=f"strongest movement of the lips; {found.share:.0%} of it lies in 2 to 7 Hz, where speech is",
            confidence=confidence * found.peak * enough(found.opening, 0.03),
        ),
    ]


def _pulse(found: Pulse, seen: float) -> list[Evidence]:
    above = float(np.clip((found.snr_db - found.floor_db) / 6.0, 0.0, 1.0))
    return [
        Evidence(
            "pulse",
            found.beats,
            "a minute",
            note=f"POS on the cheeks over {found.seconds:.1f} s"
            + ("" if above else "; no clearer than noise would be"),
            confidence=seen * above,
        ),
        Evidence(
            "pulse_snr",
            found.snr_db,
            "dB",
            note=f"noise alone stays below {found.floor_db:.1f} dB in 19 of 20 cases",
            confidence=seen * enough(found.seconds, 5),
        ),
    ]


def _identity(found: IdentityDrift) -> Evidence:
    return Evidence(
        "identity_drift",
        found.distance,
        "cosine distance",
        note=f"of the mean embeddings of up to 2 s before and after {found.at_s:.1f} s; "
        f"{found.within:.3f} within a side",
        confidence=enough(found.frames, 10),
    )
