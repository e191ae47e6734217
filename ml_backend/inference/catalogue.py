"""``/api/models``: what the cards and records say of each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cards import ModelRepository
from deepscan_client import DeepScanError


def catalogue(repository: ModelRepository, answered: Mapping[str, str], profile: str = "cpu") -> list[dict[str, Any]]:
    """One entry for each model, in alphabetical order.

    Args:
        repository: cards and records.
        answered: model: ``version:record`` that last spoke in a verdict, so that an operator sees when Triton
            serves something else than this repository.
        profile: whose precision is shown.
    """
    return [_entry(repository, name, answered.get(name), profile) for name in repository.names()]


def _entry(repository: ModelRepository, name: str, answered: str | None, profile: str) -> dict[str, Any]:
    """A model that cannot be read is listed with its error: one broken card must not hide the others."""
    entry: dict[str, Any] = {"name": name}
    try:
        card = repository.card(name)
        entry |= {"title": card.title, "description": " ".join(card.description.split()), "kind": card.kind}
        entry["family"] = card.family or None
        entry["licence"] = card.licence.model_dump()
        entry["version"] = repository.latest(name)
        if card.kind == "network":
            entry["precision"] = {str(key): value for key, value in card.serve.items()}.get(profile)
        if repository.has_record(name):
            record = repository.record(name)
            digest = repository.record_hash(name)
            entry |= {
                "record": digest[:12],
                "record_sha256": digest,
                "weights_sha256": record.weights_sha256,
                "created": record.created,
                "commercial": record.commercial,
                "evaluated_on": record.evaluated_on or None,
                "evaluation": [group.model_dump() for group in record.evaluation],
            }
            if record.licence:
                entry["licence"]["weights"] = record.licence
        if answered is not None:
            version, _, spoke = answered.partition(":")
            entry["answering"] = {"version": version, "record": spoke}
    except DeepScanError as error:
        entry["error"] = error.to_dict()
    return entry
