"""How a report is measured: photos are judged in this process, no server is needed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from deepscan.reporting.model import CLAIMS, Curve, FamilyRow, FullReport, Mistake, ToneRow
from deepscan_client.codes import Label
from deepscan_client.verdict import Verdict
from pipelines.assessment.crowds import AMONG, SIZES, CrowdRow, face_tile, measure_crowds
from pipelines.assessment.curves import log_odds, reliability, risk_coverage, thresholds, wilson
from pipelines.assessment.damage import CONDITIONS, Condition
from pipelines.assessment.local import Labelled, LocalJudge, judge_photos
from pipelines.assessment.robustness import VERDICT, DetectorRow, detector_rows
from pipelines.assessment.skin import Tone, tone_of, typology_angle
from pipelines.evaluation import Judged, quality
from pipelines.metrics import roc

TARGETS = (0.01, 0.02, 0.05, 0.1)
TILES = 300
"""Faces of each class that mosaics are made of."""
WORST = 12
THUMBNAIL = 160
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """How much of the work is done.

    Attributes:
        robustness: photos of each group and class for the sweep; 0 leaves it out.
        mosaics: of each make; 0 leaves them out.
        pictures: whether the worst mistakes are shown as pictures.
        workers: photos under way at once.
    """

    robustness: int = 40
    mosaics: int = 40
    pictures: bool = True
    workers: int = 2


Seen = Callable[[str], object]


def measure_report(
    items: Sequence[Labelled], repository: ModelRepository, data: str, plan: Plan, seen: Seen = lambda _text: None
) -> FullReport:
    """Judge the items and measure everything.

    Args:
        items: labelled photos, at least one.
        repository: models that judge.
        data: name of the data, for the head of the report.
        plan: see :class:`Plan`.
        seen: told of each step, for a display of progress.
    """
    judge = LocalJudge(repository)
    verdicts: list[Verdict | None] = []
    angles: list[float | None] = []
    tiles: dict[bool, list[Pixels]] = {False: [], True: []}
    for item, pixels, answers in judge_photos(judge, items, CONDITIONS[:1], lambda i: seen(str(i.path)), plan.workers):
        verdict = answers[0] if isinstance(answers[0], Verdict) else None
        verdicts.append(verdict)
        face = verdict.faces[0] if verdict is not None and verdict.faces else None
        angle = None
        if pixels is not None and face is not None:
            angle = None if item.fake else typology_angle(pixels, np.array(face.landmarks))
            if plan.mosaics and len(tiles[item.fake]) < TILES:
                cut = face_tile(pixels, face.box)
                tiles[item.fake] += [] if cut is None else [cut]
        angles.append(angle)
    known = [(item, verdict) for item, verdict in zip(items, verdicts) if verdict is not None]
    judged = [
        Judged(group=item.group, fake=item.fake, probability=verdict.fake_probability, label=verdict.label)
        for item, verdict in known
    ]
    scored = [item for item in judged if item.probability is not None]
    said = np.array([item.probability for item in scored], dtype=np.float64)
    truth = np.array([item.fake for item in scored], dtype=np.int64)
    threshold = known[0][1].operating_point.threshold if known else None
    both = 0 < truth.sum() < len(truth)
    rows, swept = sweep(judge, items, plan, seen)
    models = {model for _, verdict in known for model in verdict.models}
    return FullReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        models=tuple(vars(model) for model in sorted(models, key=lambda m: (m.name, m.version))),
        threshold=threshold,
        failed=len(items) - len(known),
        quality=quality(judged),
        curves=tuple(curves(scored)),
        thresholds=tuple(thresholds(said[truth == 0], said[truth == 1], TARGETS)) if both else (),
        reliability=tuple(reliability(said, truth)),
        risk_coverage=risk_coverage(said, truth, threshold) if len(said) and threshold is not None else None,
        robustness=tuple(rows),
        robustness_items=swept,
        skin_tone=tuple(tone_rows(items, verdicts, angles)),
        without_tone=sum(angle is None and not item.fake for item, angle in zip(items, angles)),
        crowds=tuple(_crowds(tiles, judge, plan, seen)),
        families=tuple(family_rows(repository, [item.fake for item, _ in known], [v for _, v in known])),
        mistakes=tuple(worst(known, threshold, thumbnail if plan.pictures else None)),
    )


def steps(items: Sequence[Labelled], plan: Plan) -> int:
    """How often ``seen`` is called, about: for a display of progress."""
    crowds = plan.mosaics * (len(SIZES) + 1)
    return len(items) + (len(chosen(items, plan.robustness)) if plan.robustness else 0) + crowds


def chosen(items: Sequence[Labelled], most: int) -> list[Labelled]:
    """At most ``most`` of each group and class, spread evenly over the folder."""
    result = []
    for group, fake in sorted({(item.group, item.fake) for item in items}):
        members = [item for item in items if (item.group, item.fake) == (group, fake)]
        places = np.unique(np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int))
        result += [members[place] for place in places]
    return result


def sweep(judge: LocalJudge, items: Sequence[Labelled], plan: Plan, seen: Seen) -> tuple[list[DetectorRow], int]:
    """The robustness sweep over a part of the items, and how many these are."""
    some = chosen(items, plan.robustness) if plan.robustness else []
    if not some:
        return [], 0
    truth: list[bool] = []
    columns: list[list[Verdict | None]] = [[] for _ in CONDITIONS]
    for item, _, answers in judge_photos(judge, some, CONDITIONS, lambda i: seen(str(i.path)), plan.workers):
        truth.append(item.fake)
        for column, answer in zip(columns, answers):
            column.append(answer if isinstance(answer, Verdict) else None)
    rows = [row for condition, column in zip(CONDITIONS, columns) for row in _rows(condition, truth, column)]
    return rows, len(some)


def _rows(condition: Condition, truth: Sequence[bool], column: Sequence[Verdict | None]) -> list[DetectorRow]:
    return detector_rows(condition.name, truth, column)


def tone_rows(
    items: Sequence[Labelled], verdicts: Sequence[Verdict | None], angles: Sequence[float | None]
) -> Iterable[ToneRow]:
    """False alarms by bin, from the largest face of each real photo."""
    for tone in Tone:
        flags = [
            verdict.label is Label.FAKE
            for item, verdict, angle in zip(items, verdicts, angles)
            if not item.fake and verdict is not None and angle is not None and tone_of(angle) is tone
        ]
        yield ToneRow(tone=str(tone), flagged=wilson(sum(flags), len(flags)))


def family_rows(repository: ModelRepository, truth: Sequence[bool], verdicts: Sequence[Verdict]) -> list[FamilyRow]:
    """Each family's claim beside what its best network reached here."""
    best: dict[str, FamilyRow] = {name: FamilyRow(family=name, claimed=claim) for name, claim in CLAIMS.items()}
    for row in detector_rows("none", truth, verdicts, rounds=1):
        family = "ensemble" if row.detector == VERDICT else str(repository.card(row.detector).family or "")
        if family not in best or row.found.value is None or row.flagged.value is None:
            continue
        accuracy = (row.found.value + 1 - row.flagged.value) / 2
        before = best[family].accuracy
        if before is None or accuracy > before:
            best[family] = best[family].model_copy(
                update={"detector": row.detector, "accuracy": accuracy, "auc": row.auc.value}
            )
    return list(best.values())


