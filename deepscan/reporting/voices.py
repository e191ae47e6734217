"""The part of a report that is about recordings: the same measures, and what codecs and noise do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from cards.repository import ModelRepository
from deepscan.reporting.measure import TARGETS, Plan, Seen, chosen, curves, data_address, family_rows, worst
from deepscan.reporting.model import FullReport
from deepscan_client.codes import Medium
from deepscan_client.verdict import Verdict
from pipelines.assessment.curves import reliability, risk_coverage, thresholds
from pipelines.assessment.local import Labelled
from pipelines.assessment.sound_damage import CONDITIONS
from pipelines.assessment.voices import LocalVoiceJudge, sound_rows, sweep_sounds
from pipelines.audio.picture import spectrogram
from pipelines.audio.source import RATE, decode_audio
from pipelines.evaluation import Judged, quality

_WIDTH, _HEIGHT = 320, 128
_RANGE_DB = 80.0


def measure_voices(
    items: Sequence[Labelled], repository: ModelRepository, data: str, plan: Plan, seen: Seen = lambda _text: None
) -> FullReport:
    """Judge recordings in this process and measure everything that can be measured of them.

    Args:
        items: labelled recordings, at least one.
        repository, data, plan, seen: as for photos (:func:`deepscan.reporting.measure.measure_report`).
    """
    judge = LocalVoiceJudge(repository)
    plain = sweep_sounds(judge, items, CONDITIONS[:1], seen, plan.workers)[CONDITIONS[0].name]
    known = [(each.item, each.verdict) for each in plain if each.verdict is not None]
    judged = [
        Judged(group=item.group, fake=item.fake, probability=verdict.fake_probability, label=verdict.label)
        for item, verdict in known
    ]
    scored = [item for item in judged if item.probability is not None]
    said = np.array([item.probability for item in scored], dtype=np.float64)
    truth = np.array([item.fake for item in scored], dtype=np.int64)
    threshold = known[0][1].operating_point.threshold if known else None
    both = 0 < truth.sum() < len(truth)
    some = chosen(items, plan.robustness) if plan.robustness else []
    swept = sweep_sounds(judge, some, CONDITIONS, seen, plan.workers) if some else {}
    verdicts: list[Verdict] = [verdict for _, verdict in known]
    models = {model for verdict in verdicts for model in verdict.models}
    return FullReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        models=tuple(vars(model) for model in sorted(models, key=lambda m: (m.name, m.version))),
        threshold=threshold,
        failed=len(items) - len(known),
        quality=quality(judged),
        curves=tuple(curves(scored)),
        thresholds=tuple(thresholds(said[truth == 0], said[truth == 1], TARGETS)) if both else (),
        reliability=tuple(reliability(said, truth)) if len(said) else (),
        risk_coverage=risk_coverage(said, truth, threshold) if len(said) and threshold is not None else None,
        robustness=(),
        robustness_items=len(some),
        skin_tone=(),
        without_tone=0,
        crowds=(),
        families=tuple(family_rows(repository, [item.fake for item, _ in known], verdicts)),
        mistakes=tuple(worst(known, threshold, picture_of_sound if plan.pictures else None)),
        medium=Medium.AUDIO,
        sounds=tuple(sound_rows(swept, rounds=300)),
    )


def voice_steps(items: Sequence[Labelled], plan: Plan) -> int:
    """How often ``seen`` is called."""
    return len(items) + (len(chosen(items, plan.robustness)) if plan.robustness else 0)


def picture_of_sound(path: Path) -> str:
    """The spectrogram of a recording as a ``data:`` address of a small JPEG, high frequencies at the top."""
    samples, _ = decode_audio(path.read_bytes())
    levels = spectrogram([samples], len(samples) / RATE, _WIDTH)
    grey = np.clip(255 + levels * (255 / _RANGE_DB), 0, 255).astype(np.uint8)
    return data_address(cv2.resize(grey, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA))
