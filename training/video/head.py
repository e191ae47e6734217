"""Fit ``clip_head`` on watched clips: ``python -m training.video.head``.

Ridge regression on the mean profile of ``portrait_cnn``'s embeddings, in its dual form: a few hundred clips are solved
at once, in a second. First a line for each fold scores the clips that it has not seen, then one is fitted on all. The
run's folder ``.cache/video/runs/clip_head`` gets the files of ``training.video.train``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cards.repository import ModelRepository
from pipelines.metrics import auc
from pipelines.novelty import profile
from pipelines.video.sequences import stretched
from training.checkpoints import save_state
from training.fusion import Floats
from training.models.clip_head import ClipHead
from training.models.output import CLIP_FRAMES, set_line
from training.prepare import data_folder
from training.report import sources_of
from training.video.folds import clip_folds
from training.video.sequence import draw_weights
from training.video.table import Clip, labels_of, read_table
from training.video.train import write_scores

NETWORK = "portrait_cnn"
RIDGE = 0.1
"""Of 0.1 and 1 on out-of-fold scores."""
_LOG = logging.getLogger(__name__)
Facts = Mapping[str, Any]


def mean_profile(clip: Clip, network: str = NETWORK) -> Floats:
    """What the head sees of a clip, as the network that is served computes it: the mean over its stretches, [d]."""
    told, mask = stretched(clip.embeddings[network], CLIP_FRAMES)
    means = [profile(rows[there > 0]).mean(axis=0) for rows, there in zip(told, mask)]
    return np.asarray(np.mean(means, axis=0))


def fit_line(features: Floats, labels: np.ndarray, weights: Floats, ridge: float = RIDGE) -> tuple[Floats, float]:  # type: ignore[type-arg]
    """Weights [d] and bias of a line that is 1 at fakes and -1 at reals.

    Args:
        features: [n, d]; labels: [n]; weights: of the clips, with a mean of 1.
        ridge: in units of the features' mean square.
    """
    centre = (weights[:, None] * features).sum(axis=0) / weights.sum()
    centred = features - centre
    scale = float(np.sqrt((centred**2).sum(axis=1).mean()))
    centred = centred / scale
    duals = np.linalg.solve(centred @ centred.T + ridge * np.diag(1.0 / weights), np.where(labels == 1, 1.0, -1.0))
    line = centred.T @ duals / scale
    return line, float(-centre @ line)


def out_of_fold(clips: Sequence[Clip], features: Floats) -> Floats:
    """Logit of each clip by the line that has not seen its source or its people, [n]."""
    found, labels = np.zeros(len(clips)), labels_of(clips)
    for fold in clip_folds([clip.row for clip in clips], [clip.identities for clip in clips]):
        weights = draw_weights([clips[place].row for place in fold.train.tolist()]) * len(fold.train)
        line, bias = fit_line(features[fold.train], labels[fold.train], weights)
        found[fold.test] = features[fold.test] @ line + bias
    return found


def write_head(cache: Path, name: str, clips: Sequence[Clip], logits: Floats, model: nn.Module, facts: Facts) -> None:
    """The files of ``training.video.train`` for a line that was solved at once.

    Args:
        name: of the network; its run is ``<cache>/video/runs/<name>``.
        logits: out-of-fold logit of each clip, [n]; model: with the line that was fitted on all.
        facts: what the record tells of the fit; the AUC is added.
    """
    labels = labels_of(clips)
    told = {**facts, "auc": round(auc(logits, labels), 4)}
    _LOG.info("%s: %s", name, told)
    run = cache / "video" / "runs" / name
    text = f"{len(clips)} clips of train/videos, scored by lines that saw neither their source nor their people"
    write_scores(run, [clip.row for clip in clips], labels, logits, text)
    state = {
        "network": name,
        "average": model.state_dict(),
        "settings": json.dumps({}),
        "trained_on": json.dumps([source.model_dump() for source in sources_of([clip.row for clip in clips])]),
        "result": json.dumps(told),
    }
    save_state(run / "last.pt", state)
    (run / "facts.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Fit the folds and the head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    repository = ModelRepository()
    clips, _ = read_table(options.data, options.cache, repository, [NETWORK])
    start = time.monotonic()
    labels, features = labels_of(clips), np.stack([mean_profile(clip) for clip in clips])
    logits = out_of_fold(clips, features)
    line, bias = fit_line(features, labels, draw_weights([clip.row for clip in clips]) * len(clips))
    model = ClipHead(features.shape[1])
    set_line(model.classifier, line, bias)
    facts = {
        "ridge": RIDGE,
        "frames": CLIP_FRAMES,
        "embeddings_of": NETWORK,
        "embeddings_weights_sha256": repository.record(NETWORK).weights_sha256,
        "seconds": round(time.monotonic() - start, 1),
    }
    write_head(options.cache, "clip_head", clips, logits, model, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
