"""Reads a model repository: cards, records, hashes. Every error names file, field and remedy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cards.card import ModelCard, Strict
from cards.record import VersionRecord
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError

_T = TypeVar("_T", bound=Strict)

ENVIRONMENT_VARIABLE = "DEEPSCAN_MODELS"


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def find_repository(explicit: str | Path | None = None) -> Path:
    """The model repository: the argument, else ``DEEPSCAN_MODELS``, else the one beside this code.

    Raises:
        InstallationError: it does not exist.
    """
    beside = Path(__file__).resolve().parent.parent / "model_repository"
    chosen = Path(explicit or os.environ.get(ENVIRONMENT_VARIABLE) or beside)
    if not chosen.is_dir():
        raise InstallationError(
            f"no model repository at {chosen}",
            code=ErrorCode.MODEL_MISSING,
            remedy=f"name one with --models or {ENVIRONMENT_VARIABLE}, or run from a checkout of DeepScan",
        )
    return chosen.resolve()


class ModelRepository:
    """The cards and records under one folder. Reading is lazy and remembered."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = find_repository(root)
        self._cards: dict[str, ModelCard] = {}

    def names(self) -> list[str]:
        """Every model that has a card, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("*/card.yaml"))

    def needed_by(self, names: Iterable[str], heatmaps: bool = True) -> list[str]:
        """These models and all that they lead to, by the steps of ensembles and the calls of stages; alphabetical.

        Args:
            names: of the models; heatmaps: count what is called for heat maps alone.

        Raises:
            InstallationError: a card is missing.
        """
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                card = self.card(name)
                drawn = [card.draws] if heatmaps and card.draws else []
                waiting += [*card.calls, *drawn, *(step.model for step in card.steps)]
        return sorted(found)

    def card(self, name: str) -> ModelCard:
        """The card of a model.

        Raises:
            InstallationError: it is missing, or a field is wrong.
        """
        if name not in self._cards:
            path = self.root / name / "card.yaml"
            if not path.is_file():
                raise InstallationError(
                    f"there is no model {name!r} in {self.root}",
                    code=ErrorCode.MODEL_MISSING,
                    remedy=f"models here: {', '.join(self.names()) or 'none'}",
                )
            card = _parse(path, ModelCard, ErrorCode.BAD_CARD)
            if card.name != name:
                raise InstallationError(
                    f"{path}: name: says {card.name!r}, its folder is {name!r}",
                    code=ErrorCode.BAD_CARD,
                    remedy="let the folder and the card agree",
                )
            self._cards[name] = card
        return self._cards[name]

    def versions(self, name: str) -> list[int]:
        """Version numbers that have a folder, ascending."""
        return sorted(int(path.name) for path in (self.root / name).glob("[0-9]*") if path.name.isdigit())

    def latest(self, name: str) -> int:
        """The newest version, which is what Triton serves.

        Raises:
            InstallationError: there is none.
        """
        versions = self.versions(name)
        if not versions:
            raise InstallationError(
                f"model {name!r} has no version folder",
                code=ErrorCode.MODEL_MISSING,
                remedy=f"make one with: deepscan export {name}",
            )
        return versions[-1]

    def folder(self, name: str, version: int | None = None) -> Path:
        """The version folder of a model, the latest by default."""
        return self.root / name / str(self.latest(name) if version is None else version)

    def has_record(self, name: str, version: int | None = None) -> bool:
        """Whether a version has measured facts; stages and ensembles have none."""
        return (self.folder(name, version) / "record.json").is_file()

    def record(self, name: str, version: int | None = None) -> VersionRecord:
        """The record of a version, the latest by default.

        Raises:
            InstallationError: it is missing, or a field is wrong.
        """
        return read_record(self.folder(name, version) / "record.json")

    def record_hash(self, name: str, version: int | None = None) -> str:
        """Hex sha256 of a version's ``record.json``."""
        return sha256_file(self.folder(name, version) / "record.json")

    def verify(self, name: str, version: int | None = None) -> None:
        """Compare the files of a version with the hashes in its record.

        Raises:
            InstallationError: a file is missing or differs; the message names it.
        """
        folder = self.folder(name, version)
        for file, expected in self.record(name, version).files.items():
            path = folder / file
            if not path.is_file():
                raise InstallationError(
                    f"{path} is missing",
                    code=ErrorCode.HASH_MISMATCH,
                    remedy="restore it from version control, or export the model again",
                )
            found = sha256_file(path)
            if found != expected:
                raise InstallationError(
                    f"{path} does not have the hash in its record (found {found[:12]}, expected {expected[:12]})",
                    code=ErrorCode.HASH_MISMATCH,
                    remedy="the file was changed or damaged: restore it, or export the model again",
                )


@lru_cache(maxsize=256)
def _read_record(path: Path, mtime_ns: int) -> VersionRecord:
    return _parse(path, VersionRecord, ErrorCode.BAD_RECORD)


def read_record(path: Path) -> VersionRecord:
    """Read one ``record.json``; remembered until the file changes.

    Raises:
        InstallationError: it is missing, or a field is wrong.
    """
    if not path.is_file():
        raise InstallationError(
            f"{path} is missing",
            code=ErrorCode.BAD_RECORD,
            remedy="restore it from version control, or export the model again",
        )
    return _read_record(path, path.stat().st_mtime_ns)


def _parse(path: Path, model: type[_T], code: ErrorCode) -> _T:
    """Parse YAML or JSON into a typed object, with errors that name file, field and remedy."""
    remedy = "mend the file; the fields are described in cards/card.py and cards/record.py"
    try:
        text = path.read_text(encoding="utf-8")
        data: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InstallationError(f"{path}: cannot be read: {error}", code=code, remedy=remedy) from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise InstallationError(f"{path}: {field}: {first['msg']}", code=code, remedy=remedy) from error
