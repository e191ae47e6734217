"""Ask the repository's networks about watched clips: ``python -m training.video.scores frame_cnn blend_cnn``.

One file for each network and its weights in ``.cache/video``: raw logit and embedding of every face of every track, so
that pooling, sequence networks and calibration are tried in seconds. Run it again after a network was trained anew.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cards.repository import ModelRepository
from pipelines.infer import Infer, run_in_batches
from pipelines.onnx_infer import OnnxInfer
from training.data.layout import read_data
from training.data.manifest import Row
from training.prepare import data_folder
from training.video.clips import NETWORK, Watched, clip_file, read_clip

Pixels = npt.NDArray[np.uint8]
_LOG = logging.getLogger(__name__)


def network_folder(cache: Path, repository: ModelRepository, network: str) -> Path:
    """Where the answers of a network with its present weights are kept."""
    return cache / "video" / f"{network}-{(repository.record(network).weights_sha256 or 'none')[:12]}"


def crops_for(crops: Pixels, repository: ModelRepository, network: str) -> Pixels:
    """Crops of ``NETWORK`` as another network takes them.

    Raises:
        ValueError: it wants another margin, which these crops do not hold.
    """
    own, other = repository.card(NETWORK).preprocessing, repository.card(network).preprocessing
    assert own is not None
    if other is None or other.margin != own.margin:
        raise ValueError(f"{network} takes crops that those of {NETWORK} cannot be cut to")
    if other.size == own.size:
        return crops
    sized = [cv2.resize(crop, (other.size, other.size), interpolation=cv2.INTER_AREA) for crop in crops]
    return np.asarray(np.stack(sized), dtype=np.uint8)


def score_clip(watched: Watched, repository: ModelRepository, infer: Infer, network: str) -> dict[str, npt.NDArray]:  # type: ignore[type-arg]
    """Raw logits float32 [k] and embeddings float16 [k, d] of all faces of a clip, track after track."""
    crops = np.concatenate([crops_for(each, repository, network) for each in watched.crops])
    largest = repository.card(network).max_batch_size
    answer = run_in_batches(infer, network, "IMAGES", crops, ("LOGIT", "EMBEDDING"), largest)
    return {
        "logits": answer["LOGIT"][:, 0].astype(np.float32),
        "embeddings": answer["EMBEDDING"].astype(np.float16),
    }


def score(rows: Sequence[Row], cache: Path, networks: Sequence[str], repository: ModelRepository) -> None:
    """Score every watched clip that these networks have not answered about."""
    infer = OnnxInfer(repository, threads=1)
    for row in rows:
        file = clip_file(cache / "video" / "clips", row)
        missing = [name for name in networks if not clip_file(network_folder(cache, repository, name), row).is_file()]
        if not missing or not file.is_file():
            continue
        watched = read_clip(file)
        if not watched.tracks:
            continue
        for name in missing:
            target = clip_file(network_folder(cache, repository, name), row)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial.npz")
            np.savez(partial, **score_clip(watched, repository, infer, name))
            partial.rename(target)
    _LOG.info("scored by %s", ", ".join(networks))


def main(arguments: list[str] | None = None) -> int:
    """Score the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    score(read_data(options.data, medium="video"), options.cache, options.networks, ModelRepository())
    return 0


if __name__ == "__main__":
    sys.exit(main())
