"""What codecs, a telephone and noise do to the verdict on voices: ``python -m benchmarks.voice_robustness PATH...``.

Each PATH holds labelled recordings as ``deepscan evaluate`` reads them (``<group>/real``, ``<group>/fake``); with
``--reals`` come folders of real recordings alone. Everything runs in process, with the shipped models; the answer goes
to ``benchmarks/results/voice_robustness.json``. With ``--run NAME=RUN``, one for each member of the verdict, clips that
no member was trained on stand beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.voice_folds import GROUP, fold_rows
from cards.repository import ModelRepository
from deepscan.inputs import medium_of
from deepscan.labelled import read_items
from deepscan_client.codes import Medium
from deepscan_client.errors import DeepScanError
from pipelines.assessment.local import Labelled
from pipelines.assessment.voices import ALL, PAIRED, Heard, LocalVoiceJudge, SoundRow, sound_rows, sweep_sounds
from training.audio.sound_tracks import TRACKS

TARGET = Path(__file__).resolve().parent / "results" / "voice_robustness.json"
MUST_FLAGGED, MUST_CONCLUSIVE = 0.10, 0.60
MUST_AUC, AIM_AUC = 0.80, 0.90
SHOWN = (ALL, PAIRED, GROUP)
"""Rows that are printed and checked; those of single groups stand in the file."""
AUC_CONDITIONS = ("mp3 64 kbit/s", "opus 16 kbit/s", "white 20 dB", "babble 20 dB")


def recordings(paths: Sequence[Path], reals: Sequence[Path]) -> list[Labelled]:
    """Labelled recordings of folders and manifests, and real ones of plain folders.

    Raises:
        RequestError: a folder holds none.
    """
    found = [
        Labelled(Path(item.found.path), item.fake, item.group)
        for path in paths
        for item in read_items(path)
        if item.found.medium is Medium.AUDIO
    ]
    for folder in reals:
        files = sorted(path for path in folder.rglob("*") if medium_of(str(path)) is Medium.AUDIO)
        found += [Labelled(path, False, folder.name) for path in files]
    return found


def checks(rows: Sequence[SoundRow]) -> list[dict[str, Any]]:
    """The limits of the issue: on all reals, and on the AUC of groups that hold both classes."""
    told: list[dict[str, Any]] = []

    def check(row: SoundRow, kind: str, name: str, limit: float, measured: float | None, met: bool) -> None:
        shown = None if measured is None else round(measured, 4)
        told.append(
            {"condition": row.condition, "group": row.group, "kind": kind, "name": name}
            | {"limit": limit, "measured": shown, "met": met}
        )

    groups = {row.group for row in rows}
    for row in rows:
        if row.group not in SHOWN:
            continue
        flagged, conclusive, area = row.flagged.value, row.conclusive.value, row.auc.value
        if row.group != PAIRED and row.condition != "none" and flagged is not None and conclusive is not None:
            check(row, "must", "reals_flagged", MUST_FLAGGED, flagged, flagged <= MUST_FLAGGED)
            if not row.condition.endswith("10 dB"):
                check(row, "must", "reals_conclusive", MUST_CONCLUSIVE, conclusive, conclusive >= MUST_CONCLUSIVE)
        if row.group == ALL and PAIRED in groups:
            continue
        if row.condition in AUC_CONDITIONS and area is not None:
            check(row, "must", "auc", MUST_AUC, area, area >= MUST_AUC)
            check(row, "aim", "auc", AIM_AUC, area, area >= AIM_AUC)
    return told


def result(swept: dict[str, list[Heard]], more: Sequence[SoundRow] = (), rounds: int = 1000) -> dict[str, Any]:
    """The content of the result file; ``more`` are rows that were measured elsewhere."""
    rows = [*sound_rows(swept, rounds), *more]
    verdicts = [each.verdict for heard in swept.values() for each in heard if each.verdict is not None]
    models = sorted({(m.name, m.version, m.record) for verdict in verdicts for m in verdict.models})
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": [dict(zip(("name", "version", "record"), model)) for model in models],
        "thresholds": sorted({verdict.operating_point.threshold for verdict in verdicts}),
        "rows": [_rounded(row.model_dump()) for row in rows],
        "checks": checks(rows),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows over all recordings and those out of fold, as a table."""
    table = Table(box=None, header_style="bold")
    for name in ("condition", "group", "reals flagged", "conclusive", "fakes found", "AUC", "unscored"):
        table.add_column(name, justify="left" if name in ("condition", "group") else "right")
    for row in rows:
        if row["group"] in SHOWN:
            table.add_row(
                row["condition"],
                row["group"],
                *(_percent(row[name]) for name in ("flagged", "conclusive", "found")),
                _interval(row["auc"]),
                str(row["unscored"]),
            )
    console.print(table)


def _percent(share: dict[str, Any]) -> str:
    return "–" if share["value"] is None else f"{100 * share['value']:.1f} % of {share['total']}"


def _interval(measured: dict[str, Any]) -> str:
    if measured["value"] is None:
        return "–"
    return f"{measured['value']:.3f} [{measured['low']:.2f} {measured['high']:.2f}]"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where a must is missed, 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voice_robustness", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="labelled recordings")
    parser.add_argument("--reals", nargs="*", type=Path, default=[], help="folders of real recordings")
    parser.add_argument("--run", nargs="+", default=[], metavar="NAME=RUN", help="of each member of the verdict")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"), help="of training speech, for --run")
    parser.add_argument("--tracks", type=Path, default=TRACKS, help="speech of other sources, for --run")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        items = recordings(options.paths, options.reals)
        if not items:
            parser.error("there are no recordings")
        repository = ModelRepository(options.models)
        runs = {name: Path(run) for name, _, run in (each.partition("=") for each in options.run)}
        more = fold_rows(runs, options.cache, repository, options.tracks) if runs else []
        swept = sweep_sounds(LocalVoiceJudge(repository), items, workers=options.workers)
    except (DeepScanError, FileNotFoundError) as error:
        told = f"{error.message}\n{error.remedy}" if isinstance(error, DeepScanError) else str(error)
        console.print(told, style="red", markup=False, highlight=False)
        return 2
    content = result(swept, more)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    show(console, content["rows"])
    missed = [check for check in content["checks"] if check["kind"] == "must" and not check["met"]]
    for check in missed:
        where = f"{check['condition']} ({check['group']})"
        console.print(f"missed: {where} {check['name']} {check['measured']} (limit {check['limit']})", highlight=False)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
