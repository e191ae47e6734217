"""Train the lip-sync network: ``python -m training.sync.train RUN`` writes ``all.pt`` and one file for each fold.

Two losses over the mean agreement of a stretch of 10 to 40 frames: which of 31 offsets in the same clip is the true
one, and which of all offsets in all clips of the batch. Lips and sound begin at random moments, so that no edge of a
stretch tells where they are in step.

The clips themselves are not all in step: sources differ by up to three frames (most of GRID's have their sound early).
So each training clip has an offset of its own, learnt beside the network as probabilities over -3 to 3
frames that begin around 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.layout import read_data
from training.models.lip_sync import LipSync
from training.prepare import data_folder
from training.report import sources_of
from training.sync.batches import FRAMES, Talk, draw, ready
from training.sync.cache import load
from training.sync.folds import FOLDS, folds_of, groups_of

LEAST_SPEECH = 0.2
"""Share of a clip in which somebody must speak for it to teach."""
LEAST_FRAMES = 56
OWN = 3
"""Greatest own offset of a clip, in frames."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Settings of a run. ``seeds`` networks are trained for each fold, and served as one."""

    steps: int = 300
    batch: int = 16
    rate: float = 3e-3
    dropout: float = 0.2
    hidden: int = 48
    variants: int = 4
    seed: int = 1
    seeds: int = 1
    fakes: bool = False


class OwnOffsets(nn.Module):
    """Log-probabilities of each clip's own offset, [n, 7] for the clips that are asked for."""

    def __init__(self, clips: int) -> None:
        super().__init__()
        steps = torch.arange(-OWN, OWN + 1)
        self.register_buffer("steps", steps, persistent=False)
        self.logits = nn.Parameter(-0.15 * steps.abs().float().repeat(clips, 1))

    def forward(self, which: Tensor) -> Tensor:
        return functional.log_softmax(self.logits[which], dim=1)

    def expected(self) -> list[float]:
        """Frames, of every clip."""
        shares = self.logits.detach().softmax(dim=1)
        return (shares * torch.arange(-OWN, OWN + 1)).sum(dim=1).tolist()


def agreement(mouth: Tensor, sound: Tensor, weight: Tensor) -> Tensor:
    """Mean agreement of every mouth with every piece of sound at every offset.

    Args:
        mouth: [n, 40, d]; sound: [n, 70, d]; weight: [n, 40], each row sums to 1.

    Returns:
        [n mouths, n sounds, 31].
    """
    windows = sound.unfold(1, FRAMES, 1)  # [n, 31, d, 40]
    flat = windows.permute(0, 1, 3, 2).flatten(2)  # [n, 31, 40 d]
    return torch.einsum("mk,nok->mno", (mouth * weight[..., None]).flatten(1), flat)


def sync_loss(scores: Tensor, begins: Tensor, own: Tensor, scale: Tensor) -> Tensor:
    """Minus log-likelihood of the true offset among those of the own clip, and among all offsets of all clips.

    Args:
        scores: of :func:`agreement`; begins: [n], the offset where lips and sound have the same time.
        own: [n, 7], log-probabilities of the clip's own offset.
    """
    count, offsets = len(scores), scores.shape[2]
    rows = torch.arange(count)
    logits = scores * scale.exp()
    places = begins[:, None] + torch.arange(-OWN, OWN + 1)
    inside = (places >= 0) & (places < offsets)
    known = torch.where(inside, own, torch.full_like(own, -1e4))
    places = places.clamp(0, offsets - 1)
    within = functional.log_softmax(logits[rows, rows], dim=1)
    among = functional.log_softmax(logits.flatten(1), dim=1).reshape(count, count, offsets)[rows, rows]
    first, second = (-torch.logsumexp(known + part.gather(1, places), dim=1).mean() for part in (within, among))
    return first + 0.5 * second


