"""Pictures that look the same are found by their hashes, in pairs and in groups."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.data.near_duplicates import cluster, near_pairs, perceptual_hash

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.jpg"


def test_a_recompressed_photo_shares_a_group_and_its_mirror_image_does_not() -> None:
    photo = np.asarray(cv2.imread(str(SAMPLE))[:, :, ::-1], np.uint8).copy()
    packed = cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    again = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1], np.uint8).copy()
    hashes = [perceptual_hash(photo), perceptual_hash(photo[:, ::-1].copy()), perceptual_hash(again)]
    assert cluster(hashes, [(), (), ()]).tolist() in ([0, 1, 0], [1, 0, 1])


def test_a_shared_identity_joins_clusters() -> None:
    hashes = [0, 2**64 - 1, 0xFFFF0000FFFF0000]
    assert len(set(cluster(hashes, [(), (), ()]).tolist())) == 3
    joined = cluster(hashes, [("ffpp:001",), ("ffpp:002",), ("ffpp:002", "ffpp:001")])
    assert len(set(joined.tolist())) == 1


def test_near_pairs_are_all_pairs_at_a_small_distance() -> None:
    rng = np.random.default_rng(0)
    values = [int(rng.integers(0, 2**63)) for _ in range(1200)]
    values[700] = values[3] ^ 0b1011
    values[1100] = values[3] ^ (0b11111 << 20)  # five bits: too far
    values[5] = values[6] = -1
    assert list(near_pairs(values, 4)) == [(3, 700)]
