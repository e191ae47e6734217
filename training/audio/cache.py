"""The cache of training speech: 16-bit FLAC files of 16 kHz, one table, and which copy belongs to which real clip.

``.cache/voice/real/<source>/<name>.flac`` are the pieces of the real clips, ``copies/<generator>/<source>/<name>.flac``
their copies, ``tts/<engine>/`` synthetic speech without a real partner, ``given/<source>/`` the fakes of the data.
Every folder of the second level keeps its rows in ``part.csv``; ``index.csv`` is all of them together, so that several
generators can fill the cache at once and a stopped one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.audio.manifest import VoiceRow, read_rows, write_rows

if TYPE_CHECKING:
    from training.audio.sounds import Sound

PART = "part.csv"
INDEX = "index.csv"


@dataclass(frozen=True)
class VoiceCache:
    """All clips as columns.

    Attributes:
        folder: of the cache.
        rows: one a clip.
        labels: int64 [n].
        partner: int64 [n], position of the real clip that a copy was made of; -1 for reals and unpaired speech.
    """

    folder: Path
    rows: Sequence[VoiceRow]
    labels: npt.NDArray[np.int64]
    partner: npt.NDArray[np.int64]

    def samples(self, index: int) -> Sound:
        """Decode one clip: float32 [n] at 16 kHz; a copy gets its real clip's loudness from moment to moment."""
        # Decoders are asked for here alone, so that columns can be read where there are none.
        from training.audio.segments import match_loudness
        from training.audio.sounds import read_sound

        samples = read_sound(self.folder / self.rows[index].path)
        partner = int(self.partner[index])
        if partner < 0:
            return samples
        return match_loudness(samples, read_sound(self.folder / self.rows[partner].path))

    @property
    def pairs(self) -> npt.NDArray[np.int64]:
        """Positions of (copy, its real clip): int64 [p, 2]."""
        copies = np.flatnonzero(self.partner >= 0)
        return np.stack([copies, self.partner[copies]], axis=1)

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """One column as text [n]."""
        return np.array([str(getattr(row, name)) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)


def cache_of(folder: Path, rows: Sequence[VoiceRow]) -> VoiceCache:
    """Columns of rows; a copy whose real clip is not among them counts as unpaired."""
    place = {row.path: number for number, row in enumerate(rows) if row.label == 0}
    partner = [place.get(row.pair, -1) if row.label and row.paired else -1 for row in rows]
    return VoiceCache(
        folder, rows, np.array([row.label for row in rows], dtype=np.int64), np.array(partner, dtype=np.int64)
    )


def load_voice_cache(folder: Path) -> VoiceCache:
    """Open a cache that ``python -m training.audio.prepare`` wrote; sounds stay on disk.

    Raises:
        FileNotFoundError: there is none.
    """
    return cache_of(folder, read_rows(folder / INDEX))


def gather(folder: Path) -> list[VoiceRow]:
    """Write ``index.csv`` anew from all parts; reals first. Returns its rows."""
    rows = [row for part in sorted(folder.glob(f"*/*/{PART}")) for row in read_rows(part)]
    rows.sort(key=lambda row: (row.label, row.paired == 0, row.path))
    write_rows(folder / INDEX, rows)
    return rows
