"""Folds of clips, the line through their profiles, and the fusion of what members say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from cards.record import Calibration
from pipelines.metrics import auc
from pipelines.novelty import profile
from training.data.manifest import Row
from training.models.clip_head import ClipHead
from training.models.imagenet_cnn import ImagenetCnn
from training.models.output import set_line
from training.video.fit import Members, chosen_members, cross_fitted, fit_record
from training.video.folds import clip_folds, source_of
from training.video.frozen import standardised_line
from training.video.head import fit_line


def rows_of(count: int) -> tuple[list[Row], list[frozenset[str]]]:
    rows, identities = [], []
    for place in range(count):
        label = place % 2
        source = f"{'fake' if label else 'real'}_{place % 12}"
        rows.append(Row(f"{source}/{place}.mp4", label, source, (), "none", "no", medium="video"))
        identities.append(frozenset({f"person:{place % 30}"}))
    return rows, identities


def test_a_clip_is_tested_once_and_nothing_of_its_source_or_people_is_trained_on() -> None:
    rows, identities = rows_of(120)
    folds = clip_folds(rows, identities, 4)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(120))
    for fold in folds:
        sources = {source_of(rows[place]) for place in fold.test.tolist()}
        people = frozenset().union(*(identities[place] for place in fold.test.tolist()))
        for place in fold.train.tolist():
            assert source_of(rows[place]) not in sources
            assert not identities[place] & people


def test_methods_of_faceforensics_stay_together() -> None:
    rows = [Row(f"{s}/a.mp4", 1, s, (), "", "no") for s in ("ffpp_c23_deepfakes", "ffpp_c40_youtube", "real_clips")]
    assert [source_of(row) for row in rows] == ["ffpp", "ffpp", "real_clips/a.mp4"]


def test_the_line_finds_a_direction_and_the_network_computes_the_same() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    embeddings = np.abs(rng.normal(0, 1, (80, 6, 24))) + labels[:, None, None] * np.eye(24)[3] * 2
    features = np.stack([profile(rows).mean(axis=0) for rows in embeddings])
    line, bias = fit_line(features, labels, np.ones(80))
    values = features @ line + bias
    assert auc(values, labels) > 0.95
    head = ClipHead(24)
    set_line(head.classifier, line, bias)
    with torch.no_grad():
        padded = torch.zeros(80, 16, 24)
        padded[:, :6] = torch.from_numpy(embeddings).float()
        mask = torch.zeros(80, 16)
        mask[:, :6] = 1
        output = head(padded, mask)
    np.testing.assert_allclose(output.logit[:, 0].numpy(), values, atol=1e-4)
    assert torch.allclose(output.cam.sum(dim=2), torch.ones(80, 1))


def members_of(strong: float, weak: float) -> Members:
    rows, identities = rows_of(240)
    labels = np.array([row.label for row in rows])
    rng = np.random.default_rng(1)
    columns = [rng.normal(0, 1, 240) + strength * labels for strength in (strong, weak)]
    one = Calibration(slope=1.0, intercept=0.0, fitted_on="", items=0)
    kinds = np.array([row.source for row in rows])
    folds = tuple(clip_folds(rows, identities, 4))
    return Members(("a", "b"), np.column_stack(columns), {"a": one, "b": one}, labels, kinds, kinds, folds)


def test_a_member_that_says_nothing_is_dropped_and_one_that_says_something_stays() -> None:
    assert chosen_members(members_of(2.0, 0.0))[0].names == ("a",)
    kept, gains = chosen_members(members_of(1.5, 1.5))
    assert kept.names == ("a", "b")
    assert min(gains.values()) > 0.005


def test_the_record_binds_the_networks_that_only_lend_their_embeddings() -> None:
    members = members_of(2.0, 1.0)
    fusion = fit_record(members, ["portrait_cnn"])
    assert fusion.weights["portrait_cnn"] == 0.0
    assert set(fusion.members) == {"a", "b", "portrait_cnn"}
    assert len(fusion.refits) == 100
    values, flagged = cross_fitted(members)
    assert auc(values, members.labels) > 0.8
    assert flagged[members.labels == 0].mean() < 0.2


def test_the_line_through_frozen_features_is_what_the_network_says_of_a_frame() -> None:
    model = ImagenetCnn().train()
    assert not any(part.training for part in (model._bn0, *model._blocks))
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {
        "head.classifier.weight",
        "head.classifier.bias",
    }
    rng = np.random.default_rng(3)
    rows, _ = rows_of(40)
    labels = np.array([row.label for row in rows])
    lift = np.where(np.arange(112) == 5, 3.0, 0.0)
    frames = [rng.normal(1, 2, (6, 112)) + label * lift for label in labels]
    clips = [SimpleNamespace(row=row) for row in rows]
    line, bias = standardised_line(frames, clips, np.arange(40))  # type: ignore[arg-type]
    told = np.array([(each @ line + bias).mean() for each in frames])
    assert auc(told, labels) > 0.95
    assert int(np.argmax(line)) == 5
    set_line(model.head.classifier, line, bias)
    crops = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        output = model(crops)
    np.testing.assert_allclose(output.logit[:, 0].numpy(), output.embedding.numpy() @ line + bias, atol=1e-3)
    np.testing.assert_allclose(output.cam.mean(dim=(1, 2)).numpy() + bias, output.logit[:, 0].numpy(), atol=1e-3)
