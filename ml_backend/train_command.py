"""``deepscan train DATA``: train the families on a folder or a manifest, and write a repository that can be served."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from typing import Any, get_args

from deepscan_client.errors import DeepScanError
from ml_backend.training import DeepfakeDetectionTrainer
from ml_backend.training_config import FAMILIES
from training.families import CNNS
from training.settings import Precision


def parser() -> argparse.ArgumentParser:
    """The options of ``deepscan train``."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("data", help="folder in the layout of the README, or a CSV or Parquet manifest")
    made.add_argument(
        "--family", nargs="+", choices=FAMILIES, metavar="NAME", help=f"some of {', '.join(FAMILIES)} (default: all)"
    )
    made.add_argument("--output", metavar="DIR", help="model repository to write (default: ./trained_models)")
    made.add_argument("--epochs", type=int, metavar="N")
    made.add_argument("--batch-size", type=int, metavar="N")
    made.add_argument("--learning-rate", type=float, metavar="RATE")
    made.add_argument(
        "--network", metavar="NAME", help=f"of the family cnn: {', '.join(CNNS)} or timm/<name> (default: {CNNS[0]})"
    )
    made.add_argument(
        "--accumulate", type=int, metavar="N", help="batches in one step: less memory than a larger batch"
    )
    made.add_argument("--precision", choices=get_args(Precision), help="default: auto, the faster one")
    made.add_argument("--focal-gamma", type=float, metavar="G", help="of the focal loss; 0 is the cross-entropy")
    made.add_argument("--threads", type=int, metavar="N", help="of torch (default: the cores that are free)")
    made.add_argument("--seed", type=int, metavar="N")
    made.add_argument("--licences", choices=("all", "permissive"), default="all", help="default: %(default)s")
    made.add_argument("--minutes", type=float, metavar="M", help="time for training; 0 sets no limit")
    made.add_argument("--resume", action="store_true", help="go on with the runs that were cut off")
    made.add_argument("--dry-run", action="store_true", help="say what would be trained and how long it would take")
    made.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Train, and print what each family came to.

    Returns:
        0 where something was trained (or could be, in a dry run); 1 where nothing was.

    Raises:
        DeepScanError: the data, an option or the output folder is wrong.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for room in ("training", "export", "ml_backend"):
        logging.getLogger(room).setLevel(logging.INFO)
    asked = {
        "models_to_train": options.family,
        "output_dir": options.output,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "network": options.network,
        "accumulate": options.accumulate,
        "precision": options.precision,
        "focal_gamma": options.focal_gamma,
        "threads": options.threads,
    }
    config = {name: value for name, value in asked.items() if value is not None}
    trainer = DeepfakeDetectionTrainer(
        config, minutes=options.minutes, resume=options.resume, licences=options.licences
    )
    if options.dry_run:
        return _dry_run(trainer, options.data, options.json)
    results = trainer.train_all(options.data)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for family in trainer.families():
            print(f"{family + ':':<13}{_line(results[family])}")
        if "output_dir" in results:
            told = ", ".join(f"{name} {weight:.2f}" for name, weight in results["verdict"].items())
            print(f"{'written:':<13}{results['output_dir']} (photo verdict: {told or 'as shipped'})")
            print(f"{'serve it:':<13}deepscan serve --models {results['output_dir']}")
    return 0 if "output_dir" in results else 1


def _dry_run(trainer: DeepfakeDetectionTrainer, data: str, as_json: bool) -> int:
    plans = trainer.plan(data)
    trained = [plan for found in plans.values() if isinstance(found, list) for plan in found]
    minutes = round(sum(plan.minutes for plan in trained), 1)
    if as_json:
        told: dict[str, Any] = {
            name: [asdict(plan) for plan in found] if isinstance(found, list) else found
            for name, found in plans.items()
        }
        print(json.dumps({**told, "minutes": minutes}, indent=2))
    else:
        for family, found in plans.items():
            for text in [f"skipped: {found['skipped']}"] if isinstance(found, dict) else map(str, found):
                print(f"{family + ':':<13}{text}")
        print(f"{'in all:':<13}at most {minutes} minutes, and the caches and the export")
    return 0 if trained else 1


def _line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"skipped: {row['skipped']}"
    measured = ", ".join(f"{name} {row[name]:.3f}" for name in ("accuracy", "precision", "recall", "f1", "auc", "eer"))
    return (
        f"{row['network']}: {measured} on {row['items']['validation']} items "
        f"(the founding document claimed an accuracy of {row['claimed_accuracy']}; "
        f"{row['items']['train']} trained on, {row['epochs']} epochs, {row['seconds']:.0f} s, "
        f"target {'met' if row['target_met'] else 'not met'}); asked by {row['asked_by']}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DeepScanError as error:
        sys.exit(f"{error.message}: {error.remedy}")