def worst(
    known: Sequence[tuple[Labelled, Verdict]], threshold: float | None, picture: Callable[[Path], str] | None
) -> Iterable[Mistake]:
    """The items that are furthest on the wrong side, half of them reals where there are enough."""
    if threshold is None:
        return
    limit = float(log_odds([threshold])[0])
    for fake in (False, True):
        wrong = [
            (float(log_odds([verdict.fake_probability])[0]) - limit, item, verdict)
            for item, verdict in known
            if item.fake is fake
            and verdict.fake_probability is not None
            and (verdict.fake_probability >= threshold) is not fake
        ]
        for _, item, verdict in sorted(wrong, key=lambda entry: -abs(entry[0]))[: WORST // 2]:
            assert verdict.fake_probability is not None
            yield Mistake(
                path=str(item.path),
                group=item.group,
                fake=item.fake,
                probability=verdict.fake_probability,
                picture=picture(item.path) if picture is not None else "",
            )


def thumbnail(path: Path) -> str:
    """A small JPEG of a photo as a ``data:`` address; empty where OpenCV cannot read it."""
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        return ""
    factor = THUMBNAIL / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return data_address(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def data_address(pixels: NDArray[Any]) -> str:
    """Pixels (grey, or BGR) as a ``data:`` address of a JPEG."""
    done, data = cv2.imencode(".jpg", pixels)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii") if done else ""


def curves(scored: Sequence[Judged]) -> Iterable[Curve]:
    """ROC of each group that has both classes."""
    for group in sorted({item.group for item in scored}):
        members = [item for item in scored if item.group == group]
        truth = [int(item.fake) for item in members]
        if 0 < sum(truth) < len(truth):
            fpr, tpr, _ = roc([item.probability or 0.0 for item in members], truth)
            yield Curve(group=group, fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()))


def _crowds(tiles: dict[bool, list[Pixels]], judge: LocalJudge, plan: Plan, seen: Seen) -> list[CrowdRow]:
    if not plan.mosaics:
        return []
    told = f"mosaics of up to {max(*SIZES, AMONG + 1)} faces"
    return measure_crowds(tiles[False], tiles[True], judge.verdict_of_picture, plan.mosaics, seen=lambda: seen(told))
