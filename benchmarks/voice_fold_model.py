"""A model repository whose voice networks have not heard some families of vocoders: what measures partial fakes.

The heads of ``voice_cepstra``, of windows and of local stretches, are fitted anew on what stays, with the settings of
the run, and exported beside the shipped calibration and verdict. Where the verdict has other members, they go along as
they are shipped, and what is left out is what was left out of their training (``training.audio.pairs.held_out``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from cards.repository import ModelRepository
from export.onnx_export import export_model
from export.voice_verdict import VERDICT, write_voice_verdict
from training.audio.cache import VoiceCache, cache_of
from training.audio.features import draws_of, speech_of_cache
from training.audio.folds import read_voice_folds, voice_splits
from training.audio.heads import HeadSettings
from training.audio.kinds import scales_of
from training.audio.pairs import HELD, Mask, aside, held_out
from training.audio.splice import measuring_family
from training.audio.train import fit_network, sources_in, trainable, wanted_in

NETWORK = "voice_cepstra"
_COPIED = ("audio_voice", VERDICT, "voice_activity", "speaker_embedding")
"""What stands beside the network, which is exported anew with its card."""


def left_out(cache: VoiceCache, members: Collection[str]) -> tuple[Mask, Mask, tuple[str, ...]]:
    """Clips that the networks may have heard [n], clips that they have not [n], and whose copies the latter are.

    Raises:
        ValueError: no fold measures partial fakes.
    """
    if set(members) != {NETWORK}:
        return ~aside(cache), held_out(cache)[1], HELD
    folds = read_voice_folds()
    for fold, split in zip(folds, voice_splits(cache.rows, folds), strict=True):
        if fold.measures:
            return np.asarray(split.train), np.asarray(split.held), (measuring_family(folds),)
    raise ValueError("no fold measures partial fakes")


def held_cache(cache: VoiceCache, members: Collection[str] = (NETWORK,)) -> VoiceCache:
    """The clips of speakers, and copies by vocoders, that the verdict's members have not heard."""
    _, held, _ = left_out(cache, members)
    return cache_of(cache.folder, [row for row, kept in zip(cache.rows, held.tolist()) if kept])


def fold_repository(run: Path, cache: VoiceCache, target: Path, shipped: ModelRepository) -> ModelRepository:
    """Fit the fold's network and put it in a copy of the voice way.

    Args:
        run: of ``voice_cepstra``; its ``model.pt`` says the settings, its ``calibration.json`` goes along.
        target: folder of the new repository; must not exist.

    Raises:
        FileNotFoundError: the run is missing.
        ValueError: no fold measures partial fakes, or the shipped verdict is not fused of this network.
    """
    state = torch.load(run / "model.pt", map_location="cpu", weights_only=True)
    told = json.loads(state["settings"])
    names = {field.name for field in fields(HeadSettings)}
    settings = replace(HeadSettings(), **{name: value for name, value in told.items() if name in names})
    fusion = shipped.record(VERDICT).fusion
    if fusion is None or NETWORK not in fusion.members:
        raise ValueError(f"{VERDICT} is not fused of {NETWORK}")
    speech, numbers = speech_of_cache(cache), range(int(told["draws"]))
    draws = [draws_of(cache, speech, [number], wanted_in(cache, number))[0] for number in numbers]
    own = np.asarray(trainable(cache) & left_out(cache, fusion.members)[0])
    model = fit_network(cache, draws, own, settings, scales_of(cache, draws, own, settings))
    for name in (*_COPIED, *(name for name in fusion.members if name != NETWORK)):
        shutil.copytree(shipped.root / name, target / name)
    checkpoint = target.parent / f"{target.name}-run" / "model.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    sources = json.dumps([source.model_dump() for source in sources_in(cache, own)])
    torch.save({**state, "state": model.state_dict(), "trained_on": sources, "result": "{}"}, checkpoint)
    if (run / "calibration.json").is_file():
        shutil.copy2(run / "calibration.json", checkpoint.parent)
    export_model(NETWORK, checkpoint, target)
    repository = ModelRepository(target)
    write_voice_verdict(repository, fusion)
    return repository
