"""Writes ``speaker.json``: what the package Resemblyzer 0.1.4 itself says of a synthetic voice.

Run once, in an environment of its own that holds the package with librosa 0.11.0 and webrtcvad:
``python tests/export/golden/speaker.py``. The test makes the same voice and compares the converted network.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def voice(seconds: float = 3.3) -> np.ndarray:
    """A buzz of 110 to 150 Hz through three resonances, with a little noise: float32 [n] at 16 kHz."""
    at = np.arange(int(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * np.cumsum(130 + 20 * np.sin(2 * np.pi * 1.3 * at)) / 16_000
    sound = np.zeros_like(at)
    for harmonic in range(1, 40):
        hertz = 130 * harmonic
        gain = sum(1 / (1 + ((hertz - f) / w) ** 2) for f, w in ((550, 90), (1450, 120), (2500, 200)))
        sound += gain / harmonic**0.5 * np.sin(harmonic * phase)
    sound *= 0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)
    sound += 0.01 * np.random.default_rng(7).normal(size=len(at))
    return (0.2 * sound / np.abs(sound).max()).astype(np.float32)


if __name__ == "__main__":
    from resemblyzer import VoiceEncoder

    _, partials, slices = VoiceEncoder("cpu", verbose=False).embed_utterance(voice(), return_partials=True)
    told = {
        "starts": [int(part.start) for part in slices],
        "embeddings": [[round(float(value), 5) for value in row] for row in partials],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told) + "\n", encoding="utf-8")
