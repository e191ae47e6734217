"""The sheet shows every kind that there is, each under its name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from training import sheet
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.pairs import KINDS, Mixture, Reconstructions

PHOTO = np.asarray(cv2.resize(pictures.astronaut()[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[no-untyped-call]
POINTS = np.array([[128, 90], [176, 88], [160, 120], [136, 150], [175, 149]], dtype=np.float32)
COUNT = 6


@pytest.fixture
def photos() -> PhotoCache:
    shades = [np.clip(PHOTO * (0.8 + 0.08 * k), 0, 255).astype(np.uint8) for k in range(COUNT)]
    rows = [Row(f"{k}.png", int(k >= 3), "openforensics", (), "", "no") for k in range(COUNT)]
    return PhotoCache(
        np.stack(shades),
        np.full((COUNT, 2), 256, np.int32),
        np.stack([POINTS] * COUNT),
        np.arange(COUNT, dtype=np.int32),
        rows,
    )


@pytest.fixture
def rebuilt(tmp_path: Path) -> Reconstructions:
    np.savez(tmp_path / "000.npz", pixels=np.zeros((3, 256, 256, 3), np.uint8), index=np.arange(3), scale=np.ones(3))
    return Reconstructions(tmp_path)


def test_every_kind_and_every_damage_has_its_rows(photos: PhotoCache, rebuilt: Reconstructions) -> None:
    rows = sheet.rows_of(photos, rebuilt, columns=3, size=64)
    damages = [name for name in ("video_frames", "screenshots") if name in Mixture.__dataclass_fields__]
    assert list(rows)[: len(KINDS)] == list(KINDS)
    assert set(damages) <= set(rows)
    for name, each in rows.items():
        assert each.shape == (128, 192, 3), name
        assert (each[:64] != each[64:]).any(), name  # a fake is not its real
    assert rows["reconstructed"][64:].mean() < 20  # the reconstructions here are black


def test_every_share_of_a_mixture_is_on_the_sheet() -> None:
    assert set(Mixture.__dataclass_fields__) - {"clean"} <= {*KINDS, *sheet.DAMAGES}


def test_the_sheet_stacks_captions_and_rows(
    photos: PhotoCache, rebuilt: Reconstructions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sheet, "load_cache", lambda _: photos)
    monkeypatch.setattr(sheet, "Reconstructions", lambda _: rebuilt)
    picture = sheet.sheet(tmp_path, columns=2, size=64)
    block = sheet.CAPTION + 128
    assert picture.shape == (block * (len(KINDS) + len(sheet.DAMAGES)), 128, 3)
    lines = [picture[start : start + sheet.CAPTION] for start in range(0, len(picture), block)]
    assert all((line[0] == 255).all() and (line < 100).any() for line in lines)
    assert len({line.tobytes() for line in lines}) == len(lines)  # each its own name
    assert sheet.main([str(tmp_path / "sheet.png"), "--cache", str(tmp_path)]) == 0
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
