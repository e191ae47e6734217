"""The README's part on videos, from what the commands wrote; what was not measured yet has no line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Read = Callable[[str], dict[str, Any] | None]
"""Reads one file of ``benchmarks/results/``, None where it is not there."""


def lines_of(read: Read) -> list[str]:
    """Accuracy by folds and on clips that no training used, lip-sync, speed, an hour, and callers who leave."""
    parts = (
        (_fold_lines, "video_folds.json"),
        (_dev_lines, "dev_videos.json"),
        (_lip_lines, "lip_sync.json"),
        (_speed_lines, "video_speed.json"),
        (_hour_lines, "long_video.json"),
        (_leaving_lines, "cancellation.json"),
    )
    lines: list[str] = []
    for write, name in parts:
        told = read(name)
        if told is not None:
            lines += [write(told), ""]
    return lines


def _spread(told: dict[str, Any]) -> str:
    return f"{told['auc']:.3f} ({told['auc_low']:.3f} to {told['auc_high']:.3f})"


def _fold_lines(told: dict[str, Any]) -> str:
    verdict = told["verdict"]
    return (
        f"{told['clips']} clips ({told['real']} real) of many generators, each scored by networks that had not seen "
        f"its source: AUC {_spread(verdict)}, or {verdict['auc_with_weights_of_other_folds']:.3f} where the weights of "
        f"the verdict come from the other folds as well; {100 * verdict['flagged_reals']:.1f} % of the real clips and "
        f"{100 * verdict['flagged_fakes']:.1f} % of the fakes flagged. `frame_cnn` knew stills of some FaceForensics++ "
        f"clips; without that set the AUC is {verdict['auc_without_ffpp']:.3f}. By generator: "
        "[benchmarks/results/video_folds.json](benchmarks/results/video_folds.json)."
    )


def _dev_lines(told: dict[str, Any]) -> str:
    every, fewer = told["summary"], told.get("without_related")
    text = (
        f"On {every['real']} real and {every['fake']} fake clips that no training used: AUC {_spread(every)}, "
        f"{len(every['flagged_reals'])} real and {len(every['flagged_fakes'])} fake flagged"
    )
    if fewer is None:
        return f"{text}."
    return f"{text}; without the real clips that share a source or a person with training {_spread(fewer)}."


def _lip_lines(told: dict[str, Any]) -> str:
    offset = told["offset"]
    return (
        f"Lip-sync on {offset['clips']} real talking clips whose sound was shifted: the shift from the clip's own "
        f"offset is right within one frame in {100 * offset['right_of_own']:.0f} % of the windows with speech, the "
        f"offset as it stands in {100 * offset['right']:.0f} %; it tells no fake from a real by itself."
    )


def _speed_lines(told: dict[str, Any]) -> str:
    runs = {run["asked"]: run for run in told["runs"]}
    alone, whole = runs["pictures"], runs["everything"]
    left_out = ("total", "sound_total", "client")
    stages = [(ms, name) for name, ms in whole["stages_ms"].items() if name not in left_out]
    where = ", ".join(f"{name} {ms / 1000:.1f}" for ms, name in sorted(stages, reverse=True)[:5])
    return (
        f"Ten seconds of 720p with one face take {alone['wall_s']:.1f} s ({alone['frames']} frames), with body and "
        f"lips at every frame and the sound {whole['wall_s']:.1f} s (seconds by stage: {where})."
    )


def _hour_lines(told: dict[str, Any]) -> str:
    parts = [
        f"{run['asked']} {run['wall_s']:.0f} s for {run['frames']} frames that lie evenly over it (the server's memory "
        f"grows by {run['received_mb'] - run['before_mb']:.0f} MB until the first progress and by "
        f"{run['growth_mb']:.0f} MB from there, to {run['peak_mb'] / 1000:.1f} GB)"
        for run in told["runs"]
    ]
    return f"{told['runs'][0]['seconds'] / 60:.0f} minutes of video: {'; '.join(parts)}."


def _leaving_lines(told: dict[str, Any]) -> str:
    most = max(max(row["freed_s"]) for row in told["rows"])
    return f"A caller who leaves frees the work within {most:.2f} s, in {len(told['rows'])} stages of it."
