"""Draws of features: what a caller gets hangs on what it wants, not on what the cache was asked before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.training.audio.voices import voice
from training.audio.cache import VoiceCache, gather, load_voice_cache
from training.audio.features import LOCAL, Described, draws_of
from training.audio.manifest import VoiceRow, write_rows
from training.audio.sounds import write_sound
from training.models.voice_deviations import PLACES

CLIPS = 4


def cache_in(folder: Path) -> VoiceCache:
    """A few voices without copies."""
    rows = []
    for number in range(CLIPS):
        path = f"real/many/{number}.flac"
        write_sound(folder / path, voice(2.0 + number, number))
        common = {"source": "many", "generator": "", "licence": "own", "commercial": "yes"}
        rows.append(
            VoiceRow(path=path, label=0, speaker=str(number), pair=path, fold=0, seconds=2.0 + number, **common)
        )
    write_rows(folder / "real" / "many" / "part.csv", rows)
    gather(folder)
    return load_voice_cache(folder)


def front(audio: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Level of the window, and for each place its number."""
    places = torch.arange(PLACES, dtype=torch.float32)[None, :, None].expand(len(audio), -1, -1)
    return audio.square().mean(dim=1, keepdim=True).log(), places


def draw(cache: VoiceCache, number: int, clips: list[int]) -> Described:
    """One draw of some clips, all of whose cells count as speech."""
    speech = [np.ones(-(-len(cache.samples(row)) // 512), np.float32) for row in range(len(cache))]
    wanted: npt.NDArray[np.bool_] = np.isin(np.arange(len(cache)), clips)
    return draws_of(cache, speech, [number], wanted, front)[0]


@pytest.mark.parametrize("number", [0, 2])
def test_a_draw_holds_what_is_wanted_whatever_was_asked_before(tmp_path: Path, number: int) -> None:
    asked, fresh = cache_in(tmp_path / "asked"), cache_in(tmp_path / "fresh")
    first = draw(asked, number, [0, 2])
    assert set(first.clip.tolist()) == {0, 2}
    later, alone = draw(asked, number, [1, 2, 3]), draw(fresh, number, [1, 2, 3])
    assert set(later.clip.tolist()) == {1, 2, 3}
    for name in ("clip", "weight", "whole", "local"):
        np.testing.assert_array_equal(getattr(later, name), getattr(alone, name))
    assert later.local.shape[1] == LOCAL
    again = draw(asked, number, [0, 2])
    np.testing.assert_array_equal(again.local, first.local)
