"""Manifest, cache, clusters and pairs, on a small data folder made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from training.data.cache import PhotoCache, build_cache, load_cache
from training.data.manifest import identities_of, read_manifest
from training.data.pairs import KINDS, Mixture, PairBatches, Reconstructions, recoloured
from training.data.sources import PAIRS, SourcePair
from training.data.style import partners
from training.prepare import detector

Array = NDArray[Any]
_WHOLE = pictures.astronaut()  # type: ignore[no-untyped-call]
ASTRONAUT = np.asarray(cv2.resize(_WHOLE[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sources of one face each in many shades, one photo without a face, one file that is no photo."""
    for word, source in (("real", "ffhq_a"), ("fake", "stylegan3")):
        folder = tmp_path / "train" / "images" / word / source
        folder.mkdir(parents=True)
        for shade in range(4):
            shown = np.clip(ASTRONAUT.astype(float) * (0.7 + 0.15 * shade), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{shade}.png"), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(tmp_path / "train" / "images" / "real" / "ffhq_a" / "z.png"), np.zeros((90, 90, 3), np.uint8))
    (tmp_path / "train" / "images" / "real" / "ffhq_a" / "notes.txt").write_text("no photo")
    (tmp_path / "licences.csv").write_text(
        "source,licence,evidence,commercial\nimages/real/ffhq_a,CC BY-NC-SA 4.0,stated,no\n"
    )
    return tmp_path


@pytest.fixture
def cache(data: Path, tmp_path: Path) -> PhotoCache:
    build_cache(data, read_manifest(data), tmp_path / "cache", detector())
    return load_cache(tmp_path / "cache")


def test_the_manifest_knows_label_source_and_licence(data: Path) -> None:
    rows = read_manifest(data)
    assert [(r.label, r.source) for r in rows] == [(0, "ffhq_a")] * 5 + [(1, "stylegan3")] * 4
    assert {(r.source, r.licence, r.commercial) for r in rows} == {
        ("ffhq_a", "CC BY-NC-SA 4.0", "no"),
        ("stylegan3", "unknown", "no"),
    }
    assert rows[0].path == "train/images/real/ffhq_a/0.png"


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no images"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("ffpp_c23_deepfakes", "ffc23_fake__033_097_f0033.jpg", ("ffpp:033", "ffpp:097")),
        ("ffpp_c23_youtube", "ffc23_real__033_f0056.jpg", ("ffpp:033",)),
        ("ffpp_tight_deepfakes", "mcs_fake__012_026_2.jpg", ("ffpp:012", "ffpp:026")),
        ("ffpp_tight_youtube", "mcs_real__024_1.jpg", ("ffpp:024",)),
        ("dfd_actors_c40", "dfdactors_c40_real__01__kitchen_pan_f0035.jpg", ("dfd:01",)),
        ("ffhq_a", "dina_real__102.jpg", ()),
    ],
)
def test_identities_are_read_from_names(source: str, name: str, expected: tuple[str, ...]) -> None:
    assert identities_of(source, name) == expected


