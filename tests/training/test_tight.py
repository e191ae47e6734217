"""Photos that end at the face: cut, and judged by those that serving would ask."""

from __future__ import annotations

import numpy as np
import pytest

from cards.card import Tight
from pipelines.fusion import combine
from pipelines.image.align import TEMPLATE, align_faces
from training.tight import as_asked, asked_of, cut_to_face, drawn_reach

TIGHT = Tight(inside=0.45, instead={"wide": "close"})


def test_a_cut_photo_keeps_its_face_and_ends_there() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    points = (TEMPLATE * 100 + 80).astype(np.float32)
    cut, moved = cut_to_face(photo, points, (0.5, 0.5, 0.5, 0.6))
    assert cut.shape[0] == pytest.approx(110, abs=2)
    assert cut.shape[1] == pytest.approx(100, abs=2)
    np.testing.assert_array_equal(
        align_faces(photo, points[None], 64, 0.9), align_faces(cut, moved[None], 64, 0.9), "the face itself is the same"
    )
    corner, _ = cut_to_face(photo, points - 90, (0.9, 0.9, 0.9, 0.9))
    assert min(corner.shape[:2]) >= 1, "what reaches beyond the photo ends with it"


def test_how_far_a_photo_is_cut_is_the_same_for_every_network() -> None:
    assert drawn_reach(7) == drawn_reach(7)
    assert drawn_reach(7) != drawn_reach(8)


def test_members_that_are_not_asked_add_nothing() -> None:
    log_odds = np.array([[2.0, 5.0, 1.0], [2.0, 5.0, 1.0]])
    told = as_asked(log_odds, ("both", "close", "wide"), np.array([False, True]), TIGHT)
    np.testing.assert_array_equal(np.isneginf(told), [[False, True, False], [False, False, True]])
    whole, close = combine(told, [1.0] * 3, "any")
    assert whole == pytest.approx(np.logaddexp(2.0, 1.0))
    assert close == pytest.approx(np.logaddexp(2.0, 5.0))
    assert np.isfinite(log_odds).all(), "what was given is not changed"


def test_a_member_and_its_stand_in_come_together() -> None:
    assert asked_of(("both", "wide", "close"), TIGHT) == {"wide": "close"}
    assert asked_of(("both",), TIGHT) == {}
    assert asked_of(("both", "wide"), None) == {}
    with pytest.raises(ValueError, match="together or not at all"):
        asked_of(("both", "wide"), TIGHT)
