"""Items to the table of a report."""

from __future__ import annotations

import pytest

from deepscan_client.codes import Label
from pipelines.evaluation import Judged, group_results, quality


def item(group: str, fake: bool, probability: float | None) -> Judged:
    label = Label.INCONCLUSIVE if probability is None else Label.FAKE if probability >= 0.5 else Label.REAL
    return Judged(group=group, fake=fake, probability=probability, label=label)


ITEMS = [item("a", fake, (i + 4 * fake) / 14) for i in range(10) for fake in (False, True)]


def test_intervals_hold_their_value_and_repeat() -> None:
    first, again = quality(ITEMS), quality(ITEMS)
    assert first == again
    (group,) = first.groups
    for measured in (group.auc, group.eer, group.tpr_at_fpr_5, first.ece, first.false_positive_rate):
        assert measured.value is not None
        assert measured.low is not None
        assert measured.high is not None
        assert measured.low <= measured.high
    assert group.auc.low < group.auc.value < group.auc.high  # type: ignore[operator]


def test_unscored_items_are_counted_and_cannot_flatter() -> None:
    plain = quality(ITEMS)
    more = quality([*ITEMS, item("a", True, None), item("a", False, None)])
    assert more.groups[0].auc == plain.groups[0].auc
    assert more.groups[0].auc_unscored_half < plain.groups[0].auc_unscored_half  # type: ignore[operator]
    assert (more.unscored, more.inconclusive, more.items) == (2, 2, len(ITEMS) + 2)
    # An unscored real is still a real that was not flagged.
    assert more.groups[0].false_positive_rate == pytest.approx(3 / 11)


def test_a_group_without_scores_is_reported() -> None:
    (group,) = quality([item("a", True, None), item("a", False, None)]).groups
    assert (group.auc.value, group.auc_unscored_half, group.unscored) == (None, 0.5, 2)


def test_records_take_the_same_numbers() -> None:
    record, group = group_results(ITEMS)[0], quality(ITEMS).groups[0]
    assert (record.auc, record.auc_low, record.auc_high) == (group.auc.value, group.auc.low, group.auc.high)
    assert record.inconclusive_rate == 0.0
