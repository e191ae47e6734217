"""The last line of voice networks: read, put, fitted anew, and never judged on a synthesiser that it has heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cards.repository import ModelRepository
from pipelines.audio.windows import CELLS, SAMPLES
from pipelines.metrics import auc
from training.audio.cache import VoiceCache, cache_of
from training.audio.features import Described
from training.audio.fuse import kept_weights
from training.audio.heard import Entry, HeardWindows
from training.audio.lines import Line, aligned, line_in, put_line, read_lines, write_lines
from training.audio.manifest import VoiceRow
from training.audio.members import ENGINES, SHIPPED, WITHOUT, ShippedVoice, logits_of
from training.audio.origins import origin_of, reopened
from training.audio.pairs import HELD, HELD_SPEAKERS
from training.audio.readout import COPIES, DRAWN, SHARE, fit_lines, refit, wanted_clips
from training.models.registry import network
from training.models.voice_cepstra import VoiceCepstra

FEATURES = 6


def sound(items: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    audio = 0.05 * torch.randn(items, SAMPLES, generator=torch.Generator().manual_seed(3))
    return audio, torch.ones(items, CELLS)


@pytest.mark.parametrize("name", ["voice_raw", "voice_spectrogram", "voice_mfcc"])
def test_the_logit_is_the_line_through_the_embedding_also_after_another_was_put(name: str) -> None:
    torch.manual_seed(1)
    model = network(name).empty().eval()
    with torch.inference_mode():
        before = model(*sound())
        line = line_in(model)
        assert np.allclose(line(before.embedding.numpy()), before.logit[:, 0], atol=1e-4)
        other = Line(np.random.default_rng(2).standard_normal(len(line.weight)) * 0.1, -0.7)
        put_line(model, other)
        after = model(*sound())
    assert np.allclose(other(after.embedding.numpy()), after.logit[:, 0], atol=1e-4)
    assert np.allclose(line_in(model).weight, other.weight, atol=1e-6)
    assert torch.equal(after.embedding, before.embedding)
    if name == "voice_raw":
        assert torch.equal(after.frames, before.frames)


def test_a_network_that_does_not_end_in_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="VoiceCepstra does not end in one line"):
        line_in(VoiceCepstra())


def test_another_line_gets_mean_and_spread_of_the_old_one() -> None:
    x = np.random.default_rng(1).standard_normal((200, FEATURES)).astype(np.float32)
    old, new = Line(np.ones(FEATURES), 3.0), Line(np.arange(FEATURES) * 100.0, -5.0)
    found = aligned(new, old, x)(x)
    assert found.mean() == pytest.approx(old(x).mean(), abs=1e-4)
    assert found.std() == pytest.approx(old(x).std(), rel=1e-4)
    assert np.corrcoef(found, new(x))[0, 1] > 0.999


@pytest.mark.parametrize("name", ["voice_raw", "voice_spectrogram"])
def test_shipped_weights_in_the_layout_that_trains_answer_as_the_repository(name: str) -> None:
    origin = origin_of(name, SHIPPED)
    with torch.inference_mode():
        ours, shipped = origin.model(*sound()).logit, ShippedVoice(name, ModelRepository())(*sound()).logit
    assert torch.allclose(ours, shipped, atol=2e-3)
    assert origin.trained_on
    assert set(origin.settings["held"]) <= set(HELD)  # CARGAN came later


def test_opened_norms_answer_alike_also_where_a_batch_sets_them() -> None:
    """Batch norms of folded weights do nothing: without being opened the first step of training would change all."""
    rng = torch.Generator().manual_seed(3)
    audio, mask = 0.05 * torch.randn(12, SAMPLES, generator=rng), torch.ones(12, CELLS)

    def answers(model: torch.nn.Module, training: bool) -> torch.Tensor:
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.train(training)
        with torch.no_grad():
            return model(audio, mask).logit  # type: ignore[no-any-return]

    model = origin_of("voice_spectrogram", SHIPPED).model
    before, closed = answers(model, False), answers(model, True)
    model = reopened(origin_of("voice_spectrogram", SHIPPED).model, audio, mask)
    assert torch.allclose(answers(model, False), before, atol=1e-3)
    assert (answers(model, True) - before).abs().max() < 0.05 < (closed - before).abs().max()


def row(number: int, family: str = "", generator: str = "", pair: str = "", fold: int = 0) -> VoiceRow:
    path = f"{family or 'real'}-{generator}/{number}.flac"
    return VoiceRow(
        path, int(bool(family)), "own", generator or family, "", pair or path, "", "", fold, family, int(bool(pair)),
        seconds=2.0,
    )  # fmt: skip


def speech(per: int = 60) -> VoiceCache:
    """Reals with copies of two families, one that stands aside, and three synthesisers."""
    rows = [row(n, fold=HELD_SPEAKERS if n % 6 == 5 else n % 6) for n in range(per)]
    for family in ("one", "two", HELD[0]):
        rows += [row(n, family, pair=rows[n].path, fold=rows[n].fold) for n in range(per)]
    for engine in ("first", "second", "third"):
        rows += [row(n, ENGINES, engine) for n in range(per // 3)]
    return cache_of(Path(), rows)


def test_a_draw_leaves_out_what_stands_aside_and_takes_families_by_turns() -> None:
    cache = speech()
    families, seen = cache.column("family"), set[str]()
    for draw in DRAWN:
        chosen = wanted_clips(cache, draw)
        assert not (chosen & (families == HELD[0])).any()
        assert not any(
            cache.rows[place].fold == HELD_SPEAKERS for place in np.flatnonzero(chosen & (families != ENGINES))
        )
        assert (chosen & (families == ENGINES)).sum() == 60
        reals = (chosen & (families == "")).sum()
        assert (chosen & np.isin(families, ("one", "two"))).sum() == COPIES * reals
        seen |= set(families[chosen])
    assert {"one", "two", ENGINES, ""} == seen


def heard(cache: VoiceCache, seed: int) -> Described:
    """Features of which the first tells copies, the second synthesisers; the fifth is each synthesiser's own."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(cache), FEATURES)).astype(np.float32)
    engine = cache.column("family") == ENGINES
    x[:, 0] += 3.0 * ((cache.labels == 1) & ~engine)
    x[:, 1] += 3.0 * engine
    x[:, 4] += 6.0 * (cache.column("generator") == "third")
    count = len(cache)
    return Described(np.arange(count), np.ones(count, np.float32), x, np.zeros((count, 1, 1), np.float32))


