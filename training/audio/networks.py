"""Train a convolutional voice network: ``python -m training.audio.networks voice_mfcc --minutes 5``.

Windows of the whole cache are cut once; a step takes pairs (a real window, the same window of one of its copies),
damages both alike with what is cheap enough for a step (noise, a narrower band, coarser steps), and asks for the class
and for the order of the two. One split stands aside for good: the families ``HELD`` and the speakers of share
``HELD_SPEAKERS`` are never trained on, so that what is shipped is what was measured. Minutes are of processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from pipelines.audio.windows import CELL, CELLS, LEVEL, SAMPLES, windows_of
from pipelines.metrics import auc, platt
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.features import front_mark, speech_of_cache
from training.audio.heads import HeadSettings
from training.audio.train import Mask, family_aucs, sources_in, trainable
from training.fusion import calibrate
from training.models.registry import network
from training.report import Fit

HELD, HELD_SPEAKERS = ("lpc", "own_source_filter"), 5
STEP = 1.0 / 16_384
"""Of a stored sample: 16 bits over -2 to 2."""
PAIRS = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """All windows of a cache.

    Attributes:
        audio: int16 [w, SAMPLES] on disk, in units of ``STEP``; cells: int64 [w] that hold recording.
        clip: int64 [w]; number: int64 [w], place of the window in its clip; weight: float32 [w], seconds of speech.
    """

    audio: npt.NDArray[np.int16]
    cells: npt.NDArray[np.int64]
    clip: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


def cut_cache(cache: VoiceCache) -> Cut:
    """Cut every clip, or read what an earlier call cut of the same clips."""
    folder, paths = cache.folder / "features", [row.path for row in cache.rows]
    mark = f"{front_mark()}-{hashlib.sha256(chr(10).join(paths).encode()).hexdigest()[:8]}-windows"
    file, told = folder / f"{mark}.i16", folder / f"{mark}.npz"
    if told.is_file():
        with np.load(told) as held:
            columns = {name: held[name] for name in ("cells", "clip", "number", "weight")}
    else:
        speech = speech_of_cache(cache)
        rows: dict[str, list[float]] = {name: [] for name in ("cells", "clip", "number", "weight")}
        with file.open("wb") as handle:
            for place in np.flatnonzero(trainable(cache, HeadSettings())).tolist():
                found = windows_of(cache.samples(place), speech[place])
                for number in range(len(found)):
                    handle.write(np.round(found.audio[number] / STEP).clip(-32768, 32767).astype("<i2").tobytes())
                    rows["cells"].append(found.mask[number].sum())
                    rows["clip"].append(place)
                    rows["number"].append(number)
                    rows["weight"].append(found.weight[number])
        columns = {
            name: np.array(values, np.float32 if name == "weight" else np.int64) for name, values in rows.items()
        }
        np.savez(told, **columns)
    audio = np.memmap(file, "<i2", "r", shape=(len(columns["clip"]), SAMPLES))
    return Cut(audio, columns["cells"], columns["clip"], columns["number"], columns["weight"])


def damaged(pair: npt.NDArray[np.float32], cells: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Two windows [2, SAMPLES] with the same cheap damage: noise of any colour, a narrower band, coarse steps."""
    made: npt.NDArray[np.floating[Any]] = pair
    draw = rng.random(3)
    if draw[0] < 0.25:
        spectra = np.fft.rfft(made)
        edge = rng.uniform(3400, 7600) / 8000 * spectra.shape[1]
        keep = 1 / (1 + np.exp((np.arange(spectra.shape[1]) - edge) / (0.01 * spectra.shape[1])))
        made = np.fft.irfft(spectra * keep, SAMPLES)
    if draw[1] < 0.5:
        white = np.fft.rfft(rng.standard_normal(SAMPLES).astype(np.float32))
        colour = np.maximum(np.arange(len(white)), 40.0) ** -rng.choice([0.0, 0.0, 0.5, 1.0])
        noise = np.fft.irfft(white * colour, SAMPLES)
        made = made + noise * (LEVEL * 10 ** (-rng.uniform(8, 50) / 20) / noise.std())
    if draw[2] < 0.1:
        peak = np.abs(made).max()
        size = 2.0 ** -rng.integers(6, 10)
        companded = np.sign(made) * np.log1p(255 * np.abs(made) / peak) / np.log(256)
        companded = np.round(companded / size) * size
        made = np.sign(companded) * (np.expm1(np.abs(companded) * np.log(256)) / 255) * peak
    made = np.asarray(made, np.float32).copy()
    made[:, cells * CELL :] = 0
    return made


