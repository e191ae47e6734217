"""The fold that measures partial fakes, on a tiny cache: what it has not heard, and that the commands run through."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import voice_partial
from benchmarks.voice_fold_model import NETWORK, fold_repository, held_cache
from cards import ModelRepository
from cards.record import Fusion, OperatingPoint
from export.voice_verdict import VERDICT, write_voice_verdict
from tests.training.audio.voices import voice
from training.audio.cache import VoiceCache, gather, load_voice_cache
from training.audio.features import draws_of, speech_of_cache
from training.audio.folds import read_voice_folds, voice_splits
from training.audio.heads import HeadSettings
from training.audio.manifest import SPEAKER_FOLDS, VoiceRow, write_rows
from training.audio.pairs import HELD, HELD_SPEAKERS
from training.audio.sounds import write_sound
from training.audio.splice import measuring_family
from training.audio.train import train_cepstra

FAMILIES = ("own_istft", "hifigan", "lpc")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> VoiceCache:
    """Twelve voices of twelve speakers with three copies each, that whisper a little; all of it counts as speech."""
    folder = tmp_path_factory.mktemp("voice")
    assert measuring_family(read_voice_folds()) == FAMILIES[0]
    reals, copies, speech = [], [], {}
    for number in range(12):
        sound, name = voice(3.0, number), f"{number}.flac"
        real = f"real/many/{name}"
        write_sound(folder / real, sound)
        speech[real] = np.ones(-(-len(sound) // 512), np.float32)
        common = {"source": "many", "speaker": str(number), "pair": real, "licence": "own", "commercial": "yes"}
        reals.append(VoiceRow(path=real, label=0, generator="", fold=number % SPEAKER_FOLDS, seconds=3.0, **common))
        for place, family in enumerate(FAMILIES):
            path = f"copies/{family}/many/{name}"
            noise = np.random.default_rng([place, number]).normal(0, 0.003 * (place + 1), len(sound))
            write_sound(folder / path, (sound + noise).astype(np.float32))
            copies.append(
                VoiceRow(
                    path=path,
                    label=1,
                    generator=f"{family}_1",
                    fold=number % SPEAKER_FOLDS,
                    family=family,
                    paired=1,
                    seconds=3.0,
                    **common,
                )
            )
    write_rows(folder / "real" / "many" / "part.csv", reals)
    write_rows(folder / "copies" / "all" / "part.csv", copies)
    gather(folder)
    (folder / "features").mkdir()
    np.savez(folder / "features" / "speech.npz", **speech)
    return load_voice_cache(folder)


@pytest.fixture(scope="module")
def run(cache: VoiceCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    wanted = np.ones(len(cache), bool)
    train_cepstra(cache, draws_of(cache, speech_of_cache(cache), [0], wanted), HeadSettings(), folder)
    return folder


def alone(root: Path) -> None:
    """Let the voice way ask voice_cepstra of all detectors."""
    card = root / "audio_voice" / "card.yaml"
    text = card.read_text(encoding="utf-8")
    card.write_text(re.sub(r"(?m)^calls: .*", f"calls: [voice_activity, {NETWORK}, speaker_embedding]", text))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """The shipped repository with a verdict of voice_cepstra alone."""
    root = tmp_path_factory.mktemp("shipped") / "models"
    for name in ("audio_voice", VERDICT, NETWORK, "voice_activity", "speaker_embedding"):
        shutil.copytree(ModelRepository().root / name, root / name)
    alone(root)
    point = OperatingPoint(target_fpr=0.05, threshold=0.7, fpr=0.05, tpr=0.9)
    fusion = Fusion(
        members={NETWORK: ""},
        weights={NETWORK: 1.0},
        refits=((1.0, 0.0),),
        real_quantiles=(0.0, 1.0),
        operating_points={"fpr_5": point},
        default_operating_point="fpr_5",
        fitted_on="arithmetic",
    )
    write_voice_verdict(ModelRepository(root), fusion)
    return ModelRepository(root)


def test_the_fold_has_heard_neither_the_vocoder_nor_the_speakers(
    cache: VoiceCache, run: Path, shipped: ModelRepository, tmp_path: Path
) -> None:
    repository = fold_repository(run, cache, tmp_path / "models", shipped)
    record = repository.record(NETWORK)
    heard = {source.generator for source in record.trained_on}
    assert not any(name.startswith(FAMILIES[0]) for name in heard)
    assert any(name.startswith("hifigan") for name in heard)
    assert record.weights_sha256 != shipped.record(NETWORK).weights_sha256
    fusion = repository.record(VERDICT).fusion
    assert fusion is not None
    assert fusion.members == {NETWORK: repository.record_hash(NETWORK)}
    held = held_cache(cache)
    speakers = {row.speaker for row in held.rows}
    folds = read_voice_folds()
    (split,) = [s for fold, s in zip(folds, voice_splits(cache.rows, folds), strict=True) if fold.measures]
    assert speakers
    assert not speakers & {row.speaker for row, kept in zip(cache.rows, split.train.tolist(), strict=True) if kept}
    assert {row.family for row in held.rows} == {"", FAMILIES[0]}


def test_another_fusion_is_refused(cache: VoiceCache, run: Path, shipped: ModelRepository, tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(shipped.root, root)
    (root / VERDICT / "1" / "record.json").unlink()
    write = {"model": VERDICT, "version": 1, "created": "2026-01-01T00:00:00Z", "git_revision": "x"}
    (root / VERDICT / "1" / "record.json").write_text(json.dumps(write))
    with pytest.raises(ValueError, match="not fused"):
        fold_repository(run, cache, tmp_path / "fold", ModelRepository(root))


def test_the_command_measures_and_writes(
    cache: VoiceCache, run: Path, shipped: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "partial.json"
    arguments = ["--run", str(run), "--models", str(shipped.root), "--cache", str(cache.folder), "--out", str(out)]
    assert voice_partial.main([*arguments, "--clips", "2"]) in (0, 1)
    told = json.loads(out.read_text())
    assert (told["family"], told["heard_in_training_by"]) == (FAMILIES[0], [])
    assert told["clips"] >= 1


def test_other_members_go_along_and_what_they_have_not_heard_is_measured(
    cache: VoiceCache, run: Path, tmp_path: Path
) -> None:
    shipped = ModelRepository()
    fusion = shipped.record(VERDICT).fusion
    assert fusion is not None
    assert set(fusion.members) > {NETWORK}
    repository = fold_repository(run, cache, tmp_path / "models", shipped)
    for name in set(fusion.members) - {NETWORK}:
        assert repository.record_hash(name) == shipped.record_hash(name)
    assert not {source.generator for source in repository.record(NETWORK).trained_on} & {f"{HELD[0]}_1"}
    held = held_cache(cache, fusion.members)
    assert {row.family for row in held.rows} == {"", HELD[0]}
    assert {row.fold for row in held.rows} == {HELD_SPEAKERS}
    told = repository.record(VERDICT).fusion
    assert told is not None
    assert told.weights == fusion.weights