def test_the_line_finds_a_synthesiser_that_it_has_not_heard_and_keeps_half_of_what_it_knew() -> None:
    cache = speech()
    draws = [heard(cache, seed) for seed in range(3)]
    old = Line(np.eye(FEATURES)[0] * 2.0, -3.0)
    line, without = fit_lines(cache, draws, old, np.ones(len(cache), bool))
    assert set(without) == {"first", "second", "third"}
    fresh, labels, generators = heard(cache, 9).whole, cache.labels, cache.column("generator")
    for engine, other in without.items():
        some = (labels == 0) | (generators == engine)
        assert auc(other(fresh[some]), labels[some]) > auc(old(fresh[some]), labels[some]) + 0.1
    copies = (labels == 0) | np.isin(cache.column("family"), ("one", "two"))
    assert auc(line(fresh[copies]), labels[copies]) > 0.9
    # What is third's own is known to the line that heard it alone.
    assert abs(without["third"].weight[4]) < 0.5 * line.weight[4]
    assert line.weight[0] > SHARE * old.weight[0]


class Told(HeardWindows):
    """Answers the line of the model for every entry."""

    def __init__(self) -> None:
        pass

    def logits(self, model: torch.nn.Module, entries: list[Entry]) -> np.ndarray:  # type: ignore[type-arg, override]
        return np.full(len(entries), line_in(model).bias)


def test_members_score_a_synthesiser_by_the_line_that_has_not_heard_it(tmp_path: Path) -> None:
    model = network("voice_mfcc").empty()
    weight = np.zeros(len(line_in(model).weight))
    put_line(model, Line(weight, 5.0))
    entries = [Entry(path, "clean", (), 0, (1,), (1.0,)) for path in ("a", "b", "c")]
    generators = {"a": "first", "b": "", "c": "second"}
    assert list(logits_of(tmp_path, model, Told(), entries, generators)) == [5.0, 5.0, 5.0]
    write_lines(tmp_path / WITHOUT, {"first": Line(weight, 1.0), "third": Line(weight, 2.0)})
    assert list(logits_of(tmp_path, model, Told(), entries, generators)) == [1.0, 5.0, 5.0]
    assert line_in(model).bias == pytest.approx(5.0)  # the model is as it was
    assert read_lines(tmp_path / "nothing.npz") == {}


def test_weights_that_stay_give_logits_the_same_part_under_another_calibration() -> None:
    models = ModelRepository()
    fusion = models.record("audio_verdict").fusion
    assert fusion is not None
    calibrations = {name: models.record(name).calibration for name in fusion.weights}
    known = {name: each for name, each in calibrations.items() if each is not None}
    assert kept_weights(fusion, known) == pytest.approx(dict(fusion.weights))
    steeper = {**known, "voice_raw": known["voice_raw"].model_copy(update={"slope": 2 * known["voice_raw"].slope})}
    assert kept_weights(fusion, steeper)["voice_raw"] == pytest.approx(fusion.weights["voice_raw"] / 2)
    with pytest.raises(ValueError, match="not fused of voice_raw"):
        kept_weights(fusion, {"voice_raw": known["voice_raw"]})


def test_a_line_is_not_fitted_anew_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fitted anew before"):
        refit("voice_raw", SHIPPED, speech(), tmp_path)
    assert not list(tmp_path.iterdir())
