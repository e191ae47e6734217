"""Train ``voice_cepstra`` on a user's recordings: seconds to a minute, however few they are.

Beside the given fakes stand copies of the training reals by Griffin-Lim and linear prediction: the same words by the
same voice through the same channel, which teach more than any number of strange fakes. The front end is fixed, so that
only lines are fitted; every recording counts clean and once damaged. Copies by Griffin-Lim have a line of their own
(``training.audio.kinds``): in one line with the others they cost the fakes of unknown makers a fifth of what is found.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cards.record import DataSource
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError
from pipelines.audio.source import decode_audio
from pipelines.audio.speech import speech_of
from pipelines.audio.windows import RATE, Windows, windows_of
from pipelines.onnx_infer import OnnxInfer
from training.audio.cache import VoiceCache, cache_of
from training.audio.damage import apply_damage, draw_damage
from training.audio.features import Described, describe
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.kinds import Lines, Part, joined, network_of
from training.audio.manifest import VoiceRow
from training.audio.segments import as_partner, cut_segment
from training.audio.sounds import Sound
from training.audio.train import clip_logits
from training.audio.vocoders import Vocoder, griffin_lim, linear_prediction
from training.data.manifest import Row
from training.models.voice_deviations import Deviations
from training.partition import TooLittleDataError, partition
from training.report import sources_of

LONGEST_S = 12.0
"""Of each recording, so that a few long ones cost no more than they teach."""
MOST_COPIES = 150
COPIERS: dict[str, Vocoder] = {"griffin_lim": griffin_lim, "linear_prediction": linear_prediction}
LINES = ((("given", "linear_prediction"), 0.9), (("griffin_lim",), 0.1))
"""Families of each line, and its prior."""
_LOG = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class VoiceItems:
    """A user's recordings, decoded.

    Attributes:
        rows: those that could be read and hold speech; sounds: float32 [n] at 16 kHz; speech: probability by cell.
        unread: recordings that were left out.
    """

    rows: Sequence[Row]
    sounds: Sequence[Sound]
    speech: Sequence[npt.NDArray[np.float32]]
    unread: int

    @property
    def labels(self) -> Ints:
        """1 fake, 0 real."""
        return np.array([row.label for row in self.rows], dtype=np.int64)


def read_recordings(root: Path, rows: Sequence[Row], told: Told = lambda what, done, total: None) -> VoiceItems:
    """Decode recordings and find their speech; what cannot be read or holds none is left out and counted."""
    infer = OnnxInfer(ModelRepository(), threads=1)
    kept: list[tuple[Row, Sound, npt.NDArray[np.float32]]] = []
    for number, row in enumerate(rows, 1):
        told("recordings", number, len(rows))
        try:
            samples, _ = decode_audio((root / row.path).read_bytes())
        except (DeepScanError, OSError) as error:
            _LOG.warning("%s is left out: %s", row.path, error)
            continue
        samples = samples[: int(LONGEST_S * RATE)]
        speech = speech_of(samples, infer)
        if len(windows_of(samples, speech)):
            kept.append((row, samples, speech))
    return VoiceItems(
        [row for row, _, _ in kept],
        [samples for _, samples, _ in kept],
        [speech for _, _, speech in kept],
        len(rows) - len(kept),
    )


def split_recordings(items: VoiceItems, share: float, seed: int) -> tuple[Ints, Ints]:
    """Positions that train and that validate.

    Raises:
        TooLittleDataError: a class has too few recordings with speech.
    """
    if not len(items.rows):
        raise TooLittleDataError("no recording could be read and holds speech")
    return partition(items.rows, np.arange(len(items.rows)), share, seed)


@dataclass(frozen=True)
class QuickResult:
    """What was trained: the checkpoint, raw logits of the validation items, and what went in."""

    model: Path
    logits: npt.NDArray[np.float64]
    sources: tuple[DataSource, ...]
    seconds: float


def train_recordings(items: VoiceItems, train: Ints, val: Ints, run: Path, seed: int, augment: bool) -> QuickResult:
    """Fit ``voice_cepstra`` and write ``model.pt``."""
    began = time.monotonic()
    cache, sounds, speech = _with_copies(items, train, seed)
    front = Deviations().eval()
    draws = [describe(_cut(cache, sounds, speech, None), front, 1)]
    if augment:
        draws.append(describe(_cut(cache, sounds, speech, seed), front, 2))
    # The given fakes count as much as the copies.
    settings = HeadSettings(shrinkage=1.0, unpaired=1.0)
    whole, local = (_lines(cache, draws, settings, through_seconds) for through_seconds in (False, True))
    held = describe(_windows(items, val), front, 3)
    logits = clip_logits(held, whole(held.whole), len(items.rows))[val]
    sources = (*sources_of([items.rows[place] for place in train]), *_copies_in(cache))
    run.mkdir(parents=True, exist_ok=True)
    seconds = round(time.monotonic() - began, 1)
    torch.save(
        {
            "network": "voice_cepstra",
            "state": network_of(whole, local).state_dict(),
            "settings": json.dumps(asdict(settings)),
            "trained_on": json.dumps([source.model_dump() for source in sources]),
        },
        run / "model.pt",
    )
    return QuickResult(run / "model.pt", logits, sources, seconds)


def _lines(cache: VoiceCache, draws: list[Described], settings: HeadSettings, local: bool) -> Lines:
    parts = []
    for families, prior in LINES:
        own = np.isin(cache.column("family"), families)
        if own.any():
            chosen = np.asarray(own | (cache.labels == 0))
            parts.append(Part(fit_head(examples(cache, draws, chosen, settings, local), settings), prior))
    return joined(parts)


def _with_copies(
    items: VoiceItems, train: Ints, seed: int
) -> tuple[VoiceCache, list[Sound], list[npt.NDArray[np.float32]]]:
    """Training recordings and copies of their reals, as a cache that lies in memory."""
    rows, sounds, speech = [], [], []
    for place in train:
        row = items.rows[place]
        rows.append(_voice_row(row, row.path, ""))
        sounds.append(items.sounds[place])
        speech.append(items.speech[place])
    rng, infer = np.random.default_rng(seed), OnnxInfer(ModelRepository(), threads=1)
    reals = [place for place in train if items.rows[place].label == 0]
    for number, place in enumerate(rng.permutation(reals)[:MOST_COPIES]):
        names = list(COPIERS) if len(reals) <= MOST_COPIES // 2 else [list(COPIERS)[number % len(COPIERS)]]
        segment = cut_segment(items.sounds[place], int(5 * RATE))
        for name in names:
            made, _ = COPIERS[name](segment.padded, np.random.default_rng([seed, number]))
            row, piece = items.rows[place], f"{items.rows[place].path}#{number}"
            rows.append(_voice_row(row, piece, ""))
            sounds.append(segment.samples)
            rows.append(_voice_row(row, f"{piece}#{name}", name, piece))
            sounds.append(as_partner(made, segment))
            own = speech_of(segment.samples, infer)
            speech += [own, own]
    return cache_of(Path(), rows), sounds, speech


def _voice_row(row: Row, path: str, generator: str, pair: str = "") -> VoiceRow:
    fake = bool(generator) or row.label == 1
    return VoiceRow(
        path=path,
        label=int(fake),
        source=row.source,
        generator=generator or row.generator,
        speaker=row.path,
        pair=pair,
        licence=row.licence,
        commercial=row.commercial,
        fold=0,
        family=generator or ("given" if fake else ""),
        paired=int(bool(pair)),
    )


def _copies_in(cache: VoiceCache) -> tuple[DataSource, ...]:
    return tuple(
        DataSource(
            source=f"copies of the real recordings by {name}",
            label="fake",
            items=int(sum(row.generator == name and bool(row.pair) for row in cache.rows)),
            licence="as the recordings",
            commercial=all(row.commercial == "yes" for row in cache.rows if row.generator == name),
            generator=name,
        )
        for name in COPIERS
        if any(row.generator == name and row.pair for row in cache.rows)
    )


def _cut(
    cache: VoiceCache, sounds: Sequence[Sound], speech: Sequence[npt.NDArray[np.float32]], seed: int | None
) -> Iterator[tuple[int, Windows]]:
    for place, samples in enumerate(sounds):
        partner = int(cache.partner[place]) if cache.partner[place] >= 0 else place
        if seed is not None:
            rng = np.random.default_rng([seed, partner])
            samples = apply_damage(samples, draw_damage(rng, clean=0.0, keep_time=True))
        yield place, windows_of(samples, speech[place])


def _windows(items: VoiceItems, places: Ints) -> Iterator[tuple[int, Windows]]:
    for place in places:
        yield int(place), windows_of(items.sounds[place], items.speech[place])