def test_the_cache_keeps_photos_with_a_face_as_they_were(cache: PhotoCache, data: Path) -> None:
    assert len(cache) == 8  # nine images, one without a face
    image = cv2.cvtColor(cv2.imread(str(data / cache.rows[2].path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(cache.photo(2), image)
    assert (cache.landmarks[:, 0, 0] < cache.landmarks[:, 1, 0]).all()


def test_a_large_photo_is_shrunk_to_fit(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "images" / "real" / "big"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.full((300, 900, 3), 50, np.uint8))
    seen = []

    def face_everywhere(images: Array) -> dict[str, Array]:
        seen.append(images.shape)
        h, w = images.shape[1] // 4, images.shape[2] // 4
        maps = {"HEATMAP": np.zeros((1, 1, h, w), np.float32), "SCALE": np.full((1, 2, h, w), 2.5, np.float32)}
        maps["HEATMAP"][0, 0, h // 3, w // 2] = 0.9
        points = np.random.default_rng(0).random(10, dtype=np.float32)
        return maps | {
            "OFFSET": np.zeros((1, 2, h, w), np.float32),
            "LANDMARKS": np.broadcast_to(points[:, None, None], (1, 10, h, w)).copy(),
        }

    build_cache(tmp_path, read_manifest(tmp_path), tmp_path / "cache", face_everywhere)
    assert load_cache(tmp_path / "cache").shapes.tolist() == [[85, 256]]


def test_shades_of_one_photo_share_a_cluster(cache: PhotoCache) -> None:
    assert len(set(cache.clusters.tolist())) == 1


def pairs_of(cache: PhotoCache, folder: Path, mixture: Mixture, seed: int = 3) -> PairBatches:
    group = SourcePair("all", ("stylegan3",), ("ffhq_a",), 1.0)
    chosen = np.ones(len(cache), dtype=np.bool_)
    return PairBatches(cache, chosen, Reconstructions(folder), 64, 1.3, 3, 10, seed, mixture, (group,))


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_batches_are_reals_then_fakes_and_repeat(cache: PhotoCache, tmp_path: Path, kind: int) -> None:
    rebuilt = tmp_path / "recon"
    rebuilt.mkdir()
    pixels = np.zeros((4, 256, 256, 3), np.uint8)
    np.savez(rebuilt / "000.npz", pixels=pixels, index=np.arange(4), scale=np.ones(4))
    mixture = Mixture(**{name: float(kind == k) for k, name in enumerate(KINDS) if k})
    batches = pairs_of(cache, rebuilt, mixture)
    crops, kinds = batches[4]
    assert crops.shape == (6, 3, 64, 64)
    assert kinds.tolist() == [kind] * 3
    again, _ = pairs_of(cache, rebuilt, mixture)[4]
    assert (crops == again).all()
    other, _ = batches[5]
    assert not (crops == other).all()
    if kind == 1:  # the reconstructions here are black: only the fakes may be dark
        assert crops[:3].float().mean() > 40
        assert crops[3:].float().mean() < crops[:3].float().mean() / 2


def test_the_default_mixture_draws_what_the_shipped_networks_were_trained_on(cache: PhotoCache, tmp_path: Path) -> None:
    """Numbers drawn before there were more kinds and damages: they say that nothing else is drawn in between."""
    np.savez(tmp_path / "000.npz", pixels=np.zeros((4, 256, 256, 3), np.uint8), index=np.arange(4), scale=np.ones(4))
    batches = pairs_of(cache, tmp_path, Mixture())
    rng = np.random.default_rng([7, 0])
    kinds = [batches.pair(rng)[2] for _ in range(40)]
    assert "".join(map(str, kinds)) == "1042002000002200200000002010010400000140"
    assert rng.integers(2**31) == 1658792834
    assert Mixture().shares[5:] == [0, 0, 0, 0]
    assert (Mixture().video_frames, Mixture().screenshots) == (0, 0)


def test_a_face_is_given_by_the_stranger_who_is_posed_most_alike(cache: PhotoCache, tmp_path: Path) -> None:
    batches = pairs_of(cache, tmp_path, Mixture())
    batches.reals = [np.arange(4)]
    batches.cache.clusters[:4] = (0, 0, 1, 2)
    batches.poses[:4] = batches.poses[0]
    batches.poses[2] += 0.1
    rng = np.random.default_rng(0)
    assert {batches._giver(0, rng) for _ in range(10)} == {3}
    batches.cache.clusters[:4] = 0
    assert batches._giver(0, rng) in range(4)  # nobody else is there


def test_without_reconstructions_self_blending_takes_their_place(cache: PhotoCache, tmp_path: Path) -> None:
    _, kinds = pairs_of(cache, tmp_path / "nothing", Mixture(1.0, 0.0, 0.0, 0.0))[0]
    assert kinds.tolist() == [2, 2, 2]


def test_fakes_without_originals_stand_beside_the_reals_that_look_like_them(cache: PhotoCache, tmp_path: Path) -> None:
    labels = np.array([row.label for row in cache.rows])
    reals, fakes = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    styles = np.zeros((len(cache), 2), np.float16)
    styles[:, 0] = 1.0
    styles[[reals[2], fakes[1]]] = (0.0, 1.0)
    assert partners(styles, fakes, reals, nearest=1)[int(fakes[1])].tolist() == [reals[2]]
    group = SourcePair("gallery", ("stylegan3",), ("ffhq_a",), 1.0, matched=False)
    everything = np.ones(len(cache), dtype=np.bool_)
    batches = PairBatches(
        cache, everything, Reconstructions(tmp_path), 64, 1.3, 3, 10, 1, Mixture(0, 0, 0, 0), (group,), styles
    )
    assert set(batches.partners) == set(fakes.tolist())
    matched = PairBatches(
        cache, everything, Reconstructions(tmp_path), 64, 1.3, 3, 10, 1, Mixture(0, 0, 0, 0),
        (SourcePair("same pipeline", ("stylegan3",), ("ffhq_a",), 1.0),), styles,
    )  # fmt: skip
    assert not matched.partners


def test_a_recoloured_face_takes_the_other_ones_light_and_keeps_its_detail() -> None:
    rng = np.random.default_rng(2)
    points = np.array([[44, 52], [84, 52], [64, 76], [48, 96], [80, 96]], np.float32)
    grain = rng.normal(0, 12, (128, 128, 1))
    dark = np.clip(np.array([70, 60, 90]) + grain, 0, 255).astype(np.uint8)
    bright = np.clip(np.array([190, 160, 130]) + rng.normal(0, 12, (128, 128, 1)), 0, 255).astype(np.uint8)
    changed = recoloured(dark, points, bright, points)
    assert np.abs(changed.mean(axis=(0, 1)) - bright.mean(axis=(0, 1))).max() < 6
    detail, kept = dark[..., 1].astype(float).ravel(), changed[..., 1].astype(float).ravel()
    assert np.corrcoef(detail, kept)[0, 1] > 0.95


def test_pair_shares_add_up_and_no_source_is_named_twice_as_fake() -> None:
    assert sum(pair.share for pair in PAIRS) <= 1
    fakes = [source for pair in PAIRS for source in pair.fakes]
    assert len(set(fakes)) == len(fakes)
