"""What damage, skin tone and licences do to photos, for the README, from what commands wrote as JSON."""

from __future__ import annotations

from typing import Any

SHOWN = ("none", "jpeg 70", "jpeg 30", "resize 0.5", "resize 0.25", "blur 1", "blur 2", "noise 5", "noise 10")
"""The others stand in the JSON."""


def photo_lines(told: dict[str, Any] | None) -> list[str]:
    """One row for each damage, and a sentence on skin tones; none where nothing was measured."""
    if not told:
        return []
    rows = {row["condition"]: row for row in told["robustness"] if row["detector"] == "verdict"}
    lines = [
        f"What damage does to {told['robustness_items']} of these photos (resize by a factor, blur by sigma in pixels, "
        "noise by sigma in grey levels; the other steps and each network alone: "
        "[benchmarks/results/report_images.json](benchmarks/results/report_images.json)):",
        "",
        "| damage | AUC (95 % interval) | reals flagged | fakes flagged |",
        "|---|---|---|---|",
    ]
    for name in SHOWN:
        row = rows[name]
        area, flagged, found = row["auc"], row["flagged"], row["found"]
        lines.append(
            f"| {name} | {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}) "
            f"| {100 * flagged['value']:.1f} % | {100 * found['value']:.1f} % |"
        )
    tones = ", ".join(
        f"{each['tone']} {each['flagged']['count']} of {each['flagged']['total']}" for each in told["skin_tone"]
    )
    return [*lines, "", f"Real photos flagged by skin tone (individual typology angle of the face): {tones}.", ""]


def held_out_lines(told: dict[str, Any] | None) -> list[str]:
    """A sentence on the galleries and generators that no run trains on, from what ``training.fuse --table`` wrote."""
    if not told:
        return []
    areas = ", ".join(
        f"`{row['kind']}` {row['auc_alike']['value']:.3f} ({row['auc_alike']['low']:.3f} to "
        f"{row['auc_alike']['high']:.3f}, {row['fakes']} fakes)"
        for row in told["kinds"]
        if not row["trained_on"]
    )
    every, left = (told["means"][name]["auc_alike"] for name in ("all", "left_out"))
    return [
        "Of the training data's own kinds, two galleries and two generators are left out of every training; each of "
        f"their fakes beside those of {told['reals']} held-out reals that look most like it: AUC {areas}, mean "
        f"{left:.3f}; all held-out kinds and pseudo-fakes {every:.3f} "
        "([benchmarks/results/held_out_images.json](benchmarks/results/held_out_images.json)).",
        "",
    ]


def gallery_lines(told: dict[str, Any] | None) -> list[str]:
    """A sentence on galleries left out in turn, from what ``training.evaluation.galleries`` wrote."""
    if not told:
        return []
    rows = sorted(told["alike"]["galleries"], key=lambda row: row["auc"])
    ends = ", ".join(f"`{row['gallery']}` {row['auc']:.3f}" for row in (rows[0], rows[len(rows) // 2], rows[-1]))
    alike, anyone = (f"{told[name]['mean']:.3f}" for name in ("alike", "anyone"))
    return [
        "How far the training pairs carry to a gallery that they do not hold: lines on frozen ImageNet features, "
        f"{len(rows)} galleries and generators of whole faces each left out in turn, have a mean AUC of {alike} "
        f"(worst, middle and best: {ends}), compared in the same way. Where fakes without originals are trained "
        f"beside any real and not beside those that look most like them, {anyone} "
        "([benchmarks/results/gallery_folds.json](benchmarks/results/gallery_folds.json)).",
        "",
    ]


GROUPS = {
    "openforensics": "composed faces (OpenForensics)",
    "ffpp_c23": "face swaps (FaceForensics++, c23)",
    "stylegan": "StyleGAN",
    "chat_galleries": "galleries of chat models",
    "diffusion_galleries": "galleries of diffusion models",
    "left_out": "four kinds that no run sees",
    "pseudo": "pseudo-fakes",
    "all": "mean over all kinds",
}


def licence_lines(told: dict[str, Any] | None) -> list[str]:
    """The same network trained on all sources and on those that allow commercial use, side by side."""
    if not told:
        return []
    runs = told["runs"]
    heads = [
        f"{name}: {run['reals']:,} real, {run['fakes']:,} fake, {run['sources']} sources, {run['steps']:,} steps"
        for name, run in runs.items()
    ]
    lines = [f"| held-out photos, AUC against reals alike | {' | '.join(heads)} |", "|---|" + "---|" * len(runs)]
    for group, words in GROUPS.items():
        cells = [run["groups"].get(group, {}).get("auc_alike") for run in runs.values()]
        if any(cell is not None for cell in cells):
            lines.append(f"| {words} | {' | '.join('n/a' if cell is None else f'{cell:.3f}' for cell in cells)} |")
    return [*lines, ""]
