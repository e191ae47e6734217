"""The angle of painted skin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import lab2rgb

from pipelines.assessment.skin import Tone, tone_of, typology_angle
from pipelines.image.align import template

_POINTS = template(200, 2.0) + 20


def _painted(lightness: float, blue_yellow: float, green_red: float = 12.0) -> NDArray[np.uint8]:
    colour = lab2rgb(np.array([[[lightness, green_red, blue_yellow]]]))[0, 0]
    photo = np.zeros((240, 240, 3), np.uint8)
    photo[:] = np.rint(colour * 255).astype(np.uint8)
    return photo


@pytest.mark.parametrize(
    ("lightness", "blue_yellow", "tone"),
    [
        (75, 12, Tone.VERY_LIGHT),
        (70, 19, Tone.LIGHT),
        (66, 22, Tone.INTERMEDIATE),
        (58, 22, Tone.TAN),
        (46, 20, Tone.BROWN),
        (32, 14, Tone.DARK),
    ],
)
def test_painted_skin_has_the_angle_of_its_colour_and_falls_into_its_bin(
    lightness: float, blue_yellow: float, tone: Tone
) -> None:
    angle = typology_angle(_painted(lightness, blue_yellow), _POINTS)
    assert angle == pytest.approx(math.degrees(math.atan2(lightness - 50, blue_yellow)), abs=2.5)
    assert angle is not None
    assert tone_of(angle) is tone


def test_one_region_under_hair_does_not_decide() -> None:
    photo = _painted(66, 22)
    plain = typology_angle(photo, _POINTS)
    eyes = _POINTS[:2, 1].mean()
    photo[: int(eyes) - 12] = 10  # a dark fringe over the forehead
    assert typology_angle(photo, _POINTS) == pytest.approx(plain, abs=1.0)


def test_a_grey_photo_has_no_angle() -> None:
    assert typology_angle(_painted(60, 0, 0), _POINTS) is None


def test_limits_belong_to_the_darker_bin() -> None:
    assert [tone_of(x) for x in (55.1, 55.0, 28.0, 10.0, -30.0)] == [
        Tone.VERY_LIGHT,
        Tone.LIGHT,
        Tone.TAN,
        Tone.BROWN,
        Tone.DARK,
    ]
