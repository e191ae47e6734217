"""``EnsembleDeepfakeDetector``: several detectors of any kind behind one call, each with its own view of the sample."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepscan_client.errors import RequestError
from training.models.ensemble import Ensemble

Floats = npt.NDArray[np.float64]
View = str | Callable[[Any], Any]


@dataclass(frozen=True)
class EnsemblePrediction:
    """What the members say together.

    Attributes:
        probability: of a fake, float64 [n] for n items.
        log_odds: [n].
        shares: what each member adds to the log-odds, [n]; with the bias they add up to it.
        missing: members that had nothing to judge; reasons: why, for each of them.
    """

    probability: Floats
    log_odds: Floats
    shares: dict[str, Floats]
    missing: tuple[str, ...]
    reasons: dict[str, str]

    def __float__(self) -> float:
        """The probability of a single item."""
        if len(self.probability) != 1:
            raise TypeError(f"{len(self.probability)} items have no single probability: read .probability")
        return float(self.probability[0])


class EnsembleDeepfakeDetector:
    """Weighs what several detectors say.

    A sample is one input for all, a mapping, or an object with attributes. A member finds its view of a mapping or an
    object under its own name, else under the name of what it takes: ``crop`` [n, 3, s, s], ``embeddings`` [n, t, d],
    ``clip`` [n, t, 3, s, s], ``audio`` [n, s] (the last three alone or with a mask, as a pair), ``image`` (a path,
    bytes or pixels). Crops and clips are uint8, or normalised as ``training.models.output`` says; they have any side,
    and each network of ``training.models`` gets them at the one that it takes. A member without its view, or one that
    cannot take it, is masked: the others speak for it in the ratio of their weights.

    >>> import torch
    >>> from training.models.registry import NETWORKS
    >>> names = ("deepscan_cnn", "sequence_rnn", "denoising_autoencoder")
    >>> ensemble = EnsembleDeepfakeDetector([NETWORKS[name].empty() for name in names])
    >>> ensemble(torch.zeros(2, 3, 224, 224)).missing
    ('SequenceRnn',)

    Args:
        models: networks of ``training.models`` (or any torch module of one input that gives logits), objects with
            ``predict_image`` such as ``DeepfakeInferenceEngine``, or callables that give a probability, a verdict, or
            an array of probabilities. A mapping names them; names of a list are those of their types, numbered where
            they repeat.
        views: for a member, the name of its view or a function of the sample; None from the function is "missing".
        calibrations: slope and intercept that bring a member's logit to log-odds (``record.calibration``).
        weights: of the members, none below 0; equal where left out. bias: in log-odds.

    Raises:
        ValueError: there is no member, a name is unknown, or a weight is below 0.
    """

    def __init__(
        self,
        models: Sequence[Any] | Mapping[str, Any],
        *,
        views: Mapping[str, View] | None = None,
        calibrations: Mapping[str, tuple[float, float]] | None = None,
        weights: Mapping[str, float] | None = None,
        bias: float = 0.0,
    ) -> None:
        self.models: dict[str, Any] = dict(models) if isinstance(models, Mapping) else _named(models)
        self._views, self._calibrations = dict(views or {}), dict(calibrations or {})
        given = {*self._views, *self._calibrations, *(weights or {})}
        if unknown := given - set(self.models):
            raise ValueError(f"no member is named {', '.join(sorted(unknown))}; there are {', '.join(self.models)}")
        equal = 1.0 / max(1, len(self.models))
        chosen = [equal if weights is None else float(weights.get(name, 0.0)) for name in self.models]
        self._ensemble = Ensemble(tuple(self.models), np.array(chosen), bias)

    def __call__(self, sample: Any) -> EnsemblePrediction:
        """Judge one sample or a batch.

        Raises:
            RequestError: no member has anything to judge, or members answer for different numbers of items.
        """
        answers = {name: self._ask(name, sample) for name in self.models}
        there = {name: answer for name, answer in answers.items() if not isinstance(answer, str)}
        reasons = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
        if not there:
            told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise RequestError(
                f"no member of the ensemble found its input in the sample ({told})",
                remedy=f"give one of: {', '.join(sorted({str(self._view(name)) for name in self.models}))}",
            )
        sizes = {name: len(answer) for name, answer in there.items()}
        if len(set(sizes.values())) > 1:
            raise RequestError(f"members answered for different numbers of items: {sizes}", remedy="give equal batches")
        count = next(iter(sizes.values()))
        gap = np.full(count, np.nan)
        table = np.column_stack([there.get(name, gap) for name in self.models])
        silent = np.isnan(table).all(axis=1)
        if silent.any():
            raise RequestError(f"no member could judge item {int(np.argmax(silent))}", remedy="leave it out")
        shares = self._ensemble.contributions(table)
        log_odds = self._ensemble.log_odds(table)
        return EnsemblePrediction(
            probability=1 / (1 + np.exp(-np.clip(log_odds, -60, 60))),
            log_odds=log_odds,
            shares={name: shares[:, place] for place, name in enumerate(self.models)},
            missing=tuple(reasons),
            reasons=reasons,
        )

    def _view(self, name: str) -> View:
        return self._views.get(name) or _takes(self.models[name])

    def _ask(self, name: str, sample: Any) -> Floats | str:
        """Log-odds of one member, [n], or why it has nothing to judge."""
        member, view = self.models[name], self._view(name)
        seen = view(sample) if callable(view) else _seen(sample, name, view)
        if seen is None:
            return "the sample has no view for it" if callable(view) else f"the sample has no {view}"
        if _is_module(member):
            from ml_backend.ensemble_inputs import UnfitInputError, logits_of

            try:
                raw = logits_of(member, seen, str(view))
            except UnfitInputError as error:
                return str(error)
        else:
            raw = _log_odds(member, seen)
        slope, intercept = self._calibrations.get(name, (1.0, 0.0))
        return np.asarray(slope * raw + intercept, dtype=np.float64)


def _named(models: Sequence[Any]) -> dict[str, Any]:
    words = [getattr(model, "__name__", type(model).__name__) for model in models]
    counted: dict[str, Any] = {}
    for word, model in zip(words, models):
        name, number = word, 2
        while name in counted:
            name, number = f"{word}_{number}", number + 1
        counted[name] = model
    return counted


def _is_module(member: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(member, torch.nn.Module)


def _takes(member: Any) -> str:
    """Name of the view of a member that nothing else is said of."""
    if isinstance(told := getattr(member, "takes", None), str):
        return told
    if hasattr(member, "predict_image"):
        return "image"
    if _is_module(member):
        return "crop"
    return "input"


def _seen(sample: Any, name: str, view: str) -> Any:
    """A member's part of the sample, or None."""
    if isinstance(sample, Mapping):
        found = sample.get(name)
        return sample.get(view) if found is None else found
    if isinstance(sample, (str, bytes, np.ndarray, list, tuple)) or hasattr(sample, "__array__"):
        return sample
    found = getattr(sample, name, None)
    return getattr(sample, view, None) if found is None else found


def _log_odds(member: Any, seen: Any) -> Floats:
    """What an engine or a callable answers, as log-odds [n]."""
    answer = member.predict_image(seen) if hasattr(member, "predict_image") else member(seen)
    answer = getattr(answer, "fake_probability", answer)
    probabilities = np.atleast_1d(np.asarray(np.nan if answer is None else answer, dtype=np.float64)).reshape(-1)
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise RequestError(
            f"a member answered {probabilities.tolist()}, which is no probability", remedy="give callables of 0 to 1"
        )
    bounded = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(bounded / (1 - bounded)))
