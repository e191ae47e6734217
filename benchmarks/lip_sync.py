"""Measure the lip-sync network by folds: ``python -m benchmarks.lip_sync RUN`` writes ``results/lip_sync.json``.

``RUN`` is a folder of ``training.sync.train`` with a model for each fold. No model judges what it learnt from.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from training.sync.batches import ready
from training.sync.cache import load
from training.sync.folds import groups_of
from training.sync.measure import SHIFTS, against_fakes, confidence_of, held_out, summary

TARGET = Path(__file__).parent / "results" / "lip_sync.json"
MUST, AIM = 0.70, 0.85


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the main figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/sync"))
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    clips = load(options.cache)
    groups = groups_of(clips)
    talks = [ready(clip, group) for clip, group in zip(clips, groups)]
    found = held_out(options.run, [talk for talk in talks if not talk.label], talks)
    told = summary(found)
    fakes = held_out(options.run, [talk for talk in talks if talk.label], talks)
    result = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "must": MUST,
        "aim": AIM,
        "shifts": SHIFTS,
        "offset": told,
        "met": {name: told[name] >= MUST for name in ("right", "right_of_own", "right_of_own_within_3")},
    }
    if fakes:
        generators = {clip.path: clip.source for clip in clips}
        result["confidence_against_fakes"] = against_fakes(confidence_of(found), confidence_of(fakes), generators)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    shown = ("windows", "clips", "right", "right_of_own", "right_of_own_within_3", "right_of_own_by_shift")
    for name in (*shown, "right_of_own_mean_over_clips", "change_right"):
        print(f"{name}: {told[name]}")
    if fakes:
        print(f"confidence against fakes: {result['confidence_against_fakes']['all']}")  # type: ignore[index]
    return 0


if __name__ == "__main__":
    sys.exit(main())
