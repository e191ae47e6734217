"""Mouth dynamics: how far the lips open over time, and how fast.

The opening is the height between the inner lips over the width between the corners, from the face mesh. Its rhythm is
read from its spectrum: speech opens and closes the mouth two to seven times a second (Chandrasekaran and others, The
Natural Statistics of Audiovisual Speech, 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.analyzers.series import Floats, longest_stretch, resample, spectrum

_GAP_S = 0.3
_BAND = (0.5, 8.0)
_SPEECH = (2.0, 7.0)
_LEAST_S = 2.0


@dataclass(frozen=True)
class Mouth:
    """How a mouth moved."""

    opening: float
    """From the 10th to the 90th percentile of height over width."""
    rhythm: float
    """Hertz of the strongest movement between :data:`_BAND`, as far as the frame rate shows it."""
    share: float
    """Share of the power in that band that lies in 2 to 7 Hz, where speech is, 0 to 1."""
    peak: float
    """Share of the power in that band within 0.4 Hz of the rhythm, 0 to 1."""
    seconds: float
    rate: float
    """Samples a second."""


def mouth_movement(times: Floats, openings: Floats) -> Mouth | None:
    """The movement of a mouth.

    Args:
        times: seconds, rising, [n]; openings: height over width, [n], NaN where unknown.

    Returns:
        None where less than two seconds were seen in one go.
    """
    known = np.isfinite(openings)
    times, openings = np.asarray(times)[known], np.asarray(openings, dtype=np.float64)[known]
    part = longest_stretch(times, _GAP_S)
    times, openings = times[part], openings[part]
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    if seconds < _LEAST_S:
        return None
    rate = (len(times) - 1) / seconds
    hertz, power = spectrum(resample(times, openings, rate), rate)
    band = (hertz >= _BAND[0]) & (hertz <= min(_BAND[1], 0.48 * rate))
    total = float(power[band].sum())
    rhythm = float(hertz[band][np.argmax(power[band])])
    speech = band & (hertz >= _SPEECH[0]) & (hertz <= _SPEECH[1])
    near = band & (np.abs(hertz - rhythm) <= 0.4)
    low, high = np.quantile(openings, [0.1, 0.9])
    shares = [float(power[part].sum()) / total if total > 0 else 0.0 for part in (speech, near)]
    return Mouth(float(high - low), rhythm, shares[0], shares[1], seconds, rate)
