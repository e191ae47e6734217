"""Read data where users have it: the founding document's folders, the shared layout, or a CSV or Parquet manifest.

The founding layout has ``real`` and ``fake`` (photos), ``real_videos``, ``fake_videos``, ``real_audio`` and
``fake_audio``, each with ``train`` and, where one was made, ``val``. A folder below those names the source. The shared
layout has ``train/{images,videos,audio}/{real,fake}/<source>/`` beside ``licences.csv``. A manifest is a table with
``path`` and ``label``; its paths are relative to its own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from deepscan_client.errors import RequestError
from training.data.manifest import IMAGE_SUFFIXES, Row, identities_of, read_licences
from training.data.relations import clip_identities

Medium = Literal["image", "video", "audio"]
Licences = Literal["all", "permissive"]

SUFFIXES: dict[str, frozenset[str]] = {
    "image": frozenset({*IMAGE_SUFFIXES, ".tif", ".tiff"}),
    "video": frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"}),
    "audio": frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}),
}
#: Folders of the founding layout: name, label, medium.
FOUNDING: tuple[tuple[str, int, str], ...] = (
    ("real", 0, "image"),
    ("fake", 1, "image"),
    ("real_videos", 0, "video"),
    ("fake_videos", 1, "video"),
    ("real_audio", 0, "audio"),
    ("fake_audio", 1, "audio"),
)
#: Folders of the shared layout, with their medium.
SHARED: tuple[tuple[str, str], ...] = (("images", "image"), ("videos", "video"), ("audio", "audio"))
TABLES = (".csv", ".parquet", ".pq")


class DataError(RequestError):
    """The data cannot be read as it is; message and remedy name file, row and column."""


def medium_of(name: str) -> str:
    """``image``, ``video`` or ``audio`` by the suffix of a file's name; empty where it is none of them."""
    suffix = "." + name.rsplit(".", 1)[-1].lower() if "." in name else ""
    return next((medium for medium, known in SUFFIXES.items() if suffix in known), "")


def data_root(path: Path | str) -> Path:
    """The folder that the rows' paths are relative to: the folder itself, or a manifest's own folder."""
    path = Path(path)
    return path.parent if path.is_file() else path


def read_data(path: Path | str, licences: Licences = "all", medium: Medium | None = None) -> list[Row]:
    """List the items of a data folder or manifest, in a fixed order.

    Args:
        path: a folder in the founding or in the shared layout, or a ``.csv`` or ``.parquet`` manifest.
        licences: ``permissive`` keeps what allows commercial use and leaves the rest out.
        medium: one medium alone; all where it is left out.

    Raises:
        DataError: no such path, no known layout, a wrong manifest, or nothing left after filtering.
    """
    path = Path(path)
    if path.is_file():
        from training.data.tables import read_table

        if path.suffix.lower() not in TABLES:
            raise DataError(
                f"{path} is neither a folder nor a manifest", remedy="name a folder, a .csv or a .parquet file"
            )
        rows = read_table(path)
    elif path.is_dir():
        rows = _folder_rows(path)
    else:
        raise DataError(f"{path} does not exist", remedy="name a folder, a .csv or a .parquet file")
    if not rows:
        raise DataError(f"{path} holds no photos, clips or recordings", remedy=_layout_remedy())
    wanted = [row for row in rows if medium in (None, row.medium)]
    if not wanted:
        raise DataError(f"{path} holds no {medium} items", remedy=_layout_remedy())
    if licences == "permissive":
        kept = [row for row in wanted if row.commercial == "yes"]
        if not kept:
            raise DataError(
                f"none of the {len(wanted)} items of {path} is marked as allowing commercial use",
                remedy="fill the manifest's column commercial or licences.csv (source,licence,commercial), "
                "or use --licences all",
            )
        return kept
    return wanted


def _layout_remedy() -> str:
    return (
        "make real/train, real/val, fake/train, fake/val (photos), real_videos, fake_videos, real_audio, fake_audio, "
        "or train/images/{real,fake}/<source>/, or a manifest with the columns path and label"
    )


def _folder_rows(root: Path) -> list[Row]:
    found = [entry for entry in FOUNDING if (root / entry[0]).is_dir()]
    shared = [entry for entry in SHARED if (root / "train" / entry[0]).is_dir()]
    if found and shared:
        raise DataError(
            f"{root} has both {found[0][0]}/ and train/{shared[0][0]}/: two layouts at once",
            remedy="keep one of them, or write a manifest",
        )
    if not found and not shared:
        raise DataError(f"{root} has none of the folders that are known", remedy=_layout_remedy())
    table = root / "licences.csv"
    try:
        licences = read_licences(table) if table.is_file() else {}
    except (KeyError, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{table} cannot be read: {error!r}", remedy="it needs the columns source, licence and commercial"
        ) from error
    rows: list[Row] = []
    for name, label, medium in found:
        rows += _founding_rows(root, name, label, medium, licences)
    for name, medium in shared:
        for label, word in enumerate(("real", "fake")):
            for folder in sorted((root / "train" / name / word).glob("*/")):
                key = f"{name}/{word}/{folder.name}"
                rows += _rows_of(root, folder, label, folder.name, medium, "", licences.get(key))
    return rows


def _founding_rows(
    root: Path, name: str, label: int, medium: str, licences: dict[str, tuple[str, str]]
) -> Iterator[Row]:
    """Rows of one of the six folders: ``<name>/{train,val}/*``, ``…/<source>/*``, or files right inside it."""
    for part, split in (("train", "train"), ("val", "val"), ("", "")):
        folder = root / name / part if part else root / name
        if not folder.is_dir():
            continue
        yield from _rows_of(root, folder, label, name, medium, split, licences.get(name))
        for inner in sorted(folder.glob("*/")):
            if part or inner.name not in ("train", "val"):
                terms = licences.get(f"{name}/{inner.name}", licences.get(name))
                yield from _rows_of(root, inner, label, inner.name, medium, split, terms)


def _rows_of(
    root: Path, folder: Path, label: int, source: str, medium: str, split: str, terms: tuple[str, str] | None
) -> list[Row]:
    licence, commercial = terms or ("unknown", "no")
    identify = clip_identities if medium == "video" else identities_of
    return [
        Row(
            file.relative_to(root).as_posix(),
            label,
            source,
            identify(source, file.name) if medium != "audio" else (),
            licence,
            commercial,
            medium,
            split,
            source if label and source not in ("fake", "fake_videos", "fake_audio") else "",
        )
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES[medium] and not file.name.startswith(".") and file.is_file()
    ]


def write_manifest(rows: Sequence[Row], path: Path | str) -> None:
    """Write rows as a manifest, CSV or Parquet by the suffix; ``read_data`` reads the same rows back."""
    from training.data.tables import write_table

    write_table(rows, Path(path))
