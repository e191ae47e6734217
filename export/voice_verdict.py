"""Write the record of ``audio_verdict``: ``python -m export.voice_verdict RUN/fusion.json``.

``training.audio.calibrate`` fitted the fusion; here the hashes of its members' records are filled in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cards.record import Fusion, GroupResult, VersionRecord
from cards.repository import ModelRepository
from export.record import git_revision, now, write_record

VERDICT = "audio_verdict"


def write_voice_verdict(
    repository: ModelRepository, fusion: Fusion, evaluation: Sequence[GroupResult] = (), evaluated_on: str = ""
) -> Path:
    """Write the record, and return its path; the newest version of each member must stand in the repository."""
    members = {name: repository.record(name) for name in fusion.members}
    commercial = all(bool(member.commercial) for member in members.values())
    forbidding = [member.licence for member in members.values() if not member.commercial]
    versions = repository.versions(VERDICT)
    version = versions[-1] if versions else 1
    record = VersionRecord(
        model=VERDICT,
        version=version,
        created=now(),
        git_revision=git_revision(),
        licence=forbidding[0] if forbidding else next(iter(members.values())).licence,
        commercial=commercial,
        fusion=fusion.model_copy(update={"members": {name: repository.record_hash(name) for name in members}}),
        evaluation=tuple(evaluation),
        evaluated_on=evaluated_on,
    )
    folder = repository.root / VERDICT / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    return write_record(folder, record)


def main(arguments: list[str] | None = None) -> int:
    """Write the record of a repository's audio verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fusion", type=Path, help="fusion.json of a run")
    parser.add_argument("--models", type=Path, help="model repository")
    options = parser.parse_args(arguments)
    fusion = Fusion.model_validate_json(options.fusion.read_text(encoding="utf-8"))
    write_voice_verdict(ModelRepository(options.models), fusion)
    return 0


if __name__ == "__main__":
    sys.exit(main())
