"""A repository of a user's own networks: the shipped one, with what was trained in it and a verdict that uses it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cards.record import Fusion, VersionRecord
from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from export import generate
from export.folders import replace_folder
from export.onnx_export import export_model
from export.provenance import bases_of, built_on
from export.record import git_revision, now, write_record
from export.templates import model_name
from export.voice_verdict import write_voice_verdict
from training.embeddings import embedded_by
from training.families import Trained
from training.fusion import DEFAULT_POINT, fit_fusion
from training.report import licence_of

FACES, VERDICT = "image_faces", "image_verdict"
VOICE = "audio_voice"


def check_target(target: Path) -> None:
    """Raise unless a repository may be written to ``target``: it is missing, empty, or a repository.

    Raises:
        InstallationError: it holds something else, which must not be lost.
    """
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not any(target.glob("*/card.yaml")))):
        raise InstallationError(
            f"{target} is not a model repository, and would be replaced",
            code=ErrorCode.MODEL_MISSING,
            remedy="name another output_dir",
        )


def write_repository(
    target: Path, trained: Sequence[Trained], shipped: ModelRepository, members: Sequence[str]
) -> dict[str, float]:
    """Copy the shipped repository, export what was trained, and refit the photo verdict; replaces ``target`` whole.

    Args:
        trained: networks, each with its scores of the validation items.
        members: crop networks among them that the verdict is made of; none leaves it as it was shipped.

    Returns:
        Weight of each member in the verdict.

    Raises:
        InstallationError: ``target`` holds something that is no repository.
    """
    check_target(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(shipped.root, partial, ignore=shutil.ignore_patterns("__pycache__", "*.plan"))
    for each in trained:
        # Its own card: crops may have another size than those of the shipped version.
        shutil.rmtree(partial / model_name(each.entry), ignore_errors=True)
        nothing = partial / ".none"  # parity on noise: a user's machine has no cache of the training photos
        export_model(each.entry.name, each.result.model, partial, nothing, 1, False, _told(each, shipped))
    weights = _refit(ModelRepository(partial), trained, members) if members else {}
    voices = [each for each in trained if each.entry.takes == "audio"]
    if voices and (partial / VOICE / "card.yaml").is_file():
        _refit_voice(ModelRepository(partial), voices[0])
    generate.write(ModelRepository(partial))
    replace_folder(partial, target)
    return weights


def _told(trained: Trained, shipped: ModelRepository) -> Mapping[str, Any]:
    """Fields of the record."""
    result, bases = trained.result, bases_of(trained.entry, shipped)
    kept = {name: getattr(trained.settings, name) for name in trained.settings.__dataclass_fields__}
    return {
        "trained_on": trained.sources,
        "training": {
            **kept,
            "epoch": result.epoch,
            "epochs_trained": result.epochs,
            "steps": result.steps,
            "seconds": result.seconds,
            "ended": result.ended,
            "validation": trained.measured,
            **(embedded_by(shipped) if trained.entry.takes == "embeddings" else {}),
            **built_on(bases),
        },
        "calibration": trained.calibration,
        **licence_of(trained.sources, bases),
    }


def _refit(repository: ModelRepository, trained: Sequence[Trained], members: Sequence[str]) -> dict[str, float]:
    """Let the photo way call the members, and write their fusion."""
    chosen = {model_name(each.entry): each for each in trained if each.entry.name in members}
    labels = next(iter(chosen.values())).labels
    fitted = fit_fusion(
        {name: each.logits for name, each in chosen.items()},
        labels,
        {name: each.calibration for name, each in chosen.items()},
    )
    # What counts nothing is not asked: it would only cost time.
    speaking = [name for name in chosen if fitted.weights[name] > 0] or list(chosen)[:1]
    _call(repository.root / FACES / "card.yaml", ["face_detector", *speaking])
    fresh = ModelRepository(repository.root)
    fusion = Fusion(
        members={name: fresh.record_hash(name) for name in speaking},
        weights={name: fitted.weights[name] for name in speaking},
        bias=fitted.bias,
        refits=fitted.refits,
        real_quantiles=fitted.real_quantiles,
        operating_points=fitted.operating_points,
        default_operating_point=DEFAULT_POINT,
        fitted_on=fitted.fitted_on,
    )
    sources = tuple(source for name in speaking for source in chosen[name].sources)
    bases = [base for name in speaking for base in bases_of(chosen[name].entry, repository)]
    record = VersionRecord(
        model=VERDICT,
        version=fresh.latest(VERDICT),
        created=now(),
        git_revision=git_revision(),
        fusion=fusion,
        **licence_of(sources, bases),
    )
    write_record(fresh.folder(VERDICT), record)
    return dict(fusion.weights)


def _refit_voice(repository: ModelRepository, trained: Trained) -> None:
    """Let the voice way ask this network alone of all detectors, and write its verdict's record.

    So few validation recordings say nothing of noise and codecs: the fusion has no conditions.
    """
    own = trained.entry.name
    calls = repository.card(VOICE).calls
    kept = [name for name in calls if name == own or repository.card(name).family != "audio"]
    _call(repository.root / VOICE / "card.yaml", kept if own in kept else [*kept, own])
    fitted = fit_fusion({own: trained.logits}, trained.labels, {own: trained.calibration})
    fusion = Fusion(
        members={own: ""},
        weights=fitted.weights,
        bias=fitted.bias,
        refits=fitted.refits,
        real_quantiles=fitted.real_quantiles,
        operating_points=fitted.operating_points,
        default_operating_point=DEFAULT_POINT,
        fitted_on=fitted.fitted_on.replace("photos", "recordings"),
    )
    write_voice_verdict(ModelRepository(repository.root), fusion)


def _call(card: Path, models: Sequence[str]) -> None:
    """Set ``calls`` of a card without stand-ins, and leave the rest of the file as it was written."""
    text = re.sub(r"(?m)^tight:.*\n(?:[ \t].*\n?)*", "", card.read_text(encoding="utf-8"))
    changed, count = re.subn(r"(?m)^calls:.*(?:\n[ \t-].*)*", f"calls: [{', '.join(models)}]", text)
    if count != 1:
        raise InstallationError(
            f"{card}: calls: must stand there once", code=ErrorCode.BAD_CARD, remedy="mend the card"
        )
    card.write_text(changed, encoding="utf-8")
