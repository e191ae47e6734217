"""The biometrics of a face as evidence: each number with its reading, its unit and how well it stands.

``confidence`` (0 to 1) says how much of what a number is measured from was there, times how clean it was; it says
nothing of real or fake.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from deepscan_client.verdict import Evidence
from pipelines.analyzers.blinks import Blinks, find_blinks
from pipelines.analyzers.face_series import FaceSeries
from pipelines.analyzers.gaze import Gaze, eye_movement
from pipelines.analyzers.identity import IdentityDrift
from pipelines.analyzers.mouth import Mouth, mouth_movement
from pipelines.analyzers.pose import HeadPoses, head_poses
from pipelines.analyzers.pulse import Pulse, pulse_of
from pipelines.analyzers.series import Floats, enough

_HIDDEN = 0.75
"""Below this share of its usual opening an eye hides its iris, and one frame before and after it does in part."""


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


def identity_evidence(found: IdentityDrift) -> Evidence:
    """The evidence of the face's identity over its track."""
    return Evidence(
        "identity_drift",
        found.distance,
        "cosine distance",
        note=f"of the mean embeddings of up to 2 s before and after {found.at_s:.1f} s; "
        f"{found.within:.3f} within a side",
        confidence=enough(found.frames, 10),
    )
