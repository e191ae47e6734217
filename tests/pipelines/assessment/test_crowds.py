"""Mosaics, judged by a stand-in whose rate of false alarms is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.verdict import Face, Verdict
from pipelines.assessment.crowds import TILE, face_tile, measure_crowds, mosaic, tile_of
from pipelines.assessment.local import LocalJudge

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


@pytest.fixture(scope="module")
def judge() -> LocalJudge:
    return LocalJudge(ModelRepository())


@pytest.fixture(scope="module")
def template_verdict(judge: LocalJudge) -> Verdict:
    return judge.verdict(*judge.read((SAMPLES / "astronaut.jpg").read_bytes()))


def painted(value: int) -> NDArray[np.uint8]:
    return np.full((TILE, TILE, 3), value, np.uint8)


def test_a_mosaic_of_thirty_real_faces_shows_thirty_faces(judge: LocalJudge) -> None:
    pixels, info = judge.read((SAMPLES / "astronaut.jpg").read_bytes())
    tile = face_tile(pixels, judge.verdict(pixels, info).faces[0].box)
    assert tile is not None
    assert len(judge.verdict_of_picture(mosaic([tile] * 30)).faces) == 30


def test_shares_are_those_of_the_judge_and_the_fake_face_is_pointed_at(template_verdict: Verdict) -> None:
    face = template_verdict.faces[0]

    def stand_in(pixels: NDArray[np.uint8]) -> Verdict:
        """Sees every tile; a tile brighter than 200 is a fake face."""
        rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE
        faces = []
        for place in range(rows * columns):
            top, left = place // columns * TILE, place % columns * TILE
            value = int(pixels[top, left, 0])
            if value != 127:
                box = (left + 10.0, top + 10.0, left + 200.0, top + 200.0)
                faces.append(replace(face, box=box, fake_probability=0.9 if value > 200 else 0.1))
        worst = max(item.fake_probability or 0 for item in faces)
        return replace(template_verdict, faces=tuple(faces), label=Label.FAKE if worst > 0.5 else Label.REAL)

    reals, fakes = [painted(value) for value in range(40, 80)], [painted(250)]
    rows = {(row.real, row.fake): row for row in measure_crowds(reals, fakes, stand_in, mosaics=10)}
    assert set(rows) == {(1, 0), (2, 0), (10, 0), (30, 0), (9, 1)}
    assert rows[(30, 0)].faces_found == 30
    assert rows[(30, 0)].flagged.count == 0
    assert rows[(9, 1)].flagged.count == 10
    assert rows[(9, 1)].pointed is not None
    assert rows[(9, 1)].pointed.count == 10


def test_sizes_with_too_few_faces_are_left_out(template_verdict: Verdict) -> None:
    rows = measure_crowds([painted(50)] * 3, [], lambda _: template_verdict, mosaics=2)
    assert [(row.real, row.fake) for row in rows] == [(1, 0), (2, 0)]


def test_small_faces_are_not_enlarged_into_a_mosaic() -> None:
    assert face_tile(np.zeros((300, 300, 3), np.uint8), (10, 10, 40, 40)) is None


def test_a_face_lies_in_the_tile_of_its_middle(template_verdict: Verdict) -> None:
    face: Face = replace(template_verdict.faces[0], box=(TILE + 5.0, 5.0, 2 * TILE - 5.0, TILE - 5.0))
    assert tile_of(face, 4) == 1
