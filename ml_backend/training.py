"""``DeepfakeDetectionTrainer``: trains every family on a folder and writes a repository that Triton can load."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch

from cards.repository import ModelRepository
from deepscan_client.errors import RequestError
from export.templates import model_name
from export.trained import check_target, write_repository
from ml_backend.training_config import DEFAULT_CONFIG, families_of, settings_of
from training.data.layout import Licences, data_root, read_data
from training.data.manifest import Row
from training.families import CLAIMED, SHARES, Trained, cnn_network, networks_of, train_network
from training.family_items import Prepared, prepare_clips, prepare_photos, prepare_recordings
from training.family_plans import plan_network
from training.models.registry import Network
from training.partition import TooLittleDataError, partition
from training.settings import FitSettings, Precision

#: On a CPU a run of at most so many items ends after so many minutes, a larger one in proportion.
MINUTES, ITEMS = 10.0, 500
ASKED_BY = {
    "image": "the photo verdict, where its weight is above 0",
    "video": "clients that name it; the video verdict asks the shipped members",
    "audio": "the voice verdict",
}
MEDIUM = {"cnn": "image", "autoencoder": "image", "rnn": "video", "hybrid": "video", "audio": "audio"}


class DeepfakeDetectionTrainer:
    """Trains the families of the founding document.

    Attributes:
        config: may be changed before ``train_all`` (``trainer.config.update(...)``).

    Args:
        config: what differs from ``DEFAULT_CONFIG``.
        minutes: time for the training itself; by default 10 minutes on a CPU for up to 500 items and more in
            proportion, and no limit on a GPU. 0 sets no limit. A family that is stopped by time is validated and kept.
        resume: go on with the runs that were cut off in ``<output_dir>.runs``; otherwise they begin anew.
        licences: ``permissive`` trains on what allows commercial use alone.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        minutes: float | None = None,
        resume: bool = False,
        licences: Licences = "all",
    ) -> None:
        self.config: dict[str, Any] = {**json.loads(json.dumps(DEFAULT_CONFIG)), **(config or {})}
        self.minutes, self.resume = minutes, resume
        self.licences: Licences = licences

    def train_all(self, data: str | Path) -> dict[str, Any]:
        """Train the families of ``config["models_to_train"]`` and write ``config["output_dir"]``.

        Photos are cached, and runs kept with their TensorBoard logs, in ``<output_dir>.runs`` beside it.

        Args:
            data: a folder in the founding document's layout, or a manifest (``training.data.layout``).

        Returns:
            For each family ``network``, ``accuracy``, ``precision``, ``recall``, ``f1``, ``auc``, ``eer`` on the
            validation items, ``claimed_accuracy`` (what the founding document expected), ``target_met``, ``items``,
            ``seconds`` and more; ``{"skipped": reason}`` where it was not trained. A family of several networks names
            the best by AUC, and all of them in ``networks``. ``output_dir`` and ``verdict`` (the weight of each member
            of the new photo verdict) stand beside the families. ``asked_by`` says who asks the network: what was
            trained on clips is measured and exported, but the video verdict asks the shipped members.

        Raises:
            RequestError: a value of the configuration is wrong, the data cannot be read, or torchrun started several
                processes.
            InstallationError: ``output_dir`` holds something that is no repository, or the chosen network's pretrained
                weights are not installed.
        """
        began = time.monotonic()
        _alone()
        settings = self.settings()
        families = self.families()
        networks = {family: self._networks(family) for family in families}
        target = Path(self.config["output_dir"])
        check_target(target)
        rows = read_data(data, self.licences)
        runs = self._runs()
        try:
            runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(
                f"{runs} cannot be written: {error.strerror}", remedy="name another output_dir"
            ) from error
        prepared, skipped = self._prepare(data_root(data), rows, families)
        limit = self._limit(rows)
        trained: dict[str, list[Trained]] = {}
        for family in (each for each in families if each in prepared):
            minutes = limit * SHARES[family] if limit else 0.0
            for entry in networks[family]:
                made = train_network(entry, prepared[family], settings, self._run(entry), minutes)
                trained.setdefault(family, []).append(made)
                # What the first network measured holds for the machine: timing each again would cost minutes.
                settings = replace(settings, precision=cast(Precision, made.result.precision))
        results: dict[str, Any] = {}
        for family in families:
            results[family] = self._result(trained[family]) if family in trained else {"skipped": skipped[family]}
        flat = [each for members in trained.values() for each in members]
        members = [each.entry.name for family in ("cnn", "autoencoder") for each in trained.get(family, [])]
        if flat:
            _say(f"exporting {', '.join(each.entry.name for each in flat)}")
            results["verdict"] = write_repository(target, flat, ModelRepository(), members)
            results["output_dir"] = str(target)
        results["seconds"] = round(time.monotonic() - began, 1)
        return results

    def plan(self, data: str | Path) -> dict[str, Any]:
        """What ``train_all`` would train, on how many items, and for how long at most; nothing is written.

        Returns:
            For each family a list of ``training.fit.Plan``, or ``{"skipped": reason}``.
        """
        _alone()
        settings, rows = self.settings(), read_data(data, self.licences)
        limit, plans = self._limit(rows), dict[str, Any]()
        for family in self.families():
            own = [row for row in rows if row.medium == MEDIUM.get(family)]
            missing = {0, 1} - {row.label for row in own}
            if missing:
                plans[family] = {"skipped": f"the data holds no {_of(family, missing)}"}
                continue
            try:  # as training would split them where each had a face and no likeness
                partition(own, np.arange(len(own)), float(self.config["validation_split"]), int(self.config["seed"]))
            except TooLittleDataError as error:
                plans[family] = {"skipped": str(error)}
                continue
            minutes = limit * SHARES[family] if limit else 0.0
            plans[family] = [
                plan_network(entry, own, settings, minutes, self._run(entry, fresh=False))
                for entry in self._networks(family)
            ]
        return plans

    def settings(self) -> FitSettings:
        """The configuration as settings of a run; raises as :func:`ml_backend.training_config.settings_of`."""
        if self.minutes is not None and not 0 <= self.minutes < math.inf:
            raise RequestError(f"minutes are {self.minutes}", remedy="give a number of minutes; 0 sets no limit")
        if self.licences not in get_args(Licences):
            raise RequestError(f"licences are {self.licences!r}", remedy=f"give {' or '.join(get_args(Licences))}")
        return settings_of(self.config)

    def families(self) -> list[str]:
        """The families that are asked for; raises as :func:`ml_backend.training_config.families_of`."""
        return families_of(self.config)

    def _networks(self, family: str) -> list[Network]:
        if family == "cnn":
            return [cnn_network(str(self.config["network"]), int(self.config["input_shape"][0]))]
        return networks_of(family)

    def _prepare(
        self, root: Path, rows: Sequence[Row], families: Sequence[str]
    ) -> tuple[dict[str, Prepared], dict[str, str]]:
        """Items of each family that can be trained, and why the others cannot."""
        makers: dict[str, Callable[..., Prepared]] = {
            "image": prepare_photos,
            "video": prepare_clips,
            "audio": prepare_recordings,
        }
        ready: dict[str, Prepared | str] = {}
        prepared: dict[str, Prepared] = {}
        skipped: dict[str, str] = {}
        for family in families:
            medium = MEDIUM[family]
            if medium not in ready:
                try:
                    ready[medium] = makers[medium](
                        root,
                        rows,
                        self._runs() / "data",
                        float(self.config["validation_split"]),
                        int(self.config["seed"]),
                        _progress,
                    )
                except (TooLittleDataError, RequestError) as error:
                    ready[medium] = str(error)
            found = ready[medium]
            if isinstance(found, str):
                skipped[family] = found
            else:
                prepared[family] = found
        return prepared, skipped

    def _limit(self, rows: Sequence[Row]) -> float:
        """Minutes of training in all; 0 for no limit."""
        if self.minutes is not None:
            return self.minutes
        if torch.cuda.is_available():
            return 0.0
        return MINUTES * max(1.0, len(rows) / ITEMS)

    def _runs(self) -> Path:
        target = Path(self.config["output_dir"])
        return target.with_name(f"{target.name}.runs")

    def _run(self, entry: Network, fresh: bool = True) -> Path:
        """Folder of a run; what another one left there is removed unless it is to be resumed."""
        run = self._runs() / model_name(entry)
        if fresh and not self.resume:
            for file in ("last.ckpt", "best.ckpt", "model.pt", "settings.json"):
                (run / file).unlink(missing_ok=True)
        return run

    def _result(self, members: Sequence[Trained]) -> dict[str, Any]:
        """The family's best network by AUC, with all of them where there are several."""
        rows = [self._row(each) for each in members]
        best = max(rows, key=lambda row: float(row["auc"]))
        return {**best, "networks": {row["network"]: row for row in rows}} if len(rows) > 1 else best

    def _row(self, trained: Trained) -> dict[str, Any]:
        result = trained.result
        return {
            "network": trained.entry.name,
            **trained.measured,
            "claimed_accuracy": CLAIMED[trained.entry.family],
            "asked_by": ASKED_BY[MEDIUM[trained.entry.family]],
            "target_met": trained.measured["accuracy"] >= float(self.config["target_accuracy"]),
            "items": {"train": sum(source.items for source in trained.sources), "validation": len(trained.labels)},
            "epochs": result.epochs,
            "best_epoch": result.epoch,
            "ended": result.ended,
            "batch_size": trained.settings.batch_size,
            "accumulate": trained.settings.accumulate,
            "precision_of_training": result.precision,
            "seconds": trained.seconds,
        }


def _of(family: str, missing: set[int]) -> str:
    words = {"image": "photos", "video": "clips", "audio": "recordings"}[MEDIUM[family]]
    return f"{' or '.join(('real', 'fake')[label] for label in sorted(missing))} {words}"


def _alone() -> None:
    """Raise where torchrun started several processes: each would write the runs and the repository."""
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if count > 1:
        raise RequestError(
            f"this trains in one process, and torchrun started {count}",
            remedy="start it without torchrun; several GPUs train one network on cached photos with: "
            "torchrun --nproc-per-node N -m training.on_cache NETWORK (docs/training.md)",
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(what: str, done: int, total: int) -> None:
    """A line at the beginning, at each tenth and at the end."""
    if done % max(1, total // 10) == 0 or done == total:
        _say(f"{what}: {done} of {total}")
