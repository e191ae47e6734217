"""Write the record of ``deepfake_video``: ``python -m export.video_verdict``.

``training.video.fit`` fitted the fusion; here the hashes of its members' records are filled in. Run it again whenever a
member's record has changed and its weights have not; where they have, score and fit the clips again first.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cards.record import Fusion, GroupResult, VersionRecord
from cards.repository import ModelRepository
from export.record import git_revision, now, write_record
from pipelines.video.verdict import MODEL
from training.report import RESEARCH


def write_video_verdict(
    repository: ModelRepository, fusion: Fusion, evaluation: tuple[GroupResult, ...] = (), evaluated_on: str = ""
) -> Path:
    """Write the record, and return its path; the newest version of each member must stand in the repository."""
    versions = repository.versions(MODEL)
    version = versions[-1] if versions else 1
    record = VersionRecord(
        model=MODEL,
        version=version,
        created=now(),
        git_revision=git_revision(),
        # The clips that weights and thresholds were fitted on are for research, whatever the members allow.
        licence=RESEARCH,
        commercial=False,
        fusion=fusion.model_copy(update={"members": {name: repository.record_hash(name) for name in fusion.members}}),
        evaluation=evaluation,
        evaluated_on=evaluated_on,
    )
    folder = repository.root / MODEL / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    return write_record(folder, record)


def groups_of(report: dict[str, object]) -> tuple[GroupResult, ...]:
    """The measured table of a fit, for the record."""
    told = report["verdict"]
    assert isinstance(told, dict)
    counts = {"real": int(str(report["real"])), "fake": int(str(report["clips"])) - int(str(report["real"]))}
    return (
        GroupResult(
            group="train/videos, folds by source and person",
            **counts,
            auc=told["auc"],
            auc_low=told["auc_low"],
            auc_high=told["auc_high"],
            eer=told["eer"],
            tpr_at_fpr_5=told["tpr_at_fpr_5"],
            false_positive_rate=told["flagged_reals"],
        ),
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the record of a repository's video verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fusion", type=Path, default=Path(".cache/video/fusion.json"))
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results/video_folds.json"))
    parser.add_argument("--models", type=Path, help="model repository")
    options = parser.parse_args(arguments)
    fusion = Fusion.model_validate_json(options.fusion.read_text(encoding="utf-8"))
    report = json.loads(options.report.read_text(encoding="utf-8"))
    write_video_verdict(
        ModelRepository(options.models), fusion, groups_of(report), "each clip by weights and thresholds of other folds"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
