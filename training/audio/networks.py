"""Train a convolutional voice network: ``python -m training.audio.networks voice_mfcc --minutes 5``.

Windows lie on the device (an accelerator where there is one); a step takes pairs (a real window, the same window of one
of its copies), damages both alike there (``training.audio.batch_damage``), and asks for the class and for the order of
the two. All of it is single precision: the cue lies 60 dB and more under the speech, where half precision has rounding
noise, and the networks are so small that the convolutions are not what takes the time.

``trained.pt`` in the run's folder is what ``python -m training.audio.network_runs`` makes a model of. With ``--pack``
the windows come from what ``python -m training.audio.cuts`` wrote, and nothing is needed but torch and numpy.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.metrics import auc
from training.audio.batch_damage import Dice, damaged
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.pairs import HELD, STEP, Cut, Mask, Pairs, held_out, masks, read_packs, rehearsal
from training.models.registry import network

TRAINED = "trained.pt"
CODED = "#"
"""Stands in the path of a clip that went through a codec, before the codec's name."""
LOOKS = 10
NORM_PAIRS = 48
"""Pairs on which the batch norms of a network that goes on are measured."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: minutes of the wall clock at most, steps at most (0: as many as fit), pairs a step, the
    highest rate of AdamW; families and share of the speakers of a rehearsal, where it is one."""

    minutes: float = 5.0
    steps: int = 0
    pairs: int = 8
    rate: float = 2e-3
    decay: float = 0.05
    seed: int = 1
    rehearse: tuple[str, ...] = ()
    speakers: int = 4

    def done(self, seconds: float, step: int) -> float:
        """The share that is done after so many seconds and steps."""
        share = seconds / max(self.minutes * 60, 1e-9)
        return min(1.0, max(share, step / self.steps if self.steps else 0.0))


def window_logits(
    model: nn.Module, cut: Cut, places: npt.NDArray[np.int64], device: torch.device, batch: int = 16
) -> npt.NDArray[np.float64]:
    """Logits of some windows."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            audio = torch.from_numpy(np.ascontiguousarray(cut.audio[some])).to(device).float() * STEP
            mask = masks(torch.from_numpy(cut.cells[some]).to(device))
            parts.append(model(audio, mask).logit[:, 0].double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def clip_logits(
    model: nn.Module, cache: VoiceCache, cut: Cut, held: Mask, device: torch.device
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Held clips that have windows [c], and the mean logit of each, by seconds of speech [c]."""
    places = np.flatnonzero(held[cut.clip])
    weight, clip = np.maximum(cut.weight[places].astype(np.float64), 1e-3), cut.clip[places]
    logits = window_logits(model, cut, places, device)
    total = np.bincount(clip, weight, minlength=len(cache))
    scored = np.flatnonzero(total > 0)
    return scored, np.bincount(clip, weight * logits, minlength=len(cache))[scored] / total[scored]


def pair_loss(told: Tensor) -> Tensor:
    """Class and order of pairs: logits [p, 2], the real first."""
    classes = 0.5 * (functional.softplus(told[:, 0]).mean() + functional.softplus(-told[:, 1]).mean())
    return classes + functional.softplus(told[:, 0] - told[:, 1]).mean()


