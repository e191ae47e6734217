"""Weigh the members of the video verdict on clips: ``python -m training.video.fit frame_cnn blend_cnn``.

Members are networks over frames that never saw a clip, pooled over a clip's face, and networks that learn from clips,
with scores that were made out of fold (``training.video.train``, ``.head``, ``.frozen``). Each is measured alone; one
stays in the verdict only where leaving it out lowers the mean AUC over the generators by more than 0.005. The weights
(one for each member, and a bias) are fitted on all clips; flags are cross-fitted: weights and threshold come from folds
without a clip's source and its people. Both AUCs are told.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from pipelines.assessment.curves import log_odds
from pipelines.metrics import auc, bootstrap_interval, eer, platt, tpr_at_fpr
from pipelines.video.sequences import embeddings_of
from training.fusion import REFITS, Floats, Ints, balance, fit_fusion
from training.models.registry import network
from training.prepare import data_folder
from training.report import Fit
from training.video.folds import Fold, clip_folds, source_of
from training.video.table import Clip, labels_of, logits_of, read_table

GAIN = 0.005
POINT = "fpr_3"
"""Clips of sources that are new to a verdict are flagged more often than those that it was fitted on."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Members:
    """Clips with the calibrated log-odds of every member.

    Attributes:
        names: of the members; log_odds: [n, m]; calibrations: by name.
        labels: [n]; kinds: folder of each clip, [n]; origins: what is left out together, [n].
    """

    names: tuple[str, ...]
    log_odds: Floats
    calibrations: dict[str, Calibration]
    labels: Ints
    kinds: npt.NDArray[np.str_]
    origins: npt.NDArray[np.str_]
    folds: tuple[Fold, ...]

    def of(self, names: Sequence[str]) -> Members:
        """The same clips with some of the members."""
        places = [self.names.index(name) for name in names]
        kept = {name: self.calibrations[name] for name in names}
        return Members(tuple(names), self.log_odds[:, places], kept, self.labels, self.kinds, self.origins, self.folds)


def gather(
    clips: Sequence[Clip],
    repository: ModelRepository,
    networks: Sequence[str],
    more: Mapping[str, tuple[Floats, Calibration]],
) -> Members:
    """Members over frames with their own calibration, and others [n] with theirs."""
    columns, calibrations = [], {}
    for name in networks:
        told = repository.record(name).calibration
        calibrations[name] = told or Calibration(slope=1.0, intercept=0.0, fitted_on="none", items=0)
        columns.append(calibrations[name].slope * logits_of(clips, name) + calibrations[name].intercept)
    for name, (logits, calibration) in more.items():
        calibrations[name] = calibration
        columns.append(calibration.slope * logits + calibration.intercept)
    rows, identities = [clip.row for clip in clips], [clip.identities for clip in clips]
    return Members(
        (*networks, *more),
        np.column_stack(columns),
        calibrations,
        labels_of(clips),
        np.array([row.source for row in rows]),
        np.array([source_of(row) for row in rows]),
        tuple(clip_folds(rows, identities)),
    )


def fused(members: Members, train: Ints) -> tuple[Floats, float]:
    """Fused log-odds of all clips [n] with weights that were fitted on ``train``, and the threshold fitted there."""
    chosen = {name: members.log_odds[train, place] for place, name in enumerate(members.names)}
    same = dict.fromkeys(members.names, Calibration(slope=1.0, intercept=0.0, fitted_on="", items=0))
    fit = fit_fusion(chosen, members.labels[train], same)
    weights = np.array([fit.weights[name] for name in members.names])
    threshold = fit.operating_points[POINT].threshold
    return members.log_odds @ weights + fit.bias, float(log_odds(threshold))


def cross_fitted(members: Members) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Fused log-odds of each clip, and whether it is flagged, by weights and threshold of the other folds, [n] each."""
    values, flagged = np.zeros(len(members.labels)), np.zeros(len(members.labels), bool)
    for fold in members.folds:
        line, threshold = fused(members, fold.train)
        values[fold.test] = line[fold.test]
        flagged[fold.test] = line[fold.test] >= threshold
    return values, flagged


def kind_aucs(values: Floats, members: Members) -> dict[str, float]:
    """AUC of each generator's clips against all reals."""
    reals = values[members.labels == 0]
    found = {}
    for kind in np.unique(members.kinds[members.labels == 1]).tolist():
        own = values[(members.kinds == kind) & (members.labels == 1)]
        found[kind] = auc(np.concatenate([own, reals]), np.repeat([1, 0], [len(own), len(reals)]))
    return found


def mean_kind_auc(values: Floats, members: Members) -> float:
    """Mean over the generators."""
    return float(np.mean(list(kind_aucs(values, members).values())))


def chosen_members(members: Members) -> tuple[Members, dict[str, float]]:
    """Drop members whose removal costs no more than ``GAIN``, the least useful first; the gain of each in the end."""
    gains: dict[str, float] = {}
    while True:
        every = np.arange(len(members.labels))
        whole = mean_kind_auc(fused(members, every)[0], members)
        gains = {
            name: whole - mean_kind_auc(fused(rest, every)[0], rest)
            for name in members.names
            if (others := [other for other in members.names if other != name]) and (rest := members.of(others))
        }
        for name, gain in gains.items():
            _LOG.info("%s: %.4f, without %s %+.4f", " + ".join(members.names), whole, name, -gain)
        if not gains or min(gains.values()) > GAIN:
            return members, gains
        members = members.of([name for name in members.names if name != min(gains, key=lambda each: gains[each])])


