"""Measure the voice way on pages of recordings, in process, and write what was measured into the records.

``python -m export.measure_voice DATA/dev/audio`` reads ``<page>/{real,fake}/**``, judges each recording as the server
would and prints one row for each page: of the verdict and of each network alone. ``--record`` puts the rows into the
records of the networks and renews the record of ``audio_verdict``, which names them by their hashes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cards.record import Fusion
from cards.repository import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.errors import DeepScanError
from export.measure import renew_record
from export.voice_verdict import VERDICT, write_voice_verdict
from pipelines.audio.analyze import STAGE, VoiceAnalyzer, analyze_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.evaluation import Judged, group_results
from pipelines.fusion import sigmoid
from pipelines.onnx_infer import OnnxInfer
from training.data.layout import SUFFIXES


def judge_pages(folder: Path, repository: ModelRepository) -> dict[str, list[Judged]]:
    """Judge each recording of ``<page>/{real,fake}/**``: by the verdict, and by each network alone."""
    calls = [name for name in repository.card(STAGE).calls if name != "speaker_embedding"]
    analyzer = VoiceAnalyzer(repository, OnnxInfer(repository, threads=1), tuple(calls))
    judge = VoiceJudge(repository)
    networks = [name for name in calls if repository.card(name).family == "audio"]
    rows: dict[str, list[Judged]] = {name: [] for name in (VERDICT, *networks)}
    for page in sorted(path for path in folder.iterdir() if path.is_dir()):
        for fake, word in enumerate(("real", "fake")):
            for file in sorted(path for path in (page / word).rglob("*") if path.suffix.lower() in SUFFIXES["audio"]):
                scores: dict[str, float | None] = {}
                label = Label.INCONCLUSIVE
                try:
                    verdict = analyze_audio(file.read_bytes(), analyzer, judge)
                except DeepScanError:
                    pass
                else:
                    scores = {row.name: sigmoid(row.score) for row in verdict.evidence if row.name in networks}
                    scores[VERDICT] = verdict.fake_probability
                    label = verdict.label
                for name, kept in rows.items():
                    kept.append(Judged(group=page.name, fake=bool(fake), probability=scores.get(name), label=label))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge pages and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="<page>/{real,fake}/**")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--record", action="store_true", help="write the tables into the records")
    options = parser.parse_args(arguments)
    repository = ModelRepository(options.models)
    judged = judge_pages(options.folder, repository)
    tables = {name: group_results(rows) for name, rows in judged.items()}
    for name, results in tables.items():
        print(name)
        for result in results:
            print(" ", result.model_dump_json(exclude_defaults=True))
    if options.record:
        told = f"{options.folder.parent.name}/{options.folder.name}, in process, {len(judged[VERDICT])} recordings"
        record = json.loads((repository.folder(VERDICT) / "record.json").read_text(encoding="utf-8"))
        fusion = Fusion.model_validate(record["fusion"])
        for name in fusion.members:
            alone = [result.model_copy(update={"false_positive_rate": None}) for result in tables[name]]
            renew_record(repository, name, {"evaluation": alone, "evaluated_on": told})
        write_voice_verdict(repository, fusion, tables[VERDICT], told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
