"""Speaker drift: how far the voice before a moment is from the voice after it, by a speaker encoder.

The speech of a recording is joined without its long silences, brought to -30 dBFS where it is softer (so the encoder
was trained), and cut into windows of 1.6 s. Drift is the largest cosine distance between the mean embedding of the
windows that end before a moment and that of those that begin after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.frames import CELL, RATE, Floats, runs
from pipelines.infer import Call, Infer, digest_hex

NETWORK = "speaker_embedding"
WINDOW = 25_840
"""Samples of one window: 160 frames of 25 ms, 10 ms apart."""
MOST = 32
"""Windows of one recording: one call of the network."""
_HOP = WINDOW // 2
_EDGE_CELLS = 2
"""Cells kept on each side of speech, so that words keep their ends."""
_TARGET_RMS = 10 ** (-30 / 20)


@dataclass(frozen=True)
class Drift:
    """Where the voice changes most."""

    distance: float
    """Cosine distance of before and after, 0 (the same) to 1."""
    at_s: float
    """Seconds into the recording."""
    windows: int
    """Windows that were compared."""
    record: str
    """sha256 of the encoder's weights that ran."""


def speech_only(samples: Floats, speech: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The speech of a recording with its words' edges, and for each 512 samples of it where they began (samples)."""
    cells = min(len(speech), len(samples) // CELL)
    keep = np.zeros(cells, bool)
    for first, last in runs(speech[:cells] > 0.5):
        keep[max(0, first - _EDGE_CELLS) : last + _EDGE_CELLS] = True
    places = np.flatnonzero(keep) * CELL
    return samples[: cells * CELL].reshape(-1, CELL)[keep].reshape(-1), places


def windows_of(samples: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Windows [k, :data:`WINDOW`] over speech at the level that the encoder wants, and where each begins.

    At most :data:`MOST`; half a window apart, or further where the recording is long.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, WINDOW), np.float32), np.zeros(0, np.int64)
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    louder = samples * np.float32(max(1.0, _TARGET_RMS / max(level, 1e-9)))
    hop = max(_HOP, -(-(len(samples) - WINDOW) // (MOST - 1)))
    starts = np.arange(0, len(samples) - WINDOW + 1, hop)
    view = np.lib.stride_tricks.sliding_window_view(louder, WINDOW)
    return np.ascontiguousarray(view[starts], dtype=np.float32), starts


def speaker_drift(samples: Floats, speech: Floats, infer: Infer) -> Drift | None:
    """The drift of a recording; None where less than two windows of speech lie side by side.

    Args:
        samples: [n] 16 kHz mono; speech: [cells] probability for each 512 samples; infer: runs the encoder.

    Raises:
        deepscan_client.errors.DeepScanError: the encoder did not answer.
    """
    joined, places = speech_only(samples, speech)
    windows, starts = windows_of(joined)
    if not len(starts) or starts[-1] < WINDOW:
        return None
    (answer,) = infer.run([Call(NETWORK, {"AUDIO": windows}, ("EMBEDDING", "RECORD"))])
    embeddings = answer["EMBEDDING"]
    best, moment = -1.0, 0
    for cut in starts[starts >= WINDOW]:
        before, after = embeddings[starts + WINDOW <= cut].mean(axis=0), embeddings[starts >= cut].mean(axis=0)
        scale = float(np.linalg.norm(before) * np.linalg.norm(after))
        distance = 1.0 - float(before @ after) / scale if scale > 1e-6 else 0.0
        if distance > best:
            best, moment = distance, int(cut)
    at = int(places[min(moment // CELL, len(places) - 1)])
    return Drift(float(np.clip(best, 0.0, 1.0)), at / RATE, len(starts), digest_hex(answer["RECORD"][0]))
