"""Which recordings stand aside for the scale of a voice verdict, and the networks of the repository as its members."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cards.repository import ModelRepository
from pipelines.audio.windows import CELLS, SAMPLES
from tests.training.audio.test_voice_fusion import members
from training.audio.cache import cache_of
from training.audio.fuse import calibrated
from training.audio.manifest import VoiceRow
from training.audio.members import ENGINES, SHIPPED, ShippedVoice, heard_rows
from training.audio.pairs import HELD, HELD_SPEAKERS
from training.audio.scored import mass_of


def row(family: str, fold: int, pair: str, seconds: float = 3.0) -> VoiceRow:
    path, fake = f"{family or 'real'}/{fold}/{seconds}", int(bool(family))
    return VoiceRow(path, fake, "own", family, str(fold), pair or path, "", "", fold, family, seconds=seconds)


def test_synthesisers_stand_aside_whatever_their_speaker_and_short_clips_do_not() -> None:
    rows = [row("", fold, "") for fold in range(6)]
    rows += [row(HELD[0], fold, rows[fold].path) for fold in range(6)]
    rows += [row(ENGINES, fold, "none") for fold in range(6)]
    rows += [row(ENGINES, 0, "none", 1.0), row("tts_classic", 0, "none")]
    cache = cache_of(Path(), rows)
    heard = [rows[place] for place in heard_rows(cache)]
    assert {each.fold for each in heard if each.family == ENGINES} == set(range(6))
    assert {each.fold for each in heard if each.family in ("", HELD[0])} == {HELD_SPEAKERS}
    assert min(each.seconds for each in heard) >= 1.5
    assert "tts_classic" not in {each.family for each in heard}


def test_a_shipped_network_hears_only_what_its_mask_leaves() -> None:
    voice = ShippedVoice("voice_raw", ModelRepository())
    generator = torch.Generator().manual_seed(3)
    audio = 0.05 * torch.randn(2, SAMPLES, generator=generator)
    mask = torch.ones(2, CELLS)
    mask[1, CELLS // 2 :] = 0
    first = voice(audio, mask).logit
    changed = audio.clone()
    changed[1, SAMPLES * 3 // 4 :] = 0
    assert first.shape == (2, 1)
    assert torch.isfinite(first).all()
    assert torch.allclose(voice(changed, mask).logit, first, atol=1e-3)


def test_shipped_members_keep_the_calibration_of_their_records() -> None:
    held = replace(members((1.0, 1.0)), names=("voice_cepstra", "voice_raw"))
    mass = mass_of(held.scored)
    repository = ModelRepository()
    found = calibrated(held, dict.fromkeys(("voice_cepstra", "voice_raw"), SHIPPED), mass, "")
    assert found == {name: repository.record(name).calibration for name in found}
    with pytest.raises(FileNotFoundError, match="voice_cepstra has no calibration"):
        calibrated(held, {"voice_cepstra": Path("elsewhere"), "voice_raw": SHIPPED}, mass, "")
    assert np.isclose(mass.sum(), 1.0)
