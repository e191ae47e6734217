"""Writes the measured parts of the README from committed JSON: ``python -m benchmarks.readme [--check]``.

Numbers are never typed into the README: each lies in ``benchmarks/results/``, written by the command that
measured it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.readme_families import family_lines
from benchmarks.readme_photos import gallery_lines, held_out_lines, licence_lines, photo_lines
from benchmarks.readme_quality import quality_lines
from benchmarks.readme_videos import lines_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def measured_lines() -> list[str]:
    """The accuracy table, from what ``deepscan evaluate --json`` wrote, damage and skin tones, and the latency line."""
    lines: list[str] = []
    accuracy = _read("dev_images.json")
    if accuracy:
        lines += [
            "| group | real / fake | AUC (95 % interval) | EER | reals flagged | fakes flagged | inconclusive |",
            "|---|---|---|---|---|---|---|",
        ]
        quality = accuracy["quality"]
        for group in quality["groups"]:
            area = group["auc"]
            cells = [
                group["group"],
                f"{group['real']} / {group['fake']}",
                f"{_number(area['value'])} ({_number(area['low'])} to {_number(area['high'])})",
                _percent(group["eer"]["value"]),
                _percent(group["false_positive_rate"]),
                _percent(group["true_positive_rate"]),
                str(group["inconclusive"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines += [
            "",
            f"Expected calibration error over all {quality['items']} items: {_number(quality['ece']['value'])}.",
            "",
        ]
    lines += held_out_lines(_read("held_out_images.json")) + gallery_lines(_read("gallery_folds.json"))
    lines += photo_lines(_read("report_images.json"))
    latency = _read("latency.json")
    if latency:
        lines += [str(latency["summary"]), ""]
    return lines


def voice_lines() -> list[str]:
    """Accuracy by page beside the peers, what damage does, partial fakes, latency and long recordings."""
    accuracy, latency = _read("dev_audio.json"), _read("latency_audio.json")
    lines = _voice_table(accuracy) if accuracy else []
    lines += _robustness_lines() + _partial_lines()
    if latency:
        lines += [str(latency["summary"]), ""]
    return lines + _long_lines()


def _voice_table(accuracy: dict[str, Any]) -> list[str]:
    peers = (_read("peers_audio.json") or {"peers": {}})["peers"]
    shown = {name: peers[name] for name in PEERS if name in peers}
    (pooled,) = (each for each in accuracy["pooled"] if each["medium"] == "audio")
    groups = [*accuracy["quality"]["groups"], *pooled["quality"]["groups"]]
    lines = [
        "| page | real / fake | AUC (95 % interval) | EER | reals flagged | fakes flagged | inconclusive | "
        + "".join(f"{PEERS[name]} | " for name in shown).rstrip(),
        "|" + "---|" * (7 + len(shown)),
    ]
    for group in groups:
        area = group["auc"]
        cells = [
            group["group"],
            f"{group['real']} / {group['fake']}",
            f"{_number(area['value'])} ({_number(area['low'])} to {_number(area['high'])})",
            _percent(group["eer"]["value"]),
            _percent(group["false_positive_rate"]),
            _percent(group["true_positive_rate"]),
            str(group["inconclusive"]),
            *(_number(peer.get(group["group"], {}).get("auc")) for peer in shown.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"Expected calibration error {_number(pooled['quality']['ece']['value'])}; "
        f"{pooled['gradable_conclusive']} of the {pooled['gradable']} recordings with 2 s of speech got a label. "
        "The last columns are the AUC of published detectors on the same clips.",
        "",
    ]


def _robustness_lines() -> list[str]:
    told = _read("voice_robustness.json")
    if not told:
        return []
    rows = [row for row in told["rows"] if row["group"] == "all"]
    # Reals of other collections count among the flagged, and not in the AUC.
    paired = {row["condition"]: row["auc"] for row in told["rows"] if row["group"] == "groups of both classes"}
    areas = [paired.get(row["condition"], row["auc"]) for row in rows]
    cells = [
        f"| {row['condition']} | {_percent(row['flagged']['value'])} | {_percent(row['conclusive']['value'])} "
        f"| {_number(area['value'])} ({_number(area['low'])} to {_number(area['high'])}) |"
        for row, area in zip(rows, areas, strict=True)
    ]
    most, fakes = (max(row[kind] for row in rows) for kind in ("real", "fake"))
    return [
        f"What codecs and noise do ({most} real and {fakes} fake recordings, both damaged alike):",
        "",
        "| damage | reals flagged | reals with a label | AUC (95 % interval) |",
        "|---|---|---|---|",
        *cells,
        "",
    ]


def _partial_lines() -> list[str]:
    told = _read("voice_partial.json")
    if not told:
        return []
    area, hit = told["frame_auc"], told["pieces_hit"]
    heard = "" if not told["heard_in_training_by"] else " (a family of vocoders that training had heard)"
    return [
        f"Where 1 to 2 s of a real recording were replaced{heard}, the timeline finds the frames with an AUC of "
        f"{_number(area['value'])} ({_number(area['low'])} to {_number(area['high'])}, {told['clips']} clips); its "
        f"suspicious seconds hit {_percent(hit['value'])} of the pieces.",
        "",
    ]


def _long_lines() -> list[str]:
    told = _read("long_recording.json")
    if not told:
        return []
    parts = [
        f"{run['seconds'] / 60:.0f} minutes of {run['format'].upper()} {run['times_real_time']:.0f} times faster than "
        f"real time (the server's memory grows by {run['received_mb'] - run['before_mb']:.0f} MB until the first "
        f"progress, with the file of {run['bytes'] / 1e6:.0f} MB, and by {run['growth_mb']:.0f} MB from there)"
        for run in told["runs"]
    ]
    return [f"Long recordings are judged with progress: {'; '.join(parts)}.", ""]


def video_lines() -> list[str]:
    """See :mod:`benchmarks.readme_videos`."""
    return lines_of(_read)


def network_lines() -> list[str]:
    """See :mod:`benchmarks.readme_families`."""
    return family_lines(_read("families.json"))


def permissive_lines() -> list[str]:
    """What licences cost: see :mod:`benchmarks.readme_photos`."""
    return licence_lines(_read("licences.json"))


def target_lines() -> list[str]:
    """See :mod:`benchmarks.readme_quality`."""
    return quality_lines(_read)


def size_lines() -> list[str]:
    """Rows of the table of installed sizes."""
    sizes = _read("sizes.json")
    rows = [f"| {row['set']} | {row['what']} | {row['megabytes']:,.0f} |" for row in sizes["sets"]] if sizes else []
    return ["| set | what for | MB installed |", "|---|---|---|", *rows]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "measured": measured_lines,
    "licences": permissive_lines,
    "voices": voice_lines,
    "videos": video_lines,
    "families": network_lines,
    "targets": target_lines,
    "sizes": size_lines,
}
PEERS = {"aasist": "AASIST", "aasist-l": "AASIST-L", "rawgat-mul": "RawGAT-ST"}


def readme_text(text: str) -> str:
    """The README with its marked sections written anew."""
    for name, lines in SECTIONS.items():
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + "\n".join([start, *lines(), end]) + after
    return text


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def main(arguments: list[str] | None = None) -> int:
    """Write, or with ``--check`` only compare (exit 1 where the README differs)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = readme_text(old)
    if options.check:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
