"""The speech of the training data: which clips there are, who speaks, and under which terms."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from training.data.manifest import read_licences

SPEAKER_FOLDS = 6
#: Kept for measuring alone: no copy is made of it, and no training sees it.
EXCLUDED = ("librispeech_test_other_10spk",)


@dataclass(frozen=True)
class VoiceRow:
    """One clip of the cache; a column each of ``index.csv``.

    Attributes:
        path: relative to the cache folder.
        label: 1 fake, 0 real.
        source: collection of the real clip (a copy's: of the clip that was copied), or engine of synthetic speech.
        generator: what made a fake; empty for reals.
        family: kind that a fold leaves out, such as ``hifigan``; empty for reals.
        speaker: who speaks; no speaker stands on both sides of a split.
        pair: path of the real clip that a copy was made of; a real clip's own path; empty where there is none.
        licence, commercial: terms of the data and of the tool that made it.
        fold: number of the speaker's share, 0 to 5.
        paired: 1 where the real partner has the same words, speaker and channel, in time.
        variant: settings of the generator.
        seconds: length; edge: highest frequency that the clip carries, Hz.
    """

    path: str
    label: int
    source: str
    generator: str
    speaker: str
    pair: str
    licence: str
    commercial: str
    fold: int
    family: str = ""
    paired: int = 0
    variant: str = ""
    seconds: float = 0.0
    edge: float = 0.0


COLUMNS = tuple(field.name for field in fields(VoiceRow))


@dataclass(frozen=True)
class Clip:
    """One file of the data, with what is known about it before it is read."""

    file: Path
    label: int
    source: str
    speaker: str
    licence: str
    commercial: str

    @property
    def name(self) -> str:
        """File name without suffix."""
        return self.file.stem


def speaker_of(source: str, name: str) -> str:
    """Who speaks, as far as file names tell; one speaker a recording where a crowd was recorded.

    >>> speaker_of("librispeech_train_clean_100_251spk", "19-198-0000")
    'libri:19'
    >>> speaker_of("kde_children_multilang", "klettres_pt_BR_syllab__vi")
    'kde:pt'
    """
    if re.fullmatch(r"\d+-\d+-\d+", name):
        return f"libri:{name.split('-')[0]}"
    if source == "kde_children_multilang":
        # One voice a language may have read for both programs.
        return f"kde:{re.sub('^(klettres|ktuberling_sounds)_', '', name)[:2].rstrip('_')}"
    if source.startswith("fsdd"):
        return f"fsdd:{name.split('_')[1]}"
    if source in ("festvox_ru_msu_nsh", "festival_clunits_ru"):
        return "festvox:nsh"
    if source.startswith("asterisk"):
        return "asterisk"
    if source.startswith("picovoice"):
        return f"crowd:{name.split('__')[-1]}"
    if source == "sc_glowtts":
        return f"vctk:{name.split('__')[1]}"
    voice = name.split("_", 1)[-1] if "_" in name else ""
    return f"{source}:{voice}" if voice else source


def speaker_fold(speaker: str) -> int:
    """The speaker's share, the same on every machine."""
    return int(hashlib.sha256(speaker.encode()).hexdigest()[:8], 16) % SPEAKER_FOLDS


def read_clips(data: Path, word: str = "real", part: str = "train") -> list[Clip]:
    """The clips of ``<part>/audio/<word>/<source>/``, without the sources that stay out of training.

    Raises:
        FileNotFoundError: there are none.
    """
    listed = data / "licences.csv"
    licences = read_licences(listed) if listed.is_file() else {}
    clips = []
    for folder in sorted((data / part / "audio" / word).glob("*/")):
        if folder.name in EXCLUDED:
            continue
        licence, commercial = licences.get(f"audio/{word}/{folder.name}", ("unknown", "no"))
        clips += [
            Clip(file, int(word == "fake"), folder.name, speaker_of(folder.name, file.stem), licence, commercial)
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in (".flac", ".wav", ".ogg")
        ]
    if not clips:
        raise FileNotFoundError(f"no clips under {data / part / 'audio' / word}/<source>/")
    return clips


def write_rows(path: Path, rows: Iterable[VoiceRow]) -> None:
    """Write a table through a temporary file beside it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            writer.writerow(values | {"seconds": f"{row.seconds:.3f}", "edge": f"{row.edge:.0f}"})
    partial.rename(path)


def read_rows(path: Path) -> list[VoiceRow]:
    """Read what ``write_rows`` wrote; columns that are not known are left alone."""
    with path.open(newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    whole = {"label": int, "fold": int, "paired": int, "seconds": float, "edge": float}
    return [VoiceRow(**{name: whole.get(name, str)(each[name]) for name in COLUMNS}) for each in table]
