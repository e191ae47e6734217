"""Manifests as tables: CSV (UTF-8, comma) and Parquet, read strictly: a mistake is named, not guessed away."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from training.data.layout import SUFFIXES, DataError, medium_of
from training.data.manifest import Row

COLUMNS = ("path", "label", "source", "generator", "identity", "licence", "commercial", "split", "medium")
ALIASES = {"license": "licence", "identities": "identity"}
_LABELS = {"real": 0, "0": 0, "fake": 1, "1": 1}
_ANSWERS = {"yes": "yes", "true": "yes", "1": "yes", "no": "no", "false": "no", "0": "no", "": "no"}
_LONGEST = 4096  # characters of one cell


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV or Parquet manifest.

    Raises:
        DataError: names the file, the row (a line of a CSV, counted from 1 in Parquet), the column and the remedy.
        InstallationError: Parquet without pyarrow.
    """
    table = _csv_table(path) if path.suffix.lower() == ".csv" else _parquet_table(path)
    root = path.parent.resolve()
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, cells in table:
        row = _row(path, root, number, cells)
        if row.path in seen:
            raise _fault(path, number, "path", f"{row.path!r} stands in row {seen[row.path]} already", "keep one row")
        seen[row.path] = number
        rows.append(row)
    return rows


def _fault(path: Path, row: int, column: str, what: str, remedy: str) -> DataError:
    shown = "".join(character if character.isprintable() else "?" for character in what[:200])
    return DataError(f"{path.name}, row {row}, column {column}: {shown}", remedy=remedy)


def _header(path: Path, names: Iterable[str]) -> list[str]:
    given = [ALIASES.get(name.strip().lower(), name.strip().lower()) for name in names]
    for need in ("path", "label"):
        if need not in given:
            raise DataError(
                f"{path.name} has no column {need}", remedy=f"its first row names the columns: {', '.join(COLUMNS)}"
            )
    for name in given:
        if name not in COLUMNS:
            raise _fault(
                path, 1, repr(name), "this column is not known", f"drop or rename it; known are {', '.join(COLUMNS)}"
            )
        if given.count(name) > 1:
            raise _fault(path, 1, name, "this column is there twice", "keep one of them")
    return given


def _csv_table(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)
            first = next(reader, None)
            if first is None:
                raise DataError(
                    f"{path.name} is empty", remedy=f"its first row names the columns: {', '.join(COLUMNS)}"
                )
            header = _header(path, first)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise _fault(
                        path,
                        reader.line_num,
                        header[min(len(cells), len(header) - 1)],
                        f"the row has {len(cells)} cells, the header {len(header)}",
                        "put cells with commas into double quotes",
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start})", remedy="save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path.name} is no CSV: {error}", remedy="save it as comma-separated CSV in UTF-8") from error


def _parquet_table(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InstallationError(
            f"{path.name} needs pyarrow, which is not installed",
            code=ErrorCode.ENVIRONMENT,
            remedy="pip install -e './client' -e '.[train]', or use a CSV",
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            header = _header(path, names)
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for record in batch.to_pylist():
                    number += 1
                    yield (
                        number,
                        {
                            known: _text(path, number, known, record[name])
                            for known, name in zip(header, names, strict=True)
                        },
                    )
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is no Parquet file: {error}", remedy="write it again, or use a CSV") from error


def _text(path: Path, row: int, column: str, value: Any) -> str:
    """A Parquet cell as the text that a CSV would hold."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value and column == "commercial" else str(int(value))
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    raise _fault(
        path, row, column, f"a {type(value).__name__} is no text and no whole number", "store the column as text"
    )


def _row(path: Path, root: Path, number: int, cells: Mapping[str, str]) -> Row:
    for column, value in cells.items():
        if len(value) > _LONGEST:
            raise _fault(path, number, column, f"the cell has {len(value)} characters", f"{_LONGEST} are allowed")
    told = {column: value.strip() for column, value in cells.items()}
    label = _LABELS.get(told["label"].lower())
    if label is None:
        raise _fault(path, number, "label", f"{told['label']!r} is no label", "write real or fake (or 0 and 1)")
    name = _checked_path(path, root, number, told["path"])
    medium = told.get("medium", "").lower() or medium_of(name)
    if medium not in SUFFIXES:
        raise _fault(
            path,
            number,
            "medium",
            f"{medium or name!r} is not known as a medium",
            "write image, video or audio, or use a usual suffix",
        )
    split = told.get("split", "").lower()
    if split not in ("", "train", "val"):
        raise _fault(path, number, "split", f"{split!r} is no split", "write train, val, or nothing")
    answer = _ANSWERS.get(told.get("commercial", "").lower())
    if answer is None:
        raise _fault(path, number, "commercial", f"{told['commercial']!r} is no answer", "write yes or no")
    word = "fake" if label else "real"
    return Row(
        path=name,
        label=label,
        source=told.get("source") or told.get("generator") or word,
        identities=tuple(dict.fromkeys(told.get("identity", "").split())),
        licence=told.get("licence") or "unknown",
        commercial=answer,
        medium=medium,
        split=split,
        generator=told.get("generator", ""),
    )


def _checked_path(path: Path, root: Path, number: int, value: str) -> str:
    """A path inside the manifest's folder, with forward slashes; a manifest may come from anywhere."""
    if not value or not value.isprintable():
        raise _fault(path, number, "path", f"{value!r} is no path", "write the path of a file beside the manifest")
    name = value.replace("\\", "/")
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in posix.parts
    try:
        resolved = (root / posix).resolve()
        outside = outside or resolved == root or not resolved.is_relative_to(root)
    except (OSError, RuntimeError, ValueError) as error:
        raise _fault(path, number, "path", f"{value!r} cannot be followed: {error}", "name a plain file") from error
    if outside:
        raise _fault(
            path,
            number,
            "path",
            f"{value!r} leaves the manifest's folder",
            "put the file below the manifest and write its path relative to it",
        )
    return posix.as_posix()


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write ``rows`` with all ``COLUMNS``; the suffix chooses CSV or Parquet.

    Raises:
        DataError: another suffix.
    """
    cells = [
        (
            row.path,
            "fake" if row.label else "real",
            row.source,
            row.generator,
            " ".join(row.identities),
            row.licence,
            row.commercial,
            row.split,
            row.medium,
        )
        for row in rows
    ]
    if path.suffix.lower() == ".csv":
        with path.open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([COLUMNS, *cells])
    elif path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        columns = {name: [cell[place] for cell in cells] for place, name in enumerate(COLUMNS)}
        parquet.write_table(arrow.table({name: arrow.array(c, arrow.string()) for name, c in columns.items()}), path)
    else:
        raise DataError(f"{path.name} is neither .csv nor .parquet", remedy="name a .csv or a .parquet file")
