"""Judge recordings in this process, as the server would, and what damage does to the verdict.

Reals are what matters first: noise and codecs must not turn a person into a fake. So each condition tells the share of
reals that is flagged at the shipped threshold and the share that is still given a label, and, with both classes damaged
alike, the AUC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cards.repository import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.errors import InputError
from deepscan_client.verdict import Verdict
from pipelines.assessment.curves import Share, wilson
from pipelines.assessment.local import Labelled
from pipelines.assessment.sound_damage import CONDITIONS, Sound, SoundCondition
from pipelines.audio.analyze import VoiceAnalyzer, analyze_audio
from pipelines.audio.source import decode_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.evaluation import Measured
from pipelines.infer import Infer
from pipelines.metrics import auc, bootstrap_interval, eer
from pipelines.onnx_infer import OnnxInfer

ALL = "all"
"""Name of the row over all groups."""
PAIRED = "groups of both classes"
"""Name of the row over those groups that hold reals and fakes: reals of another collection change an AUC."""
_TALKERS = 24
"""Real clips that babble is made of."""


class LocalVoiceJudge:
    """Recordings to verdicts with the models of a repository.

    Args:
        repository: cards, records and networks.
        infer: runs the networks; in this process where left out.
    """

    def __init__(self, repository: ModelRepository, infer: Infer | None = None) -> None:
        self._analyzer = VoiceAnalyzer(repository, infer or OnnxInfer(repository, threads=1))
        self._judge = VoiceJudge(repository)

    def verdict(self, data: bytes) -> Verdict:
        """The verdict on a file.

        Raises:
            deepscan_client.errors.InputError: the bytes cannot be judged.
        """
        return analyze_audio(data, self._analyzer, self._judge)


class SoundRow(BaseModel):
    """One condition on one group of recordings, at the shipped threshold."""

    model_config = ConfigDict(frozen=True)

    condition: str
    group: str
    real: int
    fake: int
    unscored: int
    """Recordings without a probability, for example because no speech was heard."""
    flagged: Share
    """Reals labelled ``fake``."""
    conclusive: Share
    """Reals labelled ``real`` or ``fake``."""
    found: Share
    """Fakes labelled ``fake``."""
    fakes_conclusive: Share
    auc: Measured
    """Over the scored items of both classes, conclusive or not."""
    eer: Measured


@dataclass(frozen=True)
class Heard:
    """A recording and what was said of it under one condition; None where it could not be judged."""

    item: Labelled
    verdict: Verdict | None


def sweep_sounds(
    judge: LocalVoiceJudge,
    items: Sequence[Labelled],
    conditions: Sequence[SoundCondition] = CONDITIONS,
    seen: Callable[[str], object] = lambda _name: None,
    workers: int = 1,
) -> dict[str, list[Heard]]:
    """Every recording under every condition, by the name of the condition.

    Args:
        items: labelled recordings; one that does not decode gets no verdict under any condition.
        seen: told of each recording when it is done.
        workers: recordings under way at once.
    """
    sounds = [_decoded(item) for item in items]
    talkers = _talkers(items, sounds)

    def one(place: int) -> list[Verdict | None]:
        sound = sounds[place]
        told: list[Verdict | None] = [None] * len(conditions)
        if sound is not None:
            others = [samples for name, samples in talkers if name != sound[0]]
            # The seed is the file's, so that the order of the folder changes nothing.
            seed = int(sound[0][:8], 16)
            told = [_judged(judge, condition, sound[1], others, seed) for condition in conditions]
        seen(str(items[place].path))
        return told

    with ThreadPoolExecutor(workers) as pool:
        columns = list(pool.map(one, range(len(items))))
    return {
        condition.name: [Heard(item, told[number]) for item, told in zip(items, columns)]
        for number, condition in enumerate(conditions)
    }


def sound_rows(swept: dict[str, list[Heard]], rounds: int = 1000) -> list[SoundRow]:
    """A row for each condition over all recordings, over paired groups where there are others, and for each group."""
    rows = []
    for name, heard in swept.items():
        groups = sorted({each.item.group for each in heard})
        paired = [g for g in groups if len({each.item.fake for each in heard if each.item.group == g}) == 2]
        rows.append(sound_row(name, ALL, heard, rounds))
        if paired and paired != groups:
            rows.append(sound_row(name, PAIRED, [each for each in heard if each.item.group in paired], rounds))
        if len(groups) > 1:
            rows += [sound_row(name, g, [each for each in heard if each.item.group == g], rounds) for g in groups]
    return rows


def sound_row(condition: str, group: str, heard: Sequence[Heard], rounds: int = 1000) -> SoundRow:
    """Counts and measures of one group under one condition."""
    reals = [each.verdict for each in heard if not each.item.fake]
    fakes = [each.verdict for each in heard if each.item.fake]
    scored = [
        (each.verdict.fake_probability, int(each.item.fake))
        for each in heard
        if each.verdict is not None and each.verdict.fake_probability is not None
    ]
    scores = np.array([score for score, _ in scored], dtype=np.float64)
    truth = np.array([fake for _, fake in scored], dtype=np.int64)
    return SoundRow(
        condition=condition,
        group=group,
        real=len(reals),
        fake=len(fakes),
        unscored=len(heard) - len(scored),
        flagged=wilson(sum(_says(verdict, Label.FAKE) for verdict in reals), len(reals)),
        conclusive=wilson(sum(_says(verdict, Label.FAKE, Label.REAL) for verdict in reals), len(reals)),
        found=wilson(sum(_says(verdict, Label.FAKE) for verdict in fakes), len(fakes)),
        fakes_conclusive=wilson(sum(_says(verdict, Label.FAKE, Label.REAL) for verdict in fakes), len(fakes)),
        auc=measured(auc, scores, truth, rounds),
        eer=measured(eer, scores, truth, rounds),
    )


def measured(
    measure: Callable[..., float], scores: NDArray[np.float64], truth: NDArray[np.int64], rounds: int
) -> Measured:
    """A measure of both classes with its interval; empty where one is missing."""
    if len(np.unique(truth)) < 2:
        return Measured()
    low, high = bootstrap_interval(measure, scores, truth, rounds=rounds)
    return Measured(value=measure(scores, truth), low=low, high=high)


def _says(verdict: Verdict | None, *labels: Label) -> bool:
    return verdict is not None and verdict.label in labels


def _decoded(item: Labelled) -> tuple[str, Sound] | None:
    """sha256 of the file, and its samples."""
    try:
        samples, info = decode_audio(item.path.read_bytes())
    except InputError:
        return None
    return info.sha256, samples


def _talkers(items: Sequence[Labelled], sounds: Sequence[tuple[str, Sound] | None]) -> list[tuple[str, Sound]]:
    """Real clips for babble: the first in the order of their hashes, so that any order of the folder gives the same."""
    reals = sorted(
        (sound for item, sound in zip(items, sounds) if not item.fake and sound is not None), key=lambda sound: sound[0]
    )
    return reals[:_TALKERS]


def _judged(
    judge: LocalVoiceJudge, condition: SoundCondition, sound: Sound, others: Sequence[Sound], seed: int
) -> Verdict | None:
    try:
        return judge.verdict(condition.apply(sound, others, seed))
    except InputError:
        return None
