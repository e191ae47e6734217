"""Prepare the training data once: ``python -m training.prepare`` writes ``.cache/photos`` and ``.cache/recon``.

The photos go through the repository's face detector; a part of the reals also goes through an image autoencoder, where
its two weight files are named (``--autoencoder ENCODER DECODER``; TAESD's FLUX.2 variant fits). Without them training
leaves that kind of pseudo-fake out.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cards.repository import ModelRepository
from pipelines.image.faces import Detect
from pipelines.infer import Call
from pipelines.onnx_infer import OnnxInfer
from training.data.cache import SIDE, PhotoCache, build_cache, load_cache
from training.data.manifest import read_manifest
from training.data.style import FILE, build_styles
from training.models.tiny_autoencoder import TinyAutoencoder, load_autoencoder

SHARD = 100
#: Photos pass the autoencoder at these sizes, so that its traces appear at several scales,
SCALES = (0.75, 1.0, 1.0, 1.5)
#: and with so much noise on the latent (in its standard deviations), which the decoder turns into texture of its own.
JITTERS = (0.0, 0.0, 0.1, 0.2)
MAPS = ("HEATMAP", "SCALE", "OFFSET", "LANDMARKS")
_LOG = logging.getLogger(__name__)


def data_folder() -> Path:
    """The data: ``DEEPSCAN_DATA``, else ``../shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DEEPSCAN_DATA", beside))


def detector(repository: ModelRepository | None = None) -> Detect:
    """The repository's face detector as a callable over UINT8 [n, h, w, 3]."""
    infer = OnnxInfer(repository or ModelRepository())

    def detect(pictures: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
        return infer.run([Call("face_detector", {"IMAGES": pictures}, MAPS)])[0]

    return detect


@torch.inference_mode()
def reconstruct(
    model: TinyAutoencoder, pixels: npt.NDArray[np.uint8], scale: float, jitter: float = 0.0, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """A photo through the autoencoder at ``scale`` of its size, and back to its size; uint8 [h, w, 3].

    ``jitter`` is the noise added to the latent, in standard deviations of each of its channels.
    """
    height, width = pixels.shape[:2]
    inner = (max(8, round(width * scale / 8) * 8), max(8, round(height * scale / 8) * 8))
    resized = cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    device = next(model.parameters()).device
    planar = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))[None].to(device).float() / 255
    with torch.autocast(device.type, torch.bfloat16):
        latent = model.encoder(planar.contiguous(memory_format=torch.channels_last))
        if jitter:
            spread = latent.float().std(dim=(2, 3), keepdim=True)
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
            latent = latent + (jitter * spread * noise.to(device)).to(latent.dtype)
        answer = model.decoder(latent).clamp(0, 1)
    rebuilt = (answer[0].float().permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    back = cv2.resize(rebuilt, (width, height), interpolation=cv2.INTER_CUBIC if scale < 1 else cv2.INTER_AREA)
    return np.asarray(back, dtype=np.uint8)


def build_reconstructions(
    cache: PhotoCache, model: TinyAutoencoder, target: Path, largest: int = 700, versions: int = 1
) -> None:
    """Reconstruct the reals, at most ``largest`` of each source, in shards; finished shards are kept.

    ``versions`` is how often each is reconstructed, every time at a scale and with a noise of its own.
    """
    target.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    sources = np.array([row.source if row.label == 0 else "" for row in cache.rows])
    chosen = []
    for source in sorted(set(sources) - {""}):
        items = np.flatnonzero(sources == source)
        chosen.append(rng.permutation(items)[:largest])
    todo = np.concatenate([rng.permutation(np.concatenate(chosen)) for _ in range(versions)])
    for number, start in enumerate(range(0, len(todo), SHARD)):
        items = todo[start : start + SHARD]
        scales, jitters = rng.choice(SCALES, len(items)), rng.choice(JITTERS, len(items))
        shard = target / f"{number:03d}.npz"
        if shard.exists():
            continue
        pixels = np.zeros((len(items), SIDE, SIDE, 3), np.uint8)
        for place, (item, scale, jitter) in enumerate(zip(items, scales, jitters, strict=True)):
            photo = np.ascontiguousarray(cache.photo(int(item)))
            rebuilt = reconstruct(model, photo, float(scale), float(jitter), start + place)
            pixels[place, : photo.shape[0], : photo.shape[1]] = rebuilt
        partial = shard.with_suffix(".partial.npz")
        np.savez(partial, pixels=pixels, index=items, scale=scales, jitter=jitters)
        partial.rename(shard)
        _LOG.info("%d of %d photos reconstructed", min(len(todo), start + SHARD), len(todo))


def main(arguments: list[str] | None = None) -> int:
    """Write the cache; what is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--autoencoder", type=Path, nargs=2, metavar=("ENCODER", "DECODER"))
    parser.add_argument("--versions", type=int, default=1, help="how often a photo is reconstructed")
    parser.add_argument("--threads", type=int, default=1, help="for the autoencoder")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    photos = options.cache / "photos"
    if not (photos / "index.csv").exists():
        build_cache(options.data, read_manifest(options.data), photos, detector())
    if not (photos / FILE).exists():
        build_styles(load_cache(photos), photos)
    if options.autoencoder:
        model = load_autoencoder(*options.autoencoder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        build_reconstructions(load_cache(photos), model, options.cache / "recon", versions=options.versions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
