"""Copy synthesis: every real clip through one generator, in time with it, with its band, level and channel."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.audio.cache import PART, gather
from training.audio.manifest import Clip, VoiceRow, read_rows, speaker_fold, write_rows
from training.audio.segments import Segment, as_partner, cut_segment
from training.audio.sounds import RATE, Sound, read_sound, rms, write_sound
from training.audio.vocoders import Vocoder

EVERY = 40
"""Rows after which the table is written, so that a reader sees the cache grow and a stopped run goes on."""
QUIET = 1e-4
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generator:
    """One way to copy.

    Attributes:
        name: folder and column ``generator``; family: what a fold leaves out.
        vocoder: copies a sound.
        commercial: whether the tool's terms leave the copies free for commercial use.
        licence: of the tool, empty for code of this repository.
        share: part of the clips that it copies (dear ones copy fewer).
    """

    name: str
    family: str
    vocoder: Vocoder
    commercial: bool = True
    licence: str = ""
    share: float = 1.0


class Progress:
    """Logs how far a loop is, and when it will end."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.begun, self.last = what, total, time.monotonic(), time.monotonic()

    def tell(self, done: int) -> None:
        """Say so, at most every ten seconds and at the end."""
        now = time.monotonic()
        if done < self.total and now - self.last < 10:
            return
        self.last = now
        left = (now - self.begun) / max(done, 1) * (self.total - done)
        _LOG.info("%s: %d of %d, %.0f s so far, %.0f s left", self.what, done, self.total, now - self.begun, left)


def seed_of(*names: str) -> int:
    """A seed that depends on the names alone."""
    return int(hashlib.sha256("/".join(names).encode()).hexdigest()[:12], 16)


def chosen(clips: Sequence[Clip], share: float, name: str) -> list[Clip]:
    """``share`` of the clips, drawn by their names, in an order that mixes sources."""
    ranked = sorted(clips, key=lambda clip: seed_of("order", clip.source, clip.name))
    return [clip for clip in ranked if seed_of(name, clip.source, clip.name) % 1000 < share * 1000]


def _known(part: Path, folder: Path) -> dict[str, VoiceRow]:
    """Rows of an earlier run whose files are still there."""
    if not part.is_file():
        return {}
    return {row.path: row for row in read_rows(part) if (folder / row.path).is_file()}


def write_all(
    folder: Path,
    part: Path,
    clips: Sequence[Clip],
    name: str,
    build: Callable[[Clip], tuple[VoiceRow, Sound] | None],
    holds: Callable[[Clip, VoiceRow], bool] = lambda clip, row: True,
) -> int:
    """Build what is missing of one part, row after row; a clip without an answer is left out. Returns the count.

    ``holds`` says whether a row of an earlier run still does.
    """
    known = _known(part, folder)
    by_key = {(row.source, Path(row.path).stem): row for row in known.values()}
    rows: list[VoiceRow] = []
    progress = Progress(name, len(clips))
    for number, clip in enumerate(clips, 1):
        row = by_key.get((clip.source, clip.name))
        if row is None or not holds(clip, row):
            made = build(clip)
            if made is None:
                continue
            row, samples = made
            write_sound(folder / row.path, samples)
        rows.append(row)
        if number % EVERY == 0:
            written = {each.path for each in rows}
            write_rows(part, rows + [each for path, each in known.items() if path not in written])
            gather(folder)
        progress.tell(number)
    write_rows(part, rows)
    gather(folder)
    return len(rows)


def segment_of(clip: Clip) -> Segment:
    """The piece of a clip that is used."""
    return cut_segment(read_sound(clip.file))


def row_of(clip: Clip, path: str, samples: Sound) -> VoiceRow:
    """What is known of a clip before anything is made of it: the row of a real one."""
    return VoiceRow(
        path=path,
        label=0,
        source=clip.source,
        generator="",
        speaker=clip.speaker,
        pair=f"real/{clip.source}/{clip.name}.flac",
        licence=clip.licence,
        commercial=clip.commercial,
        fold=speaker_fold(clip.speaker),
        seconds=len(samples) / RATE,
    )


def copy_reals(folder: Path, clips: Sequence[Clip]) -> int:
    """Write the pieces of all real clips."""

    def build(clip: Clip) -> tuple[VoiceRow, Sound] | None:
        segment = segment_of(clip)
        if rms(segment.samples) < QUIET:
            _LOG.warning("%s is silent", clip.file.name)
            return None
        row = row_of(clip, f"real/{clip.source}/{clip.name}.flac", segment.samples)
        return replace(row, edge=segment.edge), segment.samples

    def holds(clip: Clip, row: VoiceRow) -> bool:
        kept, now = read_sound(folder / row.path), segment_of(clip).samples
        return len(kept) == len(now) and float(np.abs(kept - now).max(initial=0.0)) < 1e-4

    total = 0
    for source in sorted({clip.source for clip in clips}):
        mine = [clip for clip in clips if clip.source == source]
        total += write_all(folder, folder / "real" / source / PART, mine, f"real {source}", build, holds)
    return total


def copy_by(folder: Path, clips: Sequence[Clip], generator: Generator, again: bool = False) -> int:
    """Write the copies of one generator's share of the clips; ``again`` makes all anew. Returns how many stand."""

    def build(clip: Clip) -> tuple[VoiceRow, Sound] | None:
        segment = segment_of(clip)
        if rms(segment.samples) < QUIET:
            return None
        rng = np.random.default_rng(seed_of(generator.name, clip.source, clip.name))
        made, variant = generator.vocoder(segment.padded, rng)
        copy = as_partner(made, segment)
        if not np.isfinite(copy).all() or rms(copy) < 0.1 * rms(segment.samples):
            _LOG.warning("%s: %s came back silent", generator.name, clip.name)
            return None
        row = row_of(clip, f"copies/{generator.name}/{clip.source}/{clip.name}.flac", copy)
        licence = f"{clip.licence}; made by {generator.licence}" if generator.licence else clip.licence
        return (
            replace(
                row,
                label=1,
                generator=generator.name,
                family=generator.family,
                paired=1,
                variant=variant,
                licence=licence,
                commercial=clip.commercial if generator.commercial else "no",
                edge=segment.edge,
            ),
            copy,
        )

    lengths = {row.path: row.seconds for each in folder.glob(f"real/*/{PART}") for row in read_rows(each)}

    def holds(clip: Clip, row: VoiceRow) -> bool:
        return not again and abs(lengths.get(row.pair, row.seconds) - row.seconds) < 1e-3

    part = folder / "copies" / generator.name / PART
    return write_all(folder, part, chosen(clips, generator.share, generator.name), generator.name, build, holds)
