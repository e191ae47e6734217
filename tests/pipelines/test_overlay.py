"""Overlays: where they draw, and that they leave the photo alone."""

from __future__ import annotations

import numpy as np
import pytest

from deepscan_client import Face, HeatMap, make_verdict
from pipelines.image.overlay import draw_overlay, heat_layer, lay_heat

SQUARE = ((40.0, 0.0, 30.0), (0.0, 40.0, 20.0))  # the unit square to x 30..70, y 20..60
PHOTO = np.full((100, 120, 3), 128, np.uint8)


def test_a_map_lies_where_its_matrix_says() -> None:
    layer = heat_layer(np.full((2, 2), 2.0, np.float32), np.array(SQUARE), 100, 120)
    inside = np.zeros((100, 120), bool)
    inside[26:54, 36:64] = True
    outside = np.ones((100, 120), bool)
    outside[18:62, 28:72] = False
    assert layer[inside, 0] == pytest.approx(2.0, abs=1e-4)
    assert layer[inside, 1] == pytest.approx(1.0, abs=1e-4)
    assert not layer[outside].any()
    edge = layer[40, 30:37, 1]
    assert (np.diff(edge) > 0).all()  # it fades away, so that nobody sees a square
    assert edge[0] < 0.2


def test_a_map_may_be_turned() -> None:
    quarter = ((0.0, -40.0, 70.0), (40.0, 0.0, 20.0))  # right in the crop is down in the photo
    layer = heat_layer(np.array([[-1.0, 1.0], [-1.0, 1.0]], np.float32), np.array(quarter), 100, 120)
    assert layer[25, 50, 0] < 0 < layer[55, 50, 0]


def test_fakes_are_red_and_reals_blue() -> None:
    def face(value: float) -> Face:
        return Face((0, 0, 1, 1), 0.9, (), 0.9, heatmap=HeatMap(((value,) * 2,) * 2, SQUARE))

    for value, more, less in ((9.0, 0, 2), (-9.0, 2, 0)):
        drawn = draw_overlay(PHOTO, make_verdict("fake", 0.9, faces=(face(value),)))
        assert int(drawn[50, 50, more]) > int(drawn[50, 50, less]) + 50
    assert (PHOTO == 128).all()


def test_boxes_have_the_colour_of_their_label_and_may_touch_the_border() -> None:
    boxes = [(-5.0, -5.0, 500.0, 500.0), (10.0, 0.0, 119.0, 99.0), (60.0, 60.0, 90.0, 90.0)]
    for box in boxes:
        faces = (Face(box, 0.9, (), 0.9), Face(box, 0.9, (), None))
        drawn = draw_overlay(PHOTO, make_verdict("fake", 0.9, faces=faces))
        assert drawn.shape == PHOTO.shape
        assert not np.array_equal(drawn, PHOTO)
    one = draw_overlay(PHOTO, make_verdict("fake", 0.9, faces=(Face(boxes[2], 0.9, (), 0.9),)))
    assert one[90, 75].tolist() == [218, 54, 51]


def test_a_map_that_leaves_the_picture_is_cut_and_one_beside_it_changes_nothing() -> None:
    values = ((9.0, 9.0), (9.0, 9.0))
    for shift, seen in ((-20.0, True), (-300.0, False), (115.0, True), (200.0, False)):
        drawn = PHOTO.copy()
        lay_heat(drawn, HeatMap(values, ((40.0, 0.0, shift), (0.0, 40.0, 20.0))))
        assert (drawn != PHOTO).any() == seen
        assert np.array_equal(drawn[:19], PHOTO[:19])
    whole, part = np.full((100, 220, 3), 128, np.uint8), PHOTO.copy()
    lay_heat(whole, HeatMap(values, ((40.0, 0.0, 100.0), (0.0, 40.0, 20.0))))
    lay_heat(part, HeatMap(values, ((40.0, 0.0, 100.0), (0.0, 40.0, 20.0))))
    assert np.array_equal(whole[:, :120], part)


def test_no_face_changes_nothing() -> None:
    assert np.array_equal(draw_overlay(PHOTO, make_verdict("inconclusive", None)), PHOTO)
