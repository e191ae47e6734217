"""Measure voice networks alone, as they are served: ``python -m export.measure_voice_families voice_mfcc ...``.

They hear what stood aside from every training (``training.audio.members``): other speakers with copies by vocoders that
trained nothing and speech of whole synthesisers, and real speech of other sources with such copies, clean and through
codecs and noise. The rows go into their records and into ``benchmarks/results/families.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cards.record import Calibration, GroupResult
from cards.repository import ModelRepository
from export import generate
from export.measure_families import TARGET, keep, result
from training.audio.cache import load_voice_cache
from training.audio.conditions import CONDITIONS
from training.audio.members import SHIPPED, Members, hear_members

TOLD = "speech that trained no voice network: copies by left-out families of vocoders and whole synthesisers"


def rows_of(part: Members, name: str, group: str, calibration: Calibration | None) -> tuple[GroupResult, ...]:
    """Rows of one network for a set: clean, and under the other conditions together; intervals draw real clips."""
    logits, labels = part.logits[:, part.names.index(name)], part.scored.label
    clean = part.scored.condition == CONDITIONS.index("clean")
    return tuple(
        result(f"{group}, {told}", logits[some], labels[some], part.own[some], calibration=calibration)
        for told, some in (("clean", clean), ("through codecs and noise", ~clean))
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure networks and write records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"), help="of training.audio.prepare")
    parser.add_argument(
        "--tracks", type=Path, default=Path(".cache/voice_tracks"), help="of training.audio.sound_tracks"
    )
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    repository = ModelRepository()
    caches = load_voice_cache(options.cache), load_voice_cache(options.tracks)
    parts = hear_members(dict.fromkeys(options.networks, SHIPPED), *caches)
    table = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for name in options.networks:
        calibration = repository.record(name).calibration
        rows = [
            row
            for part, group in zip(parts, ("other speakers", "other sources"), strict=True)
            for row in rows_of(part, name, group, calibration)
        ]
        keep(repository, table, name, rows, TOLD)
        for row in rows:
            print(f"{name}: {row.group}: AUC {row.auc} ({row.auc_low} to {row.auc_high}), accuracy {row.accuracy}")
    options.out.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n", encoding="utf-8")
    generate.write(repository)
    return 0


if __name__ == "__main__":
    sys.exit(main())