def fit(talks: Sequence[Talk], plan: Plan, seed: int) -> tuple[LipSync, dict[str, float]]:
    """Train one network; also the own offset of each clip that it learnt from, in frames."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    able = [talk for talk in talks if talk.speech.mean() >= LEAST_SPEECH and len(talk) >= LEAST_FRAMES]
    model, own = LipSync(hidden=plan.hidden, dropout=plan.dropout).train(), OwnOffsets(len(able))
    groups: list[dict[str, Any]] = [{"params": model.parameters()}, {"params": own.parameters(), "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.rate, weight_decay=0.05)
    rates = [plan.rate, 20 * plan.rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=plan.steps, pct_start=0.15)
    began, seen = time.monotonic(), 0.0
    for step in range(plan.steps):
        lips, mel, begins, which = draw(able, plan.batch, rng)
        scores = agreement(model.see(lips), model.hear(mel), _spans(plan.batch, rng))
        loss = sync_loss(scores, begins, own(which), model.scale)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        seen = 0.95 * seen + 0.05 * loss.item() if step else loss.item()
    _LOG.info("%d clips, loss %.3f, %.0f s", len(able), seen, time.monotonic() - began)
    return model.eval(), {talk.name: round(value, 2) for talk, value in zip(able, own.expected())}


def _spans(count: int, rng: np.random.Generator) -> Tensor:
    """Weights over the frames of a stretch: a random part of 10 to 40 frames counts, evenly."""
    weight = np.zeros((count, FRAMES), np.float32)
    for row in weight:
        length = int(rng.integers(10, FRAMES + 1))
        first = int(rng.integers(0, FRAMES - length + 1))
        row[first : first + length] = 1.0 / length
    return torch.from_numpy(weight)


def read_run(run: Path, name: str = "all") -> tuple[list[LipSync], Mapping[str, Any]]:
    """The networks of a run (``all``, or the number of a fold), and what it says of itself.

    Raises:
        FileNotFoundError: that part of the run is missing.
    """
    state = torch.load(run / f"{name}.pt", map_location="cpu", weights_only=True)
    plan = Plan(**json.loads(state["settings"]))
    networks = []
    for weights in state["weights"]:
        network = LipSync(hidden=plan.hidden, dropout=plan.dropout)
        network.load_state_dict(weights)
        networks.append(network.eval())
    return networks, state


def main(arguments: list[str] | None = None) -> int:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/sync"))
    parser.add_argument("--data", type=Path, default=data_folder())
    for name, value in vars(Plan()).items():
        kind = {"action": "store_true"} if isinstance(value, bool) else {"type": type(value), "default": value}
        parser.add_argument(f"--{name}", **kind)
    parser.add_argument("--models", nargs="*", default=[*(str(fold) for fold in range(FOLDS)), "all"])
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    options.run.mkdir(parents=True, exist_ok=True)
    plan = Plan(**{name: getattr(options, name) for name in vars(Plan())})
    clips = load(options.cache)
    groups = groups_of(clips)
    folds = folds_of(groups)
    rows = {row.path: row for row in read_data(options.data, medium="video")}
    talks = [
        ready(clip, group, plan.variants, place)
        for place, (clip, group) in enumerate(zip(clips, groups))
        if plan.fakes or not clip.label
    ]
    for name in options.models:
        taught = [talk for talk in talks if name == "all" or folds[talk.group] != int(name)]
        fitted = [fit(taught, plan, plan.seed + place) for place in range(plan.seeds)]
        heard = [rows[path] for path in fitted[0][1] if path in rows]
        state = {
            "weights": [network.state_dict() for network, _ in fitted],
            "settings": json.dumps(vars(plan)),
            "own_offsets": json.dumps(fitted[0][1]),
            "trained_on": json.dumps([source.model_dump() for source in sources_of(heard)]),
        }
        torch.save(state, options.run / f"{name}.pt")
        _LOG.info(
            "%s.pt; own offsets: %s", name, ", ".join(f"{k.rsplit('/')[-1]} {v}" for k, v in fitted[0][1].items())
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
