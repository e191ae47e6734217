"""Finds the verdict's timeline the seconds that were replaced? ``python -m benchmarks.voice_partial``.

One or two seconds of real clips are replaced by a copy synthesis of the same words (``training.audio.splice``), matched
in level and channel, by families of vocoders that the measured models must not have heard: with ``--run`` the cepstral
heads are fitted anew without them, and the speakers are new too (``benchmarks.voice_fold_model``). What the records say
they were trained on is compared with that. Frames are cells of 32 ms inside the timeline; their score is the timeline's
probability. ``results/voice_partial.json`` gets the AUC over all frames and the mean of the clips' own, with intervals
over clips, and what the suspicious seconds hit; where several families are spliced, also of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.voice_fold_model import NETWORK, fold_repository, held_cache, left_out
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError, InputError
from deepscan_client.verdict import Verdict
from export.voice_verdict import VERDICT
from pipelines.assessment.curves import wilson
from pipelines.assessment.sound_damage import write_sound
from pipelines.assessment.voices import LocalVoiceJudge
from pipelines.metrics import auc
from training.audio.cache import load_voice_cache
from training.audio.sounds import Sound
from training.audio.splice import Spliced, spliced_clips

TARGET = Path(__file__).resolve().parent / "results" / "voice_partial.json"
CACHE = Path(".cache/voice")
MUST = 0.75
CELL_S = 512 / 16_000


@dataclass(frozen=True)
class Found:
    """One partial fake and what was said of it and of its untouched original.

    Attributes:
        truth: bool [cells], whether most of the cell is false; score: float64 [cells], NaN outside the timeline.
        hit: whether a suspicious stretch overlaps the false piece; alarm: whether the original has one.
    """

    truth: NDArray[np.bool_]
    score: NDArray[np.float64]
    hit: bool
    alarm: bool

    @property
    def auc(self) -> float:
        """Of this clip's frames alone; NaN where one kind is missing."""
        known = ~np.isnan(self.score)
        return auc(self.score[known], self.truth[known].astype(np.int64))


def raster(timeline: Sequence[tuple[float, float, float]], cells: int) -> NDArray[np.float64]:
    """The timeline's probability in each cell, NaN outside its stretches."""
    score = np.full(cells, np.nan)
    centres = (np.arange(cells) + 0.5) * CELL_S
    for start, end, probability in timeline:
        score[(centres >= start) & (centres < end)] = probability
    return score


def overlaps(stretches: Sequence[tuple[float, float]], start: float, stop: float) -> bool:
    """Whether one of the stretches shares time with an interval."""
    return any(begin < stop and end > start for begin, end in stretches)


def find(judge: LocalVoiceJudge, spliced: Spliced, original: Sound) -> Found | None:
    """Judge a partial fake and its original; None where either cannot be judged."""
    try:
        verdict, clean = (_verdict(judge, samples) for samples in (spliced.samples, original))
    except InputError:
        return None
    mask = spliced.mask(512)
    return Found(
        truth=mask > 0.5,
        score=raster(verdict.timeline, len(mask)),
        hit=overlaps(verdict.suspicious, spliced.start, spliced.stop),
        alarm=bool(clean.suspicious),
    )


def _verdict(judge: LocalVoiceJudge, samples: Sound) -> Verdict:
    return judge.verdict(write_sound(samples, "wav", "pcm_s16le"))


def pooled_auc(found: Sequence[Found]) -> float:
    """AUC over the frames of all clips together."""
    score, truth = (np.concatenate([getattr(each, name) for each in found]) for name in ("score", "truth"))
    known = ~np.isnan(score)
    return auc(score[known], truth[known].astype(np.int64))


def mean_auc(found: Sequence[Found]) -> float:
    """Mean over the clips of the AUC of their own frames: does the timeline peak at the right place?"""
    own = np.array([each.auc for each in found])
    return float(np.nanmean(own)) if np.isfinite(own).any() else float("nan")


def summary(found: Sequence[Found], rounds: int = 500, seed: int = 7) -> dict[str, Any]:
    """Both AUC with 95 % intervals over clips, and what the suspicious seconds are worth."""
    rng = np.random.default_rng(seed)
    drawn = [[found[int(place)] for place in rng.integers(0, len(found), len(found))] for _ in range(rounds)]
    told: dict[str, Any] = {"clips": len(found), "frames": int(sum(np.isfinite(each.score).sum() for each in found))}
    for name, measure in (("frame_auc", pooled_auc), ("frame_auc_within_clip", mean_auc)):
        low, high = np.nanquantile([measure(sample) for sample in drawn], [0.025, 0.975])
        told[name] = {"value": round(measure(found), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
    told["pieces_hit"] = wilson(sum(each.hit for each in found), len(found)).model_dump()
    told["originals_with_suspicious_seconds"] = wilson(sum(each.alarm for each in found), len(found)).model_dump()
    return told


def heard_in_training(repository: ModelRepository, generators: set[str]) -> list[str]:
    """Networks whose record names one of the generators among their training data."""
    heard = []
    for name in repository.names():
        card = repository.card(name)
        if card.family == "audio" and repository.versions(name) and repository.has_record(name):
            sources = repository.record(name).trained_on
            if any(source.generator in generators or source.source in generators for source in sources):
                heard.append(name)
    return heard


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where the must is missed, 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voice_partial", description=__doc__)
    parser.add_argument("--run", type=Path, help="of voice_cepstra: measure its fold that leaves the family out")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--cache", type=Path, default=CACHE, help="what python -m training.audio.prepare wrote")
    parser.add_argument("--family", nargs="+", help="of vocoders (default: those that the members have not heard)")
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    repository = ModelRepository(options.models)
    with tempfile.TemporaryDirectory(prefix="partial-") as folder:
        try:
            cache = load_voice_cache(options.cache)
            fusion = repository.record(VERDICT).fusion
            members = fusion.members if fusion else {NETWORK: ""}
            families = options.family or left_out(cache, members)[2]
            if options.run is not None:
                repository = fold_repository(options.run, cache, Path(folder) / "models", repository)
                cache = held_cache(cache, members)
            share = -(-options.clips // len(families))
            clips = {family: spliced_clips(cache, family, share) for family in families}
        except (FileNotFoundError, ValueError, DeepScanError) as error:
            console.print(str(error), style="red", markup=False, highlight=False)
            return 2
        judge = LocalVoiceJudge(repository)
        by_family = {
            family: [each for each in (find(judge, made, cache.samples(row)) for row, made in some) if each is not None]
            for family, some in clips.items()
        }
        generators = {row.generator for row in cache.rows if row.family in families}
        heard = heard_in_training(repository, generators | set(families))
    found = [each for some in by_family.values() for each in some]
    family = ", ".join(families)
    if not found:
        console.print(f"no clip of {family} could be judged", style="red", markup=False)
        return 2
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "family": family,
        "generators": sorted(generators),
        "heard_in_training_by": heard,
        "must": {"frame_auc": MUST},
        **summary(found),
        "by_family": {name: summary(some) for name, some in by_family.items() if len(by_family) > 1 and some},
    }
    content["met"] = content["frame_auc"]["value"] >= MUST
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print_json(json.dumps(content))
    return int(not content["met"])


if __name__ == "__main__":
    sys.exit(main())
