"""The manifest: one row for each item of the data. ``training.data.layout`` reads it from folders and tables."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from training.data.sources import CLIP_SOURCES

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Row:
    """One item: where it is, what it is, and which items must stay on its side of a split.

    Attributes:
        path: relative to the data folder, with forward slashes.
        label: 1 fake, 0 real.
        source: folder name, the generator or the collection.
        identities: ids of clips or people that the file name carries, empty where it carries none.
        licence, commercial: from ``licences.csv`` (``unknown`` and ``no`` where a source is not listed).
        medium: ``image``, ``video`` or ``audio``.
        split: ``train``, ``val``, or empty where the data leaves the choice to training.
        generator: what made a fake; empty for reals and where it is not known apart from the source.
    """

    path: str
    label: int
    source: str
    identities: tuple[str, ...]
    licence: str
    commercial: str
    medium: str = "image"
    split: str = ""
    generator: str = ""


def identities_of(source: str, name: str) -> tuple[str, ...]:
    """Clip ids that a file name carries: the three-digit ids after ``__`` in FaceForensics++ names.

    >>> identities_of("ffpp_c23_deepfakes", "ffc23_fake__033_097_f0033.jpg")
    ('ffpp:033', 'ffpp:097')
    """
    if source not in CLIP_SOURCES or "__" not in name:
        return ()
    tail = name.split("__", 1)[1]
    if source.startswith("dfd"):
        return (f"dfd:{tail.split('__')[0]}",)
    stem = re.sub(r"_f?\d+$", "", tail.rsplit(".", 1)[0])
    return tuple(f"ffpp:{digits}" for digits in re.findall(r"\d{3}", stem))


def read_licences(path: Path) -> dict[str, tuple[str, str]]:
    """Map ``images/<label>/<source>`` to (licence, commercial use allowed: yes or no)."""
    with path.open(newline="", encoding="utf-8") as handle:
        return {row["source"]: (row["licence"], row["commercial"]) for row in csv.DictReader(handle)}


def read_manifest(data: Path, part: str = "train") -> list[Row]:
    """List the images of one part of the data, in a fixed order.

    Args:
        data: folder with ``licences.csv`` and ``<part>/images/{real,fake}/<source>/*``.

    Raises:
        FileNotFoundError: the folder has no images in that layout.
    """
    licences = read_licences(data / "licences.csv") if (data / "licences.csv").exists() else {}
    rows = []
    for label, word in enumerate(("real", "fake")):
        for folder in sorted((data / part / "images" / word).glob("*/")):
            licence, commercial = licences.get(f"images/{word}/{folder.name}", ("unknown", "no"))
            rows += [
                Row(
                    file.relative_to(data).as_posix(),
                    label,
                    folder.name,
                    identities_of(folder.name, file.name),
                    licence,
                    commercial,
                )
                for file in sorted(folder.iterdir())
                if file.suffix.lower() in IMAGE_SUFFIXES
            ]
    if not rows:
        raise FileNotFoundError(f"no images under {data / part / 'images'}/{{real,fake}}/<source>/")
    return rows
