"""Each damage does what its name says, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.assessment.damage import CONDITIONS, Condition

_RNG = np.random.default_rng(0)
_PHOTO = np.kron(_RNG.integers(40, 216, (20, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def _error(family: str, strength: float) -> float:
    changed = Condition(family, strength).apply(_PHOTO)
    assert changed.shape == _PHOTO.shape
    assert changed.dtype == np.uint8
    return float(np.sqrt(np.mean((changed.astype(float) - _PHOTO) ** 2)))


def test_the_sweep_is_the_one_that_the_report_promises() -> None:
    names = [condition.name for condition in CONDITIONS]
    assert names == [
        "none",
        "jpeg 90",
        "jpeg 70",
        "jpeg 50",
        "jpeg 30",
        "resize 0.75",
        "resize 0.5",
        "resize 0.25",
        "blur 0.5",
        "blur 1",
        "blur 2",
        "noise 2",
        "noise 5",
        "noise 10",
    ]


@pytest.mark.parametrize("family", ["jpeg", "resize", "blur", "noise"])
def test_more_of_a_damage_changes_more(family: str) -> None:
    errors = [_error(c.family, c.strength) for c in CONDITIONS if c.family == family]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_noise_has_its_sigma_and_is_the_same_for_the_same_seed() -> None:
    assert _error("noise", 5.0) == pytest.approx(5.0, rel=0.03)
    noise = Condition("noise", 5.0)
    assert np.array_equal(noise.apply(_PHOTO, 1), noise.apply(_PHOTO, 1))
    assert not np.array_equal(noise.apply(_PHOTO, 1), noise.apply(_PHOTO, 2))


def test_no_damage_is_no_change_and_an_unknown_one_is_refused() -> None:
    assert _error("none", 0) == 0
    with pytest.raises(ValueError, match="no damage"):
        Condition("rain").apply(_PHOTO)
