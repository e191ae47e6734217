"""A recording to evidence, over any :class:`~pipelines.infer.Infer`, block by block.

A second and an hour are the same code: the decoder hands on half a minute at a time, speech is looked for in it,
windows are cut where somebody speaks, and all windows of a block go to all networks together. What is kept grows by a
few numbers for each window, never by samples.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from cards.card import ModelCard
from cards.repository import ModelRepository
from deepscan_client.verdict import Verdict
from pipelines.audio.evidence import VoiceEvidence
from pipelines.audio.quality import QualityMeter
from pipelines.audio.source import Samples, Sound, open_audio
from pipelines.audio.speech import MODEL as VOICE_ACTIVITY
from pipelines.audio.speech import SpeechMeter
from pipelines.audio.timeline import LocalScores
from pipelines.audio.verdict import VoiceJudge
from pipelines.audio.windows import CELL, RATE, Windower, Windows
from pipelines.infer import Arrays, Batch, Infer, digest_hex, run_batches
from pipelines.novelty import NoveltyBook
from pipelines.options import Options

if TYPE_CHECKING:
    from pipelines.analyzers.voice import Measured

STAGE = "audio_voice"
BLOCK_S = 30.0
"""Seconds that are decoded, heard and sent to the networks at a time."""
SPEAKER = "speaker_embedding"
ANALYZED_S = 180.0
"""Seconds from the start that are kept for the analyzers, where they were asked for."""


class VoiceAnalyzer:
    """Hears recordings.

    Args:
        repository: cards say which networks are asked.
        infer: runs them.
        networks: models to ask; those that the card of ``audio_voice`` names by default. The detectors among them are
            those that answer with a LOGIT.
    """

    def __init__(self, repository: ModelRepository, infer: Infer, networks: tuple[str, ...] | None = None) -> None:
        self.infer = infer
        calls = repository.card(STAGE).calls if networks is None else networks
        cards = [repository.card(name) for name in calls]
        self.detectors = [card for card in cards if any(tensor.name == "LOGIT" for tensor in card.outputs)]
        self.hears_speakers = SPEAKER in calls
        book = NoveltyBook(repository, self.detectors[0].name) if self.detectors else None
        self.novelty = book if book is not None and book.known else None

    def listen(self, source: Sound) -> Generator[Hearing, None, VoiceEvidence]:
        """Hear a recording; after each block says how far it is. The generator's value is the evidence.

        Raises:
            deepscan_client.errors.DeepScanError: the recording does not decode, or a network did not answer.
        """
        hearing = Hearing(self, source.info.options.analyzers)
        blocks = source.blocks(BLOCK_S)
        block = hearing.next_of(blocks)
        while block is not None:
            following = hearing.next_of(blocks)
            hearing.take(block, last=following is None)
            yield hearing
            block = following
        return hearing.finish()

    def evidence(self, source: Sound) -> VoiceEvidence:
        """Hear a whole recording; afterwards ``source.info`` is complete.

        Raises:
            deepscan_client.errors.DeepScanError: as :meth:`listen`.
        """
        steps = self.listen(source)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                evidence: VoiceEvidence = end.value
                return evidence


class Hearing:
    """One recording being heard.

    Args:
        analyzer: whose networks are asked.
        consistent: whether the voice's consistency is measured as well.
    """

    def __init__(self, analyzer: VoiceAnalyzer, consistent: bool = False) -> None:
        self._analyzer = analyzer
        self._consistent = consistent
        self._meter = SpeechMeter(analyzer.infer)
        self._quality = QualityMeter()
        self._windower = Windower()
        self._local = LocalScores()
        self._start: list[float] = []
        self._speech: list[float] = []
        self._logits: dict[str, list[float]] = {card.name: [] for card in analyzer.detectors}
        self._novelty: list[float] = []
        self._weights: dict[str, str] = {}
        self._first: list[Samples] = []
        self._first_speech: list[Samples] = []
        self._ms = {"decode": 0.0, "speech": 0.0, "networks": 0.0, "consistency": 0.0}
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Heard so far."""
        return self._samples / RATE

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add what happens inside to the time of a part."""
        start = time.monotonic_ns()
        try:
            yield
        finally:
            self._ms[part] += (time.monotonic_ns() - start) / 1e6

    def next_of(self, blocks: Iterator[Samples]) -> Samples | None:
        """The next block of a decoder, None at its end."""
        with self.timed("decode"):
            return next(blocks, None)

    def take(self, block: Samples, last: bool = False) -> None:
        """Hear the next block, float32 [n] at 16 kHz.

        The end of a recording goes with its last block, so that a short one asks every network once.
        """
        self._samples += len(block)
        with self.timed("speech"):
            # The last cell is filled up with zeros, as SpeechMeter.finish would do in a call of its own.
            speech = self._meter.feed(np.pad(block, (0, -self._samples % CELL)) if last else block)
            self._quality.feed(block, speech)
        windows = self._windower.feed(block, speech)
        self._ask(Windows.join([windows, self._windower.finish()]) if last else windows)
        if self._consistent and self.seconds - len(block) / RATE < ANALYZED_S:
            self._first.append(block)
            self._first_speech.append(speech)

    def finish(self) -> VoiceEvidence:
        """What was heard, after the last block."""
        return self.evidence(self._consistency())

    def evidence(self, measured: Measured | None = None) -> VoiceEvidence:
        """What was heard so far."""
        return VoiceEvidence(
            start_s=tuple(self._start),
            speech_s=tuple(self._speech),
            logits={name: tuple(values) for name, values in self._logits.items()},
            novelty=tuple(self._novelty) if self._novelty else None,
            step_s=self._local.step_s,
            local=self._local.values(),
            quality=self._quality.result(),
            consistency=() if measured is None else measured.evidence,
            weights={
                **self._weights,
                **({VOICE_ACTIVITY: self._meter.record} if self._meter.record else {}),
                **({} if measured is None else measured.weights),
            },
            decode_ms=self._ms["decode"],
            speech_ms=self._ms["speech"],
            networks_ms=self._ms["networks"],
            consistency_ms=self._ms["consistency"],
        )

    def _ask(self, windows: Windows) -> None:
        """All detectors on all windows: independent calls go in together."""
        detectors = self._analyzer.detectors
        if not len(windows) or not detectors:
            return
        with self.timed("networks"):
            answers = run_batches(self._analyzer.infer, [self._batch(card, windows) for card in detectors])
        self._start += (windows.start * (CELL / RATE)).tolist()
        self._speech += windows.weight.tolist()
        for name, answer in answers.items():
            self._weights[name] = digest_hex(answer["RECORD"][0])
            self._logits[name] += answer["LOGIT"][:, 0].tolist()
            self._local.add(name, windows, answer["FRAMES"])
        self._far(answers)

    def _batch(self, card: ModelCard, windows: Windows) -> Batch:
        outputs: tuple[str, ...] = ("LOGIT", "FRAMES", "RECORD")
        if self._analyzer.novelty is not None and card is self._analyzer.detectors[0]:
            outputs = (*outputs, "EMBEDDING")
        return Batch(card.name, {"AUDIO": windows.audio, "MASK": windows.mask}, outputs, card.max_batch_size)

    def _far(self, answers: Mapping[str, Arrays]) -> None:
        if self._analyzer.novelty is not None:
            ratios = self._analyzer.novelty.ratios(answers[self._analyzer.detectors[0].name])
            self._novelty += [] if ratios is None else ratios.tolist()

    def _consistency(self) -> Measured | None:
        if not self._consistent or not self._start:
            return None
        # They bring SciPy's signal processing, which takes a second to load and which few requests ask for.
        from pipelines.analyzers.voice import consistency

        with self.timed("consistency"):
            infer = self._analyzer.infer if self._analyzer.hears_speakers else None
            return consistency(np.concatenate(self._first), np.concatenate(self._first_speech), infer)


def analyze_audio(data: bytes, analyzer: VoiceAnalyzer, judge: VoiceJudge, options: Options | None = None) -> Verdict:
    """Encoded bytes to a verdict in one process: the same stages as the ensemble ``deepfake_audio``.

    Raises:
        deepscan_client.errors.InputError: the bytes cannot be judged.
    """
    source = open_audio(data, options)
    evidence = analyzer.evidence(source)
    return judge.verdict(source.info, evidence)
