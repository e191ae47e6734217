"""Measure networks that no verdict asks, and write it into their records: ``python -m export.measure_families RUN...``.

Each run's folder has the name of its network, which was exported before. Networks over crops are asked again, as they
are served, about the photos that ``training.on_cache`` held out and about the watched kinds of fakes (``--photos``);
with ``--dev FOLDER`` also about ``<group>/{real,fake}/*``, which is a look at data that reports are made of. Networks
over clips are told by their scores out of fold. All of it also goes into ``benchmarks/results/families.json``, the
accuracy beside what the founding document claimed for the family. Where a run's folder is gone, its name is enough for
what can be asked again, and what was measured before stays for the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cards.card import FaceDetection, ModelCard
from cards.record import Calibration, GroupResult
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError
from export import generate
from export.measure import renew_record
from pipelines.image.align import align_faces
from pipelines.image.decode import decode_image
from pipelines.image.faces import find_faces
from pipelines.image.probe import probe_image
from pipelines.infer import Call, Infer, run_in_batches
from pipelines.metrics import auc, bootstrap_interval, eer, tpr_at_fpr
from pipelines.onnx_infer import OnnxInfer
from training.crops import crops_of
from training.data.cache import PhotoCache, load_cache
from training.data.layout import read_data
from training.families import CLAIMED
from training.models.registry import network
from training.on_cache import parts_of
from training.prepare import data_folder
from training.video.folds import source_of

TARGET = Path("benchmarks/results/families.json")
CLIPS = "train/videos, folds by source and person"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


def result(
    group: str,
    logits: Floats,
    labels: Ints,
    origins: Any = None,
    unscored: int = 0,
    calibration: Calibration | None = None,
) -> GroupResult:
    """One row; intervals draw whole ``origins`` where they are told, accuracy is that of calibrated probabilities."""
    right = None
    if calibration is not None:
        right = round(float((((calibration.slope * logits + calibration.intercept) > 0) == (labels == 1)).mean()), 4)
    low, high = bootstrap_interval(auc, logits, labels, groups=origins)
    return GroupResult(
        group=group,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        unscored=unscored,
        auc=round(auc(logits, labels), 4),
        auc_low=round(low, 4),
        auc_high=round(high, 4),
        eer=round(eer(logits, labels), 4),
        tpr_at_fpr_5=round(tpr_at_fpr(logits, labels, 0.05), 4),
        accuracy=right,
    )


def logits_of(infer: Infer, card: ModelCard, crops: Pixels) -> Floats:
    """Raw logits of crops, [n]."""
    answer = run_in_batches(infer, card.name, "IMAGES", crops, ("LOGIT",), card.max_batch_size)
    return np.asarray(answer["LOGIT"][:, 0], np.float64)


def held_out(
    infer: Infer, card: ModelCard, photos: PhotoCache, calibration: Calibration | None
) -> tuple[GroupResult, ...]:
    """Rows of the held-out photos of known kinds, and of the watched kinds against the same reals."""
    assert card.preprocessing is not None
    size, margin = card.preprocessing.size, card.preprocessing.margin
    parts, labels = parts_of(photos, network(card.name)), np.array([row.label for row in photos.rows])
    # Batch by batch: a thousand crops of 256 px are 200 MB.
    asked = np.concatenate([parts.held, parts.watched])
    logits = np.concatenate(
        [logits_of(infer, card, crops_of(photos, asked[s : s + 64], size, margin)) for s in range(0, len(asked), 64)]
    )
    known, truth, watched = logits[: len(parts.held)], labels[parts.held], logits[len(parts.held) :]
    reals = known[truth == 0]
    both = np.concatenate([reals, watched]), np.repeat([0, 1], [len(reals), len(watched)])
    return (
        result("train/images, held out", known, truth, calibration=calibration),
        result("train/images, kinds that only watch", *both, calibration=calibration),
    )


def on_folder(infer: Infer, card: ModelCard, repository: ModelRepository, folder: Path) -> tuple[GroupResult, ...]:
    """Rows of ``<group>/{real,fake}/*``: the highest logit of a photo's faces."""
    assert card.preprocessing is not None
    size, margin = card.preprocessing.size, card.preprocessing.margin
    names = tuple(tensor.name for tensor in repository.card("face_detector").outputs)
    policy = repository.card("face_detector").face_detection or FaceDetection()
    rows = []
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        logits: list[float] = []
        labels: list[int] = []
        missing = 0
        for label, word in enumerate(("real", "fake")):
            for file in sorted((group / word).glob("*")):
                try:
                    photo = decode_image(probe_image(file.read_bytes()).picture)
                except DeepScanError:
                    missing += 1
                    continue
                faces = find_faces(
                    photo, lambda batch: infer.run([Call("face_detector", {"IMAGES": batch}, names)])[0], policy
                )
                if not len(faces):
                    missing += 1
                    continue
                crops = align_faces(photo, faces.landmarks, size, margin)
                logits.append(float(logits_of(infer, card, crops).max()))
                labels.append(label)
        calibration = repository.record(card.name).calibration
        rows.append(result(group.name, np.array(logits), np.array(labels), None, missing, calibration))
    return tuple(rows)


def of_clips(run: Path, data: Path, calibration: Calibration | None) -> tuple[GroupResult, ...]:
    """The row of a network over clips, by its scores out of fold."""
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    rows = [row for row in read_data(data, medium="video") if row.path in scores]
    logits = np.array([scores[row.path] for row in rows], np.float64)
    labels = np.array([row.label for row in rows], np.int64)
    return (result(CLIPS, logits, labels, np.array([source_of(row) for row in rows]), calibration=calibration),)


def measure(
    run: Path, repository: ModelRepository, photos: PhotoCache | None, dev: Path | None, data: Path
) -> tuple[tuple[GroupResult, ...], str]:
    """Rows of one network, and what they were measured on."""
    card, calibration = repository.card(run.name), repository.record(run.name).calibration
    if network(run.name).takes != "crop":
        told = "training clips, each scored by a model that saw neither its source nor its people"
        return of_clips(run, data, calibration), told
    infer = OnnxInfer(repository, threads=1)
    try:
        rows: tuple[GroupResult, ...] = held_out(infer, card, photos, calibration) if photos is not None else ()
        told = "held-out training photos, which chose the epoch, and kinds of fakes that no training saw"
        if dev is not None:
            rows += on_folder(infer, card, repository, dev)
            told += f"; {dev.parent.name}/{dev.name}"
    finally:
        infer.close()
    return rows, told


def keep(repository: ModelRepository, table: dict[str, Any], name: str, rows: Sequence[GroupResult], told: str) -> None:
    """Write rows of a network into its record and, beside the founding document's claim, into the table."""
    renew_record(repository, name, {"evaluation": [row.model_dump() for row in rows], "evaluated_on": told})
    table[name] = {
        "evaluation": [row.model_dump(exclude_defaults=True) for row in rows],
        "evaluated_on": told,
        "claimed_accuracy": CLAIMED[network(name).family],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure runs and write records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, named like their networks")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--photos", type=Path, default=Path(".cache/photos"))
    parser.add_argument("--dev", type=Path, help="<group>/{real,fake}/*: a look")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    repository = ModelRepository(options.models)
    photos = load_cache(options.photos) if options.photos.is_dir() else None
    table = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for run in options.runs:
        known = table.get(run.name, {})
        if network(run.name).takes != "crop" and known and not (run / "scores.json").is_file():
            rows = tuple(GroupResult.model_validate(row) for row in known["evaluation"])
            told = known["evaluated_on"]
        else:
            rows, told = measure(run, repository, photos, options.dev, options.data)
        keep(repository, table, run.name, rows, told)
        facts = known.get("run")
        if facts is None or (run / "facts.json").is_file():
            facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
        table[run.name]["run"] = {name: value for name, value in facts.items() if name not in ("network", "settings")}
        for row in rows:
            print(
                f"{run.name}: {row.group}: AUC {row.auc} ({row.auc_low} to {row.auc_high}), EER {row.eer}, "
                f"accuracy {row.accuracy} (claimed: {table[run.name]['claimed_accuracy']})"
            )
    options.out.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n", encoding="utf-8")
    generate.write(ModelRepository(options.models))
    return 0


if __name__ == "__main__":
    sys.exit(main())
