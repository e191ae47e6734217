"""Measure a repository on a folder of groups, in process, and write what was measured into its records.

``python -m export.measure DATA/dev/images`` reads ``<group>/{real,fake}/*``, judges each photo as the server would, and
prints one row for each group. ``--record`` puts the rows into the record of ``frame_cnn`` and then renews the record of
``image_verdict``, whose fusion names the records that it was fitted with.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cards.record import Fusion, VersionRecord
from cards.repository import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.errors import DeepScanError
from export.record import git_revision, now, write_record
from pipelines.evaluation import Judged, group_results
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.metrics import mean_of
from pipelines.onnx_infer import OnnxInfer
from training.report import Fit

MEMBER, VERDICT = "frame_cnn", "image_verdict"


def judge_folder(folder: Path, repository: ModelRepository) -> list[Judged]:
    """Judge each photo of ``<group>/{real,fake}/``."""
    analyzer, judge = PhotoAnalyzer(repository, OnnxInfer(repository)), PhotoJudge(repository)
    rows = []
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        for fake, word in enumerate(("real", "fake")):
            for file in sorted((group / word).glob("*")):
                try:
                    verdict = analyze_image(file.read_bytes(), analyzer, judge)
                except DeepScanError:
                    rows.append(Judged(group=group.name, fake=bool(fake), probability=None, label=Label.INCONCLUSIVE))
                    continue
                rows.append(
                    Judged(
                        group=group.name,
                        fake=bool(fake),
                        probability=verdict.fake_probability,
                        label=verdict.label,
                    )
                )
    return rows


def renew_record(repository: ModelRepository, model: str, changes: dict[str, Any], version: int | None = None) -> None:
    """Write a record again with some fields changed."""
    folder = repository.folder(model, version)
    told = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    write_record(folder, VersionRecord.model_validate({**told, **changes}))


def write_fusion(repository: ModelRepository, fit: Fit) -> Path:
    """Write the record of ``image_verdict``: one member for now, so the fused log-odds are its calibrated log-odds."""
    folder = repository.folder(VERDICT)
    fusion = Fusion(
        members={MEMBER: repository.record_hash(MEMBER)},
        weights={MEMBER: 1.0},
        refits=fit.refits,
        real_quantiles=fit.real_quantiles,
        operating_points=fit.operating_points,
        default_operating_point=fit.default_operating_point,
        fitted_on=fit.fitted_on,
    )
    member = repository.record(MEMBER)
    record = VersionRecord(
        model=VERDICT,
        version=repository.latest(VERDICT),
        created=now(),
        git_revision=git_revision(),
        licence=member.licence,
        commercial=member.commercial,
        fusion=fusion,
    )
    return write_record(folder, record)


def main(arguments: list[str] | None = None) -> int:
    """Judge a folder of groups and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="<group>/{real,fake}/*")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--record", type=Path, metavar="CALIBRATION", help="calibration.json of the run: write records")
    options = parser.parse_args(arguments)
    repository = ModelRepository(options.models)
    fit = Fit.read(options.record) if options.record else None
    if fit:
        write_fusion(repository, fit)  # labels below are those of the new thresholds
    rows = judge_folder(options.folder, repository)
    results = group_results(rows)
    for result in results:
        print(result.model_dump_json(exclude_defaults=True))
    print("mean AUC", round(mean_of([result.auc for result in results if result.auc is not None]), 4))
    if fit:
        told = f"{options.folder.parent.name}/{options.folder.name}, in process, {len(rows)} photos"
        renew_record(repository, MEMBER, {"evaluation": results, "evaluated_on": told})
        write_fusion(repository, fit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
