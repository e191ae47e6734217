"""Pictures that look the same: a perceptual hash, the pairs that are near by it, and the groups that these make.

Splits keep a group whole, and the validation report names the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt


def perceptual_hash(crop: npt.NDArray[np.uint8]) -> int:
    """64-bit hash of an aligned crop: signs of its 8x8 lowest cosine coefficients around their median."""
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: Sequence[int], distance: int) -> Iterator[tuple[int, int]]:
    """Positions (left < right, rising) of hashes that differ in at most ``distance`` of 64 bits; -1 pairs with none."""
    valid = np.array([place for place, value in enumerate(hashes) if value >= 0], dtype=np.int64)
    if len(valid) < 2:
        return
    packed = np.array([list(hashes[place].to_bytes(8, "big")) for place in valid], dtype=np.uint8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    for start in range(0, len(signs), 512):
        apart = (64 - signs[start : start + 512] @ signs[start:].T) / 2
        for left, right in zip(*np.nonzero(apart <= distance), strict=True):
            if left < right:
                yield int(valid[start + left]), int(valid[start + right])


def cluster(hashes: Sequence[int], identities: Sequence[tuple[str, ...]], distance: int = 6) -> npt.NDArray[np.int32]:
    """Number connected groups: hashes at most ``distance`` bits apart, or a shared identity. Returns int32 [n]."""
    parents = list(range(len(hashes)))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    for left, right in near_pairs(hashes, distance):
        parents[root(left)] = root(right)
    first: dict[str, int] = {}
    for item, names in enumerate(identities):
        for name in names:
            parents[root(item)] = root(first.setdefault(name, item))
    roots = np.array([root(item) for item in range(len(hashes))])
    return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int32)
