"""Put what ``training.novelty`` fitted into an exported version: ``python -m export.novelty RUN``.

The file is copied into the version folder and its hash and limits into the record. Weights and calibration do not
change, so the fusion of ``image_verdict`` is told the new hash of its member's record.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from cards.record import Novelty
from cards.repository import ModelRepository
from export.measure import VERDICT, renew_record
from export.record import hashes
from training.novelty import TOLD
from training.report import settings_of


def install(run: Path, repository: ModelRepository, model: str) -> None:
    """Copy the parameters of a run into the newest version of a network, and renew the records.

    Raises:
        FileNotFoundError: the run has none.
    """
    novelty = Novelty.model_validate_json((run / TOLD).read_text(encoding="utf-8"))
    folder = repository.folder(model)
    before = repository.record_hash(model)
    shutil.copyfile(run / novelty.file, folder / novelty.file)
    renew_record(repository, model, {"novelty": novelty, "files": hashes(folder)})
    fusion = repository.record(VERDICT).fusion if repository.has_record(VERDICT) else None
    if fusion is not None and fusion.members.get(model) == before:
        members = {**fusion.members, model: repository.record_hash(model)}
        renew_record(repository, VERDICT, {"fusion": fusion.model_copy(update={"members": members})})


def main(arguments: list[str] | None = None) -> int:
    """Install the parameters of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, where training.novelty wrote beside last.pt")
    parser.add_argument("--models", type=Path, help="model repository")
    options = parser.parse_args(arguments)
    install(options.run, ModelRepository(options.models), settings_of(options.run / "last.pt")[0].network)
    return 0


if __name__ == "__main__":
    sys.exit(main())
