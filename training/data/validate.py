"""Check a data set before training: ``deepscan data DATA`` (broken files, duplicates, balance, sizes, licences).

Photos go through the probe and the decoder that serving uses, so what is called broken here would be refused there.
A file that cannot be read is a line of the report and never its end.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from deepscan_client.errors import DeepScanError
from training.data.file_facts import Facts, read_facts
from training.data.layout import data_root, read_data
from training.data.manifest import Row
from training.data.validate_findings import (
    balance_of,
    balance_problems,
    copy_problems,
    format_problems,
    licence_problems,
)
from training.data.validate_report import Problem, Report, SourceFacts
from training.data.validate_show import progress, show


def validate(rows: Sequence[Row], root: Path, advance: Callable[[str], None] = lambda path: None) -> Report:
    """Read every file once and report.

    Args:
        rows: from ``read_data``; root: the folder that their paths are relative to.
        advance: called with each path when it is done.
    """

    def look(row: Row) -> Facts | Problem:
        found = read_facts(root / row.path, row)
        advance(row.path)
        return found

    with ThreadPoolExecutor(max_workers=2) as pool:
        looked = list(pool.map(look, rows))
    problems = [found for found in looked if isinstance(found, Problem)]
    known = [(row, found) for row, found in zip(rows, looked, strict=True) if isinstance(found, Facts)]
    problems += copy_problems(known) + balance_problems(known) + format_problems(known) + licence_problems(rows)
    return Report(
        items=len(rows),
        readable=len(known),
        balance=balance_of(known),
        sources=_sources(rows, known),
        problems=tuple(sorted(problems, key=lambda problem: (problem.severity, problem.kind, problem.paths))),
    )


def _sources(rows: Sequence[Row], known: Sequence[tuple[Row, Facts]]) -> tuple[SourceFacts, ...]:
    def spread(values: Sequence[float]) -> tuple[float, float, float]:
        return min(values), float(np.median(values)), max(values)

    everything: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    readable: dict[tuple[str, int, str], list[Facts]] = defaultdict(list)
    for row in rows:
        everything[row.medium, row.label, row.source].append(row)
    for row, facts in known:
        readable[row.medium, row.label, row.source].append(facts)
    told = []
    for (medium, label, source), members in sorted(everything.items()):
        files = readable[medium, label, source]
        sides, seconds = [f.side for f in files if f.side], [f.seconds for f in files if f.seconds]
        low, middle, high = spread(sides) if sides else (0, 0, 0)
        shortest, usual, longest = spread(seconds) if seconds else (0.0, 0.0, 0.0)
        told.append(
            SourceFacts(
                source=source,
                label="fake" if label else "real",
                medium=medium,
                items=len(members),
                readable=len(files),
                side=(int(low), int(middle), int(high)) if sides else None,
                seconds=(round(shortest, 2), round(usual, 2), round(longest, 2)) if seconds else None,
                median_bytes=int(np.median([f.bytes for f in files])) if files else 0,
                formats=dict(Counter(f.format for f in files).most_common()),
                licence=" | ".join(sorted({row.licence for row in members})),
                commercial=" | ".join(sorted({row.commercial for row in members})),
            )
        )
    return tuple(told)


def main(arguments: list[str] | None = None) -> int:
    """``deepscan data``: 0 nothing must be fixed, 1 something must, 2 the data cannot be read at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", type=Path, help="folder in the founding or the shared layout, or a CSV or Parquet manifest"
    )
    parser.add_argument("--licences", choices=("all", "permissive"), default="all")
    parser.add_argument("--medium", choices=("image", "video", "audio"))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        rows = read_data(options.data, options.licences, options.medium)
    except DeepScanError as error:
        print(f"error: {error.message}\nremedy: {error.remedy}", file=sys.stderr)
        return 2
    with progress(len(rows)) as advance:
        report = validate(rows, data_root(options.data), advance)
    if options.json:
        print(report.model_dump_json(indent=2))
    else:
        show(report)
    return 1 if report.must_fix else 0


if __name__ == "__main__":
    sys.exit(main())