class Pairs:
    """Draws pairs of windows: reals by the square root of their source's size, copies by family.

    Args:
        chosen: clips that may be seen.
    """

    def __init__(self, cache: VoiceCache, cut: Cut, chosen: Mask, seed: int) -> None:
        self._cut, self._rng = cut, np.random.default_rng(seed)
        place = {(int(c), int(n)): w for w, (c, n) in enumerate(zip(cut.clip, cut.number))}
        families = cache.column("family")
        self._copies: dict[int, dict[str, list[int]]] = {}
        for window, (clip, number) in enumerate(zip(cut.clip, cut.number)):
            partner = (int(cache.partner[clip]), int(number))
            if chosen[clip] and partner in place and chosen[partner[0]]:
                self._copies.setdefault(place[partner], {}).setdefault(str(families[clip]), []).append(window)
        self._reals = np.array(sorted(self._copies), np.int64)
        sources = cache.column("source")[cut.clip[self._reals]]
        counts = {name: (sources == name).sum() for name in np.unique(sources)}
        mass = np.array([counts[name] ** -0.5 for name in sources]) * cut.weight[self._reals]
        self._mass = mass / mass.sum()

    def batch(self, pairs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Audio [2 p, SAMPLES] (reals at even places), mask [2 p, CELLS], labels [2 p]."""
        audio, mask = np.zeros((2 * pairs, SAMPLES), np.float32), np.zeros((2 * pairs, CELLS), np.float32)
        for number, real in enumerate(self._rng.choice(self._reals, pairs, p=self._mass)):
            kinds = self._copies[int(real)]
            copy = self._rng.choice(kinds[str(self._rng.choice(list(kinds)))])
            cells = int(min(self._cut.cells[real], self._cut.cells[copy]))
            both = np.stack([self._cut.audio[real], self._cut.audio[copy]]).astype(np.float32) * np.float32(STEP)
            audio[2 * number : 2 * number + 2] = damaged(both, cells, self._rng)
            mask[2 * number : 2 * number + 2, :cells] = 1
        labels = torch.tensor([0.0, 1.0]).repeat(pairs)
        return torch.from_numpy(audio), torch.from_numpy(mask), labels


def window_logits(
    model: nn.Module, cut: Cut, places: npt.NDArray[np.int64], batch: int = 16
) -> npt.NDArray[np.float64]:
    """Logits of some windows."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            audio = torch.from_numpy(cut.audio[some].astype(np.float32) * np.float32(STEP))
            mask = torch.from_numpy((np.arange(CELLS)[None] < cut.cells[some][:, None]).astype(np.float32))
            parts.append(model(audio, mask).logit[:, 0].double().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def held_out(cache: VoiceCache) -> tuple[Mask, Mask]:
    """What trains, and what is held: the families and the speakers that stand aside."""
    families = cache.column("family")
    share = np.array([row.fold == HELD_SPEAKERS for row in cache.rows])
    kind = np.isin(families, HELD)
    paired = trainable(cache, HeadSettings())
    return paired & ~share & ~kind, paired & share & (kind | (cache.labels == 0))


def train_network(name: str, cache: VoiceCache, cut: Cut, minutes: float, run: Path, rate: float, seed: int) -> None:
    """Train for so many minutes of processor time, measure on what stands aside, and write ``model.pt``."""
    torch.manual_seed(seed)
    run.mkdir(parents=True, exist_ok=True)
    chosen, held = held_out(cache)
    source = Pairs(cache, cut, chosen, seed)
    model = network(name).build().train()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.02)
    begun, wall, step, running = time.process_time(), time.monotonic(), 0, 0.69
    limit = minutes * 60
    while (spent := time.process_time() - begun) < limit:
        done = spent / limit
        factor = min(1.0, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * done)) + 0.01
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        audio, mask, labels = source.batch(PAIRS)
        told = model(audio, mask).logit[:, 0]
        loss = functional.binary_cross_entropy_with_logits(told, labels)
        loss = loss + functional.softplus(told[0::2] - told[1::2]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
        keep = min(0.99, (step + 1) / (step + 20))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].lerp_(value.detach(), 1 - keep)
            else:
                average[key].copy_(value)
        step += 1
        running += 0.02 * (loss.item() - running)
        if step % 100 == 0:
            _LOG.info("%s: step %d, loss %.3f, %.1f of %.1f min", name, step, running, spent / 60, minutes)
    model.load_state_dict(average)
    model.eval()
    places = np.flatnonzero(held[cut.clip])
    logits = window_logits(model, cut, places)
    clip = cut.clip[places]
    weight = np.maximum(cut.weight[places].astype(np.float64), 1e-3)
    total = np.bincount(clip, weight, minlength=len(cache))
    mean = np.bincount(clip, weight * logits, minlength=len(cache)) / np.where(total > 0, total, np.nan)
    scored = np.flatnonzero(np.isfinite(mean))
    found = family_aucs(cache, mean, held)
    overall = auc(mean[scored], cache.labels[scored])
    _LOG.info("%s after %d steps: held out %.3f, %s", name, step, overall, found)
    words = f"{len(scored)} clips of speakers and vocoders ({', '.join(HELD)}) that were kept out of training"
    calibration = calibrate(mean[scored], cache.labels[scored], words)
    slope, intercept = platt(mean[scored], cache.labels[scored])
    fit = Fit(
        calibration=calibration,
        refits=((slope / calibration.slope, intercept - calibration.intercept * slope / calibration.slope),),
        real_quantiles=(),
        operating_points={},
        default_operating_point="",
        fitted_on=words,
        by_kind=found,
    )
    (run / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    np.savez(run / "held.npz", paths=[cache.rows[place].path for place in scored], logits=mean[scored])
    settings = {"minutes": minutes, "rate": rate, "seed": seed, "pairs": PAIRS, "held": list(HELD)}
    torch.save(
        {
            "network": name,
            "state": model.state_dict(),
            "settings": json.dumps(settings),
            "trained_on": json.dumps([each.model_dump() for each in sources_in(cache, chosen)]),
            "result": json.dumps(
                {"steps": step, "wall_minutes": (time.monotonic() - wall) / 60, "held_out_auc": overall, **found}
            ),
        },
        run / "model.pt",
    )


def main(arguments: list[str] | None = None) -> int:
    """Train one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("voice_spectrogram", "voice_mfcc", "voice_raw"))
    parser.add_argument("--minutes", type=float, default=5.0, help="of processor time")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--run", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    run = options.run or Path(".cache/runs") / options.network
    train_network(options.network, cache, cut_cache(cache), options.minutes, run, options.rate, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
