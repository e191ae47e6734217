"""A repository whose voice networks are arithmetic: what they say of a window is known beforehand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from cards import ModelRepository, sha256_file
from pipelines.audio.windows import CELL, CELLS, RATE, SAMPLES
from pipelines.infer import Arrays, Call, digest_words

Floats = NDArray[np.float32]
SHIPPED = ModelRepository().root
MEMBERS = ("voice_one", "voice_two")
FRAMES = 32


def network_card(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "network",
        "title": name,
        "description": "arithmetic",
        "family": "audio",
        "inputs": [
            {"name": "AUDIO", "dtype": "FP32", "shape": [SAMPLES]},
            {"name": "MASK", "dtype": "FP32", "shape": [CELLS]},
        ],
        "outputs": [
            {"name": "LOGIT", "dtype": "FP32", "shape": [1]},
            {"name": "EMBEDDING", "dtype": "FP32", "shape": [4]},
            {"name": "FRAMES", "dtype": "FP32", "shape": [FRAMES]},
            {"name": "RECORD", "dtype": "INT32", "shape": [8]},
        ],
        "max_batch_size": 32,
    }


def stage_card(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "stage", "title": name, "description": name, "inputs": [], "outputs": [], **more}


def write_record(folder: Path, model: str, **facts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {"model": model, "version": 1, "created": "2026-01-01T00:00:00Z", "git_revision": "0" * 40, **facts}
    (folder / "record.json").write_text(json.dumps(told))


def weights_of(name: str) -> str:
    """What the networks answer as their RECORD."""
    return (name.encode().hex() + "0" * 64)[:64]


CALIBRATION = {"slope": 2.0, "intercept": -1.0, "fitted_on": "arithmetic", "items": 10}


@pytest.fixture
def voice_repository(tmp_path: Path) -> Callable[..., ModelRepository]:
    """``voice_repository(members=..., fusion=...)``: cards and records of two arithmetic networks."""

    def make(calibrated: bool = True, fusion: dict[str, Any] | None = None, **facts: Any) -> ModelRepository:
        root = tmp_path / "models"
        shutil.rmtree(root, ignore_errors=True)
        for name in ("voice_activity",):
            shutil.copytree(SHIPPED / name, root / name)
        cards = [network_card(name) for name in MEMBERS]
        cards += [stage_card("audio_voice", calls=["voice_activity", *MEMBERS]), stage_card("audio_verdict")]
        for card in cards:
            (root / card["name"] / "1").mkdir(parents=True)
            (root / card["name"] / "card.yaml").write_text(yaml.safe_dump(card))
        for name in MEMBERS:
            told = {"calibration": CALIBRATION} if calibrated else {}
            write_record(root / name / "1", name, weights_sha256=weights_of(name), **told, **facts)
        if fusion is not None:
            hashes = {name: sha256_file(root / name / "1" / "record.json") for name in MEMBERS}
            whole = {
                "members": hashes,
                "weights": dict.fromkeys(MEMBERS, 0.5),
                "refits": [[1.0, 0.0], [1.0, 0.2], [1.0, -0.2]],
                "real_quantiles": [-3.0, 0.0, 1.0],
                "operating_points": {
                    "fpr_5": {"target_fpr": 0.05, "threshold": 0.7, "fpr": 0.05, "tpr": 0.9},
                    "fpr_1": {"target_fpr": 0.01, "threshold": 0.9, "fpr": 0.01, "tpr": 0.7},
                },
                "default_operating_point": "fpr_5",
                "fitted_on": "arithmetic",
                **fusion,
            }
            write_record(root / "audio_verdict" / "1", "audio_verdict", fusion=whole)
        return ModelRepository(root)

    return make


class Arithmetic:
    """Speech is whatever is loud, and a network's local log-odds are ``high`` where the sound is high, else ``low``.

    Args:
        high, low: raw log-odds.
    """

    def __init__(self, high: float = 3.0, low: float = -3.0) -> None:
        self.high, self.low = high, low
        self.calls: list[tuple[str, int]] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Arrays:
        audio = np.asarray(call.inputs["AUDIO"])
        self.calls.append((call.model, len(audio)))
        record = digest_words(weights_of(call.model))[None]
        if call.model == "voice_activity":
            cells = audio[:, 64:].reshape(1, -1, CELL)
            loud = np.sqrt((cells**2).mean(axis=2)) > 0.01
            return {"SPEECH": loud.astype(np.float32), "STATE_AFTER": call.inputs["STATE"], "RECORD": record}
        assert len(audio) <= 32
        frames = np.array([[self._local(part) for part in np.array_split(row, FRAMES)] for row in audio], np.float32)
        heard = np.array([[part.any() for part in np.array_split(row, FRAMES)] for row in call.inputs["MASK"]])
        answer = {
            "LOGIT": np.array([[row[mask].mean()] for row, mask in zip(frames, heard)], np.float32),
            "FRAMES": frames,
            "EMBEDDING": np.zeros((len(audio), 4), np.float32),
            "RECORD": np.repeat(record, len(audio), axis=0),
        }
        return {name: answer[name] for name in call.outputs}

    def _local(self, samples: Floats) -> float:
        crossings = np.count_nonzero(np.diff(np.signbit(samples))) / max(1, len(samples))
        return self.high if crossings > 0.25 else self.low


def tone(hertz: float, seconds: float) -> Floats:
    """A voice, as far as the arithmetic goes."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def wav(samples: Floats, rate: int = RATE) -> bytes:
    """A WAV file, IEEE float."""
    from deepscan_client._media import encode_wav

    return encode_wav(samples, rate)


@pytest.fixture
def arithmetic() -> SimpleNamespace:
    """``Infer``, ``tone`` and ``wav`` of this file, for tests that are in others."""
    return SimpleNamespace(Infer=Arithmetic, tone=tone, wav=wav, members=MEMBERS)