def fit_record(members: Members, carried: Sequence[str] = ()) -> Fusion:
    """What the record of ``deepfake_video`` needs, fitted on all clips; refits draw whole origins.

    ``carried`` are networks that run because a member takes their embeddings: they weigh nothing, and the verdict is
    bound to their records as well.
    """
    chosen = {name: members.log_odds[:, place] for place, name in enumerate(members.names)}
    same = dict.fromkeys(members.names, Calibration(slope=1.0, intercept=0.0, fitted_on="", items=0))
    fit = fit_fusion(chosen, members.labels, same)
    line = members.log_odds @ np.array([fit.weights[name] for name in members.names]) + fit.bias
    rng = np.random.default_rng(6)
    refits: list[tuple[float, float]] = []
    names = np.unique(members.origins)
    while len(refits) < REFITS:
        drawn = np.concatenate([np.flatnonzero(members.origins == name) for name in rng.choice(names, len(names))])
        truth = members.labels[drawn]
        if len(np.unique(truth)) == 2:
            refits.append(platt(line[drawn], truth, balance(truth)))
    count, real = len(members.labels), int((members.labels == 0).sum())
    return Fusion(
        members=dict.fromkeys((*members.names, *carried), ""),
        weights={**fit.weights, **dict.fromkeys(carried, 0.0)},
        bias=fit.bias,
        refits=tuple(refits),
        real_quantiles=fit.real_quantiles,
        operating_points=fit.operating_points,
        default_operating_point=POINT,
        fitted_on=f"{count} clips of train/videos, {real} real, pooled over the main face; what was trained on clips "
        "scored them by fold models that saw neither their source nor their people",
    )


def measured(values: Floats, flagged: npt.NDArray[np.bool_] | None, members: Members) -> dict[str, Any]:
    """Quality of one score over the clips, with intervals, by generator, and with and without FaceForensics++."""
    truth = members.labels
    low, high = bootstrap_interval(auc, values, truth, groups=members.origins)
    other = members.origins != "ffpp"
    told: dict[str, Any] = {
        "auc": auc(values, truth),
        "auc_low": low,
        "auc_high": high,
        "eer": eer(values, truth),
        "tpr_at_fpr_5": tpr_at_fpr(values, truth, 0.05),
        "auc_of_ffpp": auc(values[~other], truth[~other]),
        "auc_without_ffpp": auc(values[other], truth[other]),
        "mean_auc_over_generators": mean_kind_auc(values, members),
        "by_generator": kind_aucs(values, members),
    }
    if flagged is not None:
        told["flagged_reals"] = float(flagged[truth == 0].mean())
        told["flagged_fakes"] = float(flagged[truth == 1].mean())
    rounded = json.loads(json.dumps(told), parse_float=lambda text: round(float(text), 4))
    return dict(rounded)


def main(arguments: list[str] | None = None) -> int:
    """Measure members alone and together, choose, and write the fusion and the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", help="networks over frames")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument(
        "--sequence",
        nargs="*",
        default=[],
        help="runs in .cache/video/runs: networks of which clips were scored out of fold",
    )
    parser.add_argument("--keep", nargs="*", default=None, help="members of the verdict, instead of the choice by gain")
    parser.add_argument("--report", type=Path, help="write what was measured as JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    repository = ModelRepository()
    clips, missing = read_table(options.data, options.cache, repository, options.networks)
    more = {}
    for name in options.sequence:
        run = options.cache / "video" / "runs" / name
        scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
        fit = Fit.read(run / "calibration.json")
        assert fit is not None
        calibration = fit.calibration
        more[name] = (np.array([scores[clip.row.path] for clip in clips]), calibration)
    everyone = gather(clips, repository, options.networks, more)
    report: dict[str, Any] = {
        "clips": len(clips),
        "real": int((everyone.labels == 0).sum()),
        "without_a_face": [each.row.path for each in missing],
        "alone": {},
    }
    for name in everyone.names:
        alone = everyone.of([name])
        report["alone"][name] = measured(alone.log_odds[:, 0], cross_fitted(alone)[1], alone)
        _LOG.info("%s alone: %s", name, {k: v for k, v in report["alone"][name].items() if k != "by_generator"})
    chosen, gains = chosen_members(everyone) if options.keep is None else (everyone.of(options.keep), {})
    values, flagged = cross_fitted(chosen)
    line, _ = fused(chosen, np.arange(len(clips)))
    report["verdict"] = {"members": list(chosen.names), "gains": gains, **measured(line, flagged, chosen)}
    report["verdict"]["auc_with_weights_of_other_folds"] = round(auc(values, chosen.labels), 4)
    _LOG.info("verdict of %s: %s", chosen.names, {k: v for k, v in report["verdict"].items() if k != "by_generator"})
    fed = [name for name in options.sequence if name in chosen.names and network(name).takes == "embeddings"]
    carried = {embeddings_of(name) for name in fed} - set(chosen.names)
    fusion = fit_record(chosen, sorted(carried))
    (options.cache / "video" / "fusion.json").write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
