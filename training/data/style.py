"""Partners in style: for each fake without an original, the real photos that look most like it.

"Look" is the cosine between pooled ImageNet features of the face crops: framing, light, make-up, background and
sharpness count there, and these networks know nothing of fakes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.image.align import align_faces
from training.data.cache import PhotoCache
from training.models.efficientnet_lite import pretrained

SIZE, MARGIN = 96, 1.6
NEAREST = 24
FILE = "style.npy"


@torch.inference_mode()
def build_styles(cache: PhotoCache, folder: Path, batch: int = 64) -> None:
    """Write ``style.npy``, float16 [n, 1280]: a feature vector of length 1 for each photo of the cache."""
    network = pretrained().eval()
    rows = np.zeros((len(cache), 1280), np.float16)
    for start in range(0, len(cache), batch):
        items = range(start, min(len(cache), start + batch))
        crops = [
            align_faces(np.ascontiguousarray(cache.photo(item)), cache.landmarks[item][None], SIZE, MARGIN)[0]
            for item in items
        ]
        planar = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        features = network((planar - 127) / 128).embedding
        rows[items.start : items.stop] = torch.nn.functional.normalize(features, dim=1).half().numpy()
    np.save(folder / FILE, rows)


def partners(
    styles: npt.NDArray[np.float16], fakes: npt.NDArray[np.int64], reals: npt.NDArray[np.int64], nearest: int = NEAREST
) -> dict[int, npt.NDArray[np.int64]]:
    """The ``nearest`` reals of each fake, as positions in the cache."""
    likeness = styles[fakes].astype(np.float32) @ styles[reals].astype(np.float32).T
    count = min(nearest, len(reals))
    best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return {int(fake): reals[row] for fake, row in zip(fakes, best, strict=True)}
