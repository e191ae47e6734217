"""Measure a repository on a folder of groups, in process, and write what was measured into its records.

``python -m export.measure DATA/dev/images`` reads ``<group>/{real,fake}/*``, judges each photo as the server would, and
prints one row for each group: of the verdict, and of each network alone. ``--record`` puts the rows into the records
of the networks and then renews the record of ``image_verdict``, whose fusion names the records that it was fitted with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cards.record import Fusion, GroupResult, VersionRecord
from cards.repository import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.errors import DeepScanError
from export.record import git_revision, now, write_record
from pipelines.evaluation import Judged, group_results
from pipelines.fusion import sigmoid
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.metrics import mean_of
from pipelines.onnx_infer import OnnxInfer
from training.report import FusedFit

VERDICT = "image_verdict"


def judge_folder(folder: Path, repository: ModelRepository) -> dict[str, list[Judged]]:
    """Judge each photo of ``<group>/{real,fake}/``: by the verdict, and by each network alone (its strongest face)."""
    analyzer, judge = PhotoAnalyzer(repository, OnnxInfer(repository)), PhotoJudge(repository)
    networks = [name for name in repository.card("image_faces").calls if name != "face_detector"]
    rows: dict[str, list[Judged]] = {name: [] for name in (VERDICT, *networks)}
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        for fake, word in enumerate(("real", "fake")):
            for file in sorted((group / word).glob("*")):
                scores: dict[str, float | None] = {}
                label = Label.INCONCLUSIVE
                try:
                    verdict = analyze_image(file.read_bytes(), analyzer, judge)
                except DeepScanError:
                    pass
                else:
                    scores = {row.name: sigmoid(row.score) for row in verdict.evidence}
                    scores[VERDICT] = verdict.fake_probability
                    label = verdict.label
                for name, kept in rows.items():
                    kept.append(Judged(group=group.name, fake=bool(fake), probability=scores.get(name), label=label))
    return rows


def renew_record(
    repository: ModelRepository, model: str, changes: Mapping[str, Any], version: int | None = None
) -> None:
    """Write a record again with some fields changed."""
    folder = repository.folder(model, version)
    told = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    write_record(folder, VersionRecord.model_validate({**told, **changes}))


def write_fusion(
    repository: ModelRepository, fused: FusedFit, evaluation: Sequence[GroupResult] = (), evaluated_on: str = ""
) -> Path:
    """Write the record of ``image_verdict``: the weights of its members and the hashes of their records."""
    folder = repository.folder(VERDICT)
    fit = fused.fit
    fusion = Fusion(
        members={name: repository.record_hash(name) for name in fused.weights},
        weights=fused.weights,
        bias=fused.bias,
        rule=fused.rule,
        slope=fused.slope,
        instead=fused.instead,
        refits=fit.refits,
        real_quantiles=fit.real_quantiles,
        operating_points=fit.operating_points,
        default_operating_point=fit.default_operating_point,
        fitted_on=fit.fitted_on,
    )
    members = [repository.record(name) for name in fused.weights]
    commercial = all(bool(member.commercial) for member in members)
    record = VersionRecord(
        model=VERDICT,
        version=repository.latest(VERDICT),
        created=now(),
        git_revision=git_revision(),
        licence=next((member.licence for member in members if not member.commercial), members[0].licence),
        commercial=commercial,
        fusion=fusion,
        evaluation=tuple(evaluation),
        evaluated_on=evaluated_on,
    )
    return write_record(folder, record)


def main(arguments: list[str] | None = None) -> int:
    """Judge a folder of groups and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="<group>/{real,fake}/*")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--record", type=Path, metavar="FUSED", help="what training.fuse wrote: write records")
    options = parser.parse_args(arguments)
    repository = ModelRepository(options.models)
    fused = FusedFit.read(options.record) if options.record else None
    if fused:
        write_fusion(repository, fused)  # labels below are those of the new thresholds
    judged = judge_folder(options.folder, repository)
    tables = {name: group_results(rows) for name, rows in judged.items()}
    for name, results in tables.items():
        print(name)
        for result in results:
            print(" ", result.model_dump_json(exclude_defaults=True))
        print("  mean AUC", round(mean_of([result.auc for result in results if result.auc is not None]), 4))
    if fused:
        told = f"{options.folder.parent.name}/{options.folder.name}, in process, {len(judged[VERDICT])} photos"
        for name in fused.weights:
            alone = [result.model_copy(update={"false_positive_rate": None}) for result in tables[name]]
            renew_record(repository, name, {"evaluation": alone, "evaluated_on": told})
        write_fusion(repository, fused, tables[VERDICT], told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
