"""Many faces: mosaics made from a labelled folder, ``python -m benchmarks.crowds FOLDER``.

Mosaics of 1, 2, 10 and 30 real faces, and of one fake among nine real faces, are judged in this process; the shares
that were flagged are printed with Wilson limits.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cards.repository import ModelRepository
from deepscan.labelled import read_items
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Verdict
from pipelines.assessment.crowds import SIZES, CrowdRow, face_tile, measure_crowds
from pipelines.assessment.curves import Share
from pipelines.assessment.damage import Condition
from pipelines.assessment.local import Labelled, LocalJudge, judge_photos


class Crowds(BaseModel):
    """What ``--json`` writes."""

    created: str
    data: str
    weights: dict[str, str]
    """Record of each model that spoke."""
    faces: dict[str, int]
    """Faces of each class that mosaics were made of."""
    rows: tuple[CrowdRow, ...]


def gather(
    judge: LocalJudge, items: list[Labelled], progress: Progress, most: int
) -> tuple[dict[bool, list[NDArray[np.uint8]]], dict[str, str]]:
    """Tiles of the largest face of each photo, by class, and the records that spoke."""
    tiles: dict[bool, list[NDArray[np.uint8]]] = {False: [], True: []}
    spoke: dict[str, str] = {}
    rng = np.random.default_rng(1)
    for fake in (False, True):
        members = [item for item in items if item.fake is fake]
        some = [members[place] for place in rng.permutation(len(members))[:most]]
        task = progress.add_task(f"{'fake' if fake else 'real'} faces", total=len(some))
        for _, pixels, answers in judge_photos(judge, some, (Condition("none"),)):
            progress.advance(task)
            if pixels is None or not isinstance(answers[0], Verdict) or not answers[0].faces:
                continue
            spoke.update({model.name: model.record for model in answers[0].models})
            cut = face_tile(pixels, answers[0].faces[0].box)
            if cut is not None:
                tiles[fake].append(cut)
    return tiles, spoke


def _cell(share: Share | None) -> str:
    if share is None or share.value is None:
        return "–"
    return f"{share.value:.3f} [{share.low:.2f} {share.high:.2f}]"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write. Exit status 2 where the folder cannot be used."""
    parser = argparse.ArgumentParser(prog="crowds", description=__doc__)
    parser.add_argument("folder", type=Path, help="<group>/{real,fake}/*, or a manifest")
    parser.add_argument("--manifest", type=Path, help="CSV or JSON lines: path, label, group")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--mosaics", type=int, default=100, help="of each make")
    parser.add_argument("--faces", type=int, default=300, help="photos of each class to take faces from")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        found = read_items(options.folder, options.manifest)
        items = [Labelled(Path(item.found.path), item.fake, item.group) for item in found]
        judge = LocalJudge(ModelRepository(options.models))
        with Progress(console=console) as progress:
            tiles, spoke = gather(judge, items, progress, options.faces)
            task = progress.add_task("mosaics", total=options.mosaics * (len(SIZES) + 1))
            rows = measure_crowds(
                tiles[False],
                tiles[True],
                judge.verdict_of_picture,
                options.mosaics,
                seen=lambda: progress.advance(task),
            )
    except DeepScanError as error:
        console.print(f"{error.message}\n{error.remedy}".rstrip(), markup=False, style="red")
        return 2
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("real", "fake", "faces found", "flagged", "fake face first"):
        table.add_column(name, justify="right")
    for row in rows:
        pointed = _cell(row.pointed)
        table.add_row(str(row.real), str(row.fake), f"{row.faces_found:.1f}", _cell(row.flagged), pointed)
    Console().print(table)
    if options.json is not None:
        result = Crowds(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            data=(options.manifest or options.folder).resolve().name,
            weights=spoke,
            faces={"real": len(tiles[False]), "fake": len(tiles[True])},
            rows=tuple(rows),
        )
        options.json.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
