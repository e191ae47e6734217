"""What a data set as a whole gives away or leaks: copies, identities on both sides, balance, formats, licences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from training.data.file_facts import Facts
from training.data.manifest import Row
from training.data.near_duplicates import near_pairs
from training.data.validate_report import Balance, Kind, Problem

NEAR = 4
"""Bits of 64 in which two perceptual hashes of one picture differ at most: recompression and resizing change 0 to 3."""
LOPSIDED = 4.0
"""Ratio of the classes from which the report speaks of it."""


def copy_problems(known: Sequence[tuple[Row, Facts]]) -> list[Problem]:
    """Same bytes, and pictures that look the same."""
    problems: list[Problem] = []
    same: dict[str, list[Row]] = defaultdict(list)
    for row, facts in known:
        same[facts.digest].append(row)
    for rows in same.values():
        if len(rows) > 1:
            problems.append(_copy_problem(rows, "duplicate", "the same bytes"))
    for left, right in near_pairs([facts.hash for _, facts in known], NEAR):
        (first, one), (second, other) = known[left], known[right]
        together = bool(set(first.identities) & set(second.identities))  # one clip: expected, and never split
        if one.digest != other.digest and first.medium == second.medium and not together:
            problems.append(_copy_problem([first, second], "near_duplicate", "nearly the same picture"))
    return problems + _split_identities([row for row, _ in known])


def _split_identities(rows: Sequence[Row]) -> list[Problem]:
    """People and clips that stand in train and in val."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for name in row.identities:
            members[name].append(row)
    problems = []
    for name, found in sorted(members.items()):
        if {"train", "val"} <= {row.split for row in found}:
            first = [next(row.path for row in found if row.split == split) for split in ("train", "val")]
            problems.append(
                Problem(
                    severity="fix",
                    kind="leak",
                    paths=tuple(first),
                    detail=f"identity {name} in train and in val ({len(found)} items)",
                    remedy="keep it on one side, or let training choose the split",
                )
            )
    return problems


def _copy_problem(rows: Sequence[Row], kind: Kind, what: str) -> Problem:
    """How bad a copy is: between train and val it leaks, the same bytes in both classes contradict each other."""
    paths = tuple(row.path for row in rows)
    if {"train", "val"} <= {row.split for row in rows}:
        detail, remedy = f"{what} in train and in val", "keep it on one side, or let training choose the split"
        return Problem(severity="fix", kind="leak", paths=paths, detail=detail, remedy=remedy)
    classes, sources = {row.label for row in rows}, sorted({row.source for row in rows})
    if len(classes) > 1 and kind == "duplicate":
        return Problem(
            severity="fix",
            kind="contradiction",
            paths=paths,
            detail=f"{what}, once real and once fake",
            remedy="keep one",
        )
    where = (
        "as real and as fake" if len(classes) > 1 else f"in {' and '.join(sources)}" if len(sources) > 1 else "twice"
    )
    return Problem(
        severity="look",
        kind=kind,
        paths=paths,
        detail=f"{what} {where}",
        remedy="splits keep them together; remove copies that carry nothing new",
    )


def balance_of(known: Sequence[tuple[Row, Facts]]) -> tuple[Balance, ...]:
    """Readable items of each class, by medium and split."""
    counts = Counter((row.medium, row.split, row.label) for row, _ in known)
    groups = sorted({(medium, split) for medium, split, _ in counts})
    return tuple(
        Balance(medium=medium, split=split, real=counts[medium, split, 0], fake=counts[medium, split, 1])
        for medium, split in groups
    )


def balance_problems(known: Sequence[tuple[Row, Facts]]) -> list[Problem]:
    """Classes that are missing, or far from each other in number."""
    problems = []
    for each in balance_of(known):
        where = f"{each.medium}{f', {each.split}' if each.split else ''}: {each.real} real, {each.fake} fake"
        few, many = sorted((each.real, each.fake))
        if few == 0:
            detail, remedy = f"{where}: one class is missing", "add it, or leave this medium out"
            problems.append(Problem(severity="fix", kind="balance", paths=(), detail=detail, remedy=remedy))
        elif many / few >= LOPSIDED:
            detail, remedy = f"{where}: {many / few:.1f} to 1", "training weighs the classes; more of the rarer helps"
            problems.append(Problem(severity="look", kind="balance", paths=(), detail=detail, remedy=remedy))
    return problems


def format_problems(known: Sequence[tuple[Row, Facts]]) -> list[Problem]:
    """A format that one class has and the other has not is a shortcut that any network finds."""
    problems = []
    for medium in sorted({row.medium for row, _ in known}):
        shares = []
        for label in (0, 1):
            forms = Counter(facts.format for row, facts in known if row.medium == medium and row.label == label)
            shares.append({form: count / max(1, sum(forms.values())) for form, count in forms.items()})
        if not all(shares):
            continue
        for form in sorted(set(shares[0]) | set(shares[1])):
            real, fake = shares[0].get(form, 0.0), shares[1].get(form, 0.0)
            if abs(real - fake) > 0.5:
                problems.append(
                    Problem(
                        severity="look",
                        kind="format",
                        paths=(),
                        detail=f"{medium}: {form} is {real:.0%} of the reals and {fake:.0%} of the fakes",
                        remedy="store both classes alike; training recompresses both, which hides the most of it",
                    )
                )
    return problems


def licence_problems(rows: Sequence[Row]) -> list[Problem]:
    """Sources with items that nobody named a licence for."""
    unknown = Counter((row.medium, row.source) for row in rows if row.licence in ("", "unknown"))
    return [
        Problem(
            severity="look",
            kind="licence",
            paths=(),
            detail=f"{medium} source {source}: {count} items without a licence",
            remedy="name it in licences.csv or in the manifest; --licences permissive leaves them out",
        )
        for (medium, source), count in sorted(unknown.items())
    ]
