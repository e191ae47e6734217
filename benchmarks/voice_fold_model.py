"""A model repository whose voice network has not heard one family of vocoders: the fold that measures partial fakes.

The heads of ``voice_cepstra``, of windows and of local stretches, are fitted anew on what that fold trains on, with the
settings of the run, and exported beside the shipped calibration and verdict.
"""

from __future__ import annotations

import json
import shutil
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
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.train import network_of, sources_in, trainable
from training.data.splits import Split

NETWORK = "voice_cepstra"
_COPIED = ("audio_voice", VERDICT, "voice_activity", "speaker_embedding")
"""What stands beside the network, which is exported anew with its card."""


def held_cache(cache: VoiceCache) -> VoiceCache:
    """The clips of the measuring fold: speakers, and copies by vocoders, that its model has not heard."""
    held = _split(cache).held
    return cache_of(cache.folder, [row for row, kept in zip(cache.rows, held.tolist()) if kept])


def fold_repository(run: Path, cache: VoiceCache, target: Path, shipped: ModelRepository) -> ModelRepository:
    """Fit the fold's network and put it in a copy of the voice way.

    Args:
        run: of ``voice_cepstra``; its ``model.pt`` says the settings, its ``calibration.json`` goes along.
        target: folder of the new repository; must not exist.

    Raises:
        FileNotFoundError: the run is missing.
        ValueError: no fold measures partial fakes, or the shipped verdict is not fused.
    """
    state = torch.load(run / "model.pt", map_location="cpu", weights_only=True)
    told = json.loads(state["settings"])
    names = {field.name for field in fields(HeadSettings)}
    settings = replace(HeadSettings(), **{name: value for name, value in told.items() if name in names})
    fusion = shipped.record(VERDICT).fusion
    if fusion is None or set(fusion.members) != {NETWORK}:
        raise ValueError(f"{VERDICT} is not fused of {NETWORK} alone")
    chosen = trainable(cache, settings)
    draws = draws_of(cache, speech_of_cache(cache), list(range(int(told["draws"]))), chosen)
    own = np.asarray(chosen & _split(cache).train)
    heads = [fit_head(examples(cache, draws, own, settings, local=local), settings) for local in (False, True)]
    for name in _COPIED:
        shutil.copytree(shipped.root / name, target / name)
    checkpoint = target.parent / f"{target.name}-run" / "model.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    sources = json.dumps([source.model_dump() for source in sources_in(cache, own)])
    torch.save({**state, "state": network_of(*heads).state_dict(), "trained_on": sources, "result": "{}"}, checkpoint)
    if (run / "calibration.json").is_file():
        shutil.copy2(run / "calibration.json", checkpoint.parent)
    export_model(NETWORK, checkpoint, target)
    repository = ModelRepository(target)
    write_voice_verdict(repository, fusion)
    return repository


def _split(cache: VoiceCache) -> Split:
    folds = read_voice_folds()
    for fold, split in zip(folds, voice_splits(cache.rows, folds), strict=True):
        if fold.measures:
            return split
    raise ValueError("no fold measures partial fakes")
