"""Voice consistency: does one voice speak, as a body speaks? Measurements, each with method, unit and confidence.

None of them carries a weight in the verdict: no data of ours tells what they are worth. A reader sees a pitch that does
not move, a voice that changes in the middle, a minute without a breath. ``confidence`` (0 to 1) says how well a number
stands: how much of what it is measured from was there, times how clean it was; it says nothing of real or fake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deepscan_client.verdict import Evidence
from pipelines.analyzers.frames import CELL, RATE, Floats, frames_of
from pipelines.analyzers.pauses import SECONDS, Stretches, pauses_and_breaths
from pipelines.analyzers.perturbation import Perturbation, perturbation
from pipelines.analyzers.pitch import PitchTrack, pitch_track
from pipelines.analyzers.speaker import NETWORK, Drift, speaker_drift
from pipelines.infer import Infer

MOST_SPEECH_S = 60.0
"""Seconds of speech that are looked at, from the start."""
MOST_S = 180.0
"""Seconds of a recording that are looked at, however little speech they hold."""
_LEAST_SPEECH_S = 0.5
_LOUDEST = 8.0
"""Samples of a float WAV may exceed 1."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a voice, and the weights of the networks that took part: name to sha256."""

    evidence: tuple[Evidence, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)


def consistency(samples: Floats, speech: Floats, infer: Infer | None = None) -> Measured:
    """What is measured of a voice: ``speaker_drift``, ``pitch``, ``pitch_range``, ``jitter``, ``shimmer``, ``pauses``
    and ``breaths``, each left out where it cannot be measured.

    Args:
        samples: [n] float32, 16 kHz mono in -1 to 1, before level is normalised; the first :data:`MOST_S` seconds are
            enough, more is cut.
        speech: [cells] float32, probability of speech for each 512 samples.
        infer: runs ``speaker_embedding``; without it there is no ``speaker_drift``.

    Raises:
        deepscan_client.errors.DeepScanError: the speaker encoder did not answer.
    """
    samples, speech = first_minute(samples, speech)
    spoken_s = float(np.count_nonzero(speech > 0.5)) * CELL / RATE
    if spoken_s < _LEAST_SPEECH_S:
        return Measured()
    frames = frames_of(samples, speech)
    track = pitch_track(samples, frames.speech)
    found: list[Evidence] = []
    weights: dict[str, str] = {}
    if infer is not None:
        drift = speaker_drift(samples, speech, infer)
        if drift is not None:
            found.append(_drift(drift))
            weights[NETWORK] = drift.record
    if track.voiced.any():
        found.extend(_pitch(track))
        shaken = perturbation(samples, track)
        if shaken is not None:
            found.extend(_perturbation(shaken))
    found.extend(_timing(pauses_and_breaths(frames), len(samples) / RATE, spoken_s))
    return Measured(tuple(found), weights)


def first_minute(samples: Floats, speech: Floats) -> tuple[Floats, Floats]:
    """The start of a recording that holds at most :data:`MOST_SPEECH_S` of speech and lasts at most :data:`MOST_S`.

    What is not a number is taken as silence and what is far too loud is clipped, so that every measure is finite.
    """
    cells = min(len(speech), -(-len(samples) // CELL), int(MOST_S * RATE / CELL))
    track = np.nan_to_num(np.asarray(speech[:cells], np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    heard = np.cumsum(track > 0.5) * CELL / RATE
    cells = int(np.searchsorted(heard, MOST_SPEECH_S, side="right")) if len(heard) else 0
    part = np.asarray(samples[: cells * CELL], np.float32)
    return np.clip(np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0), -_LOUDEST, _LOUDEST), track[:cells]


def _drift(found: Drift) -> Evidence:
    return Evidence(
        "speaker_drift",
        found.distance,
        "cosine distance",
        note=f"voice before and after {found.at_s:.1f} s, by mean embeddings of {found.windows} windows of 1.6 s; "
        "0.14 to 0.33 within one voice, 0.32 to 0.56 for two",
        confidence=_enough(found.windows, 8),
    )


def _pitch(track: PitchTrack) -> list[Evidence]:
    f0 = track.f0[track.voiced]
    clean = float(1.0 - track.aperiodicity[track.voiced].mean())
    seconds = len(f0) * SECONDS
    low, high = np.quantile(f0, [0.1, 0.9])
    confidence = _enough(seconds, 1.0) * clean
    return [
        Evidence(
            "pitch",
            float(np.median(f0)),
            "Hz",
            note=f"median of YIN over {seconds:.1f} s of voiced sound",
            confidence=confidence,
        ),
        Evidence(
            "pitch_range",
            float(12 * np.log2(high / low)),
            "semitones",
            note="from the 10th to the 90th percentile of the pitch",
            confidence=confidence,
        ),
    ]


def _perturbation(found: Perturbation) -> list[Evidence]:
    note = f"local, as Praat defines it, over {found.pairs} neighbouring periods of running speech"
    confidence = _enough(found.pairs, 100) * found.likeness
    return [
        Evidence("jitter", 100 * found.jitter, "%", note=note, confidence=confidence),
        Evidence("shimmer", 100 * found.shimmer, "%", note=note, confidence=confidence),
    ]


def _timing(found: Stretches, seconds: float, spoken_s: float) -> list[Evidence]:
    # Where noise fills the pauses, neither their ends nor a breath can be told from it.
    audible = float(np.clip((found.contrast_db - 6.0) / 24.0, 0.0, 1.0))
    confidence = _enough(spoken_s, 15.0) * audible
    lengths = found.pauses[:, 1] - found.pauses[:, 0]
    told = f"{len(lengths)} of 0.1 s or more in {seconds:.1f} s"
    if len(lengths):
        told += f", median {np.median(lengths):.2f} s, {lengths.sum() / seconds:.0%} of the time"
    breaths = found.breaths[:, 1] - found.breaths[:, 0]
    heard = f"{len(breaths)} in {seconds:.1f} s"
    if len(breaths):
        heard += f", median {np.median(breaths):.2f} s"
    return [
        Evidence("pauses", 60 * len(lengths) / seconds, "a minute", note=told, confidence=confidence),
        Evidence("breaths", 60 * len(breaths) / seconds, "a minute", note=heard, confidence=confidence),
    ]


def _enough(amount: float, half: float) -> float:
    """0 for nothing, one half at ``half``, towards 1 for more."""
    return amount / (amount + half)
