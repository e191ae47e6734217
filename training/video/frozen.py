"""Fit ``imagenet_clips`` on watched clips: ``python -m training.video.frozen``.

Its features are ImageNet's and stay as they are; a line is fitted to their mean over the frames of a clip by ridge
regression, first for each fold, which scores the clips that it has not seen, then for all. The line is served frame by
frame and pooled as any network over frames is, so that is how the folds are scored too. The run's folder
``.cache/video/runs/imagenet_clips`` gets the files of ``training.video.train``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cards.repository import ModelRepository
from pipelines.video.pooling import pooled
from training.fusion import Floats, Ints
from training.memory import keep_memory
from training.models.imagenet_cnn import ImagenetCnn, pretrained
from training.models.output import normalised, set_line
from training.prepare import data_folder
from training.video.clips import clip_file, read_clip
from training.video.folds import clip_folds
from training.video.head import fit_line, write_head
from training.video.sequence import draw_weights
from training.video.table import Clip, labels_of, main_track, read_table

NETWORK = "imagenet_clips"
RIDGE = 1.0
"""Of 0.5, 1 and 2 on out-of-fold scores, which hardly differ."""
BATCH = 16
_LOG = logging.getLogger(__name__)


@torch.inference_mode()
def features_of(model: ImagenetCnn, crops: npt.NDArray[np.uint8]) -> Floats:
    """Embeddings [k, 112] of crops uint8 [k, s, s, 3]."""
    planar = torch.from_numpy(crops).permute(0, 3, 1, 2)
    parts = [model(normalised(planar[start : start + BATCH])).embedding for start in range(0, len(crops), BATCH)]
    return np.asarray(torch.cat(parts).double().numpy())


def standardised_line(frames: Sequence[Floats], clips: Sequence[Clip], some: Ints) -> tuple[Floats, float]:
    """Weights [d] and bias of the line through the mean features of ``some`` of the clips, for features as they are."""
    means = np.stack([frames[place].mean(axis=0) for place in some.tolist()])
    centre, spread = means.mean(axis=0), means.std(axis=0) + 1e-6
    labels = labels_of(clips)[some]
    weights = draw_weights([clips[place].row for place in some.tolist()]) * len(some)
    line, bias = fit_line((means - centre) / spread, labels, weights, RIDGE)
    return line / spread, float(bias - (centre / spread) @ line)


def out_of_fold(frames: Sequence[Floats], clips: Sequence[Clip]) -> Floats:
    """Pooled logit of each clip by the line that has not seen its source or its people, [n].

    Args:
        frames: features of each frame of each clip's face, [k, d].
    """
    found = np.zeros(len(clips))
    for fold in clip_folds([clip.row for clip in clips], [clip.identities for clip in clips]):
        line, bias = standardised_line(frames, clips, fold.train)
        for place in fold.test.tolist():
            found[place] = pooled(frames[place] @ line + bias, clips[place].track.quality)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Fit the folds and the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    keep_memory()
    clips, _ = read_table(options.data, options.cache, ModelRepository(), [])
    model, start = pretrained().eval(), time.monotonic()
    frames = []
    for number, clip in enumerate(clips, 1):
        watched = read_clip(clip_file(options.cache / "video" / "clips", clip.row))
        frames.append(features_of(model, watched.crops[main_track(watched.tracks)]))
        if number % 50 == 0:
            _LOG.info("features of %d of %d clips, %.0f s", number, len(clips), time.monotonic() - start)
    logits = out_of_fold(frames, clips)
    line, bias = standardised_line(frames, clips, np.arange(len(clips)))
    set_line(model.head.classifier, line, bias)
    write_head(options.cache, NETWORK, clips, logits, model, {"ridge": RIDGE})
    return 0


if __name__ == "__main__":
    sys.exit(main())