def beginning(name: str, start: Path | None, source: Pairs, dice: Dice, device: torch.device) -> nn.Module:
    """A fresh network, or the one of a run or of the repository (``shipped``) with its batch norms opened."""
    if start is None:
        fresh: nn.Module = network(name).build()
        return fresh.to(device)
    from training.audio.origins import origin_of, reopened  # a runtime, which a pack does without

    with torch.no_grad():
        audio, cells = damaged(*source.batch(NORM_PAIRS), dice)
    model = origin_of(name, start).model.to(device)
    return reopened(model, audio.flatten(0, 1), masks(cells).repeat_interleave(2, dim=0))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the running average of all weights and statistics towards the model."""
    ours, theirs = average.state_dict(), model.state_dict()
    names = [name for name, value in ours.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1 - keep)
    for name in ours.keys() - set(names):
        ours[name].copy_(theirs[name])


def train_network(name: str, cache: VoiceCache, cut: Cut, recipe: Recipe, run: Path, start: Path | None = None) -> None:
    """Train for so many minutes, look ten times at what is held (it chooses nothing), write ``trained.pt``.

    Args:
        start: run to go on from, or ``shipped``.
    """
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run.mkdir(parents=True, exist_ok=True)
    chosen, held = rehearsal(cache, recipe.rehearse, recipe.speakers) if recipe.rehearse else held_out(cache)
    source, dice = Pairs(cache, cut, chosen, recipe.seed, device), Dice(recipe.seed, device)
    _LOG.info("%s: %d real windows with copies, on %s", name, len(source), device)
    model = beginning(name, start, source, dice, device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=recipe.decay)
    began, step, looks = time.monotonic(), 0, 0
    running = torch.tensor(1.4, device=device)
    while (done := recipe.done(time.monotonic() - began, step)) < 1 or not step:
        factor = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) + 0.01
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * factor
        with torch.no_grad():
            audio, cells = damaged(*source.batch(recipe.pairs), dice)
        told = model(audio.flatten(0, 1), masks(cells).repeat_interleave(2, dim=0)).logit[:, 0].reshape(-1, 2)
        loss = pair_loss(told)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        follow(average, model, min(0.999, (step + 1) / (step + 20)))
        step += 1
        running.lerp_(loss.detach(), 0.02)
        if done * LOOKS >= looks + 1:
            looks += 1
            scored, logits = clip_logits(average, cache, cut, held, device)
            seen = auc(logits, cache.labels[scored]) if len(np.unique(cache.labels[scored])) == 2 else float("nan")
            _LOG.info("%s: step %d, %.0f %%, loss %.3f, held out %.3f", name, step, 100 * done, float(running), seen)
    scored, logits = clip_logits(average, cache, cut, held, device)
    families, labels = cache.column("family")[scored], cache.labels[scored]
    found = {
        str(each): round(auc(logits[(labels == 0) | (families == each)], labels[(labels == 0) | (families == each)]), 3)
        for each in np.unique(families[labels == 1])
    }
    _LOG.info("%s: after %d steps held out %s %s", name, step, found, run)
    begun = {} if start is None else {"begun_from": start.name}
    seen_rows = np.unique(cut.clip[chosen[cut.clip]])
    torch.save(
        {
            "network": name,
            "state": {key: value.cpu() for key, value in average.state_dict().items()},
            "settings": json.dumps({**asdict(recipe), "held": list(HELD), "device": device.type, **begun}),
            "steps": step,
            "wall_minutes": (time.monotonic() - began) / 60,
            "start": str(start or ""),
            "paths": sorted({cache.rows[row].path.partition(CODED)[0] for row in seen_rows}),
            "held_paths": [cache.rows[row].path for row in scored],
            "held_logits": logits.tolist(),
        },
        run / TRAINED,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("voice_spectrogram", "voice_mfcc", "voice_raw"))
    parser.add_argument("--minutes", type=float, default=5.0, help="of the wall clock, all runs together")
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=(0,),
        help="at most; 0: as many as fit; of several each is a run RUN_STEPS",
    )
    parser.add_argument("--pairs", type=int, default=8, help="a step")
    parser.add_argument(
        "--rehearse", nargs="+", default=(), metavar="FAMILY", help="measure on these, never trained on"
    )
    parser.add_argument("--speakers", type=int, default=4, help="share of the speakers of a rehearsal")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--pack", type=Path, nargs="+", help="folders of a pack, in place of the cache")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--start", type=Path, help="run to go on from, or 'shipped'")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    began = time.monotonic()
    if options.pack:
        cache, cut = read_packs(options.pack)
    else:
        from training.audio.cuts import cut_cache  # decoders and a runtime, which a pack does without

        cache = load_voice_cache(options.cache)
        cut = cut_cache(cache)
    run = options.run or Path(".cache/runs") / options.network
    for steps in options.steps:
        recipe = Recipe(
            minutes=options.minutes - (time.monotonic() - began) / 60,
            steps=steps,
            pairs=options.pairs,
            rate=options.rate,
            seed=options.seed,
            rehearse=tuple(options.rehearse),
            speakers=options.speakers,
        )
        if recipe.minutes <= 0:
            _LOG.warning("no time is left for %d steps", steps)
            continue
        folder = run if len(options.steps) == 1 else run.with_name(f"{run.name}_{steps}")
        train_network(options.network, cache, cut, recipe, folder, options.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
