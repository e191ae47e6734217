"""Training of our own vocoders: spectral losses first, critics after a part of the time; both states are kept.

``python -m training.audio.neural_training NAME`` trains one within its budget of processor time.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.neural_blocks import MelSpectra, blurred, magnitude, spectrum
from training.audio.neural_vocoders import OWN, CodecVocoder, CopyModel
from training.audio.sounds import Sound, rms
from training.audio.vocoders import Copy, MissingToolError, Vocoder

SECONDS = 260.0
CRITICS_FROM = 0.4
LEVEL = 0.08
"""Root mean square of the sound that a vocoder gets; copies get their real clip's level afterwards."""
_LOG = logging.getLogger(__name__)


class SpectralLoss(nn.Module):
    """Distance of mel bands, and of magnitudes at two of four resolutions, drawn anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (256, 512, 1024, 2048)
        self.mel = MelSpectra(1024, 256, 80)
        for size in self.sizes:
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        total = 2 * functional.l1_loss(self.mel(made), self.mel(real))
        for place in torch.randperm(len(self.sizes))[:2]:
            size = self.sizes[int(place)]
            window = getattr(self, f"window{size}")
            ours = magnitude(spectrum(made, size, size // 4, window))
            theirs = magnitude(spectrum(real, size, size // 4, window))
            total = total + torch.linalg.norm(theirs - ours) / torch.linalg.norm(theirs).clamp(min=1e-3) / 2
            total = total + functional.l1_loss(torch.log(ours + 1e-4), torch.log(theirs + 1e-4)) / 2
        return total


class SpectrumCritic(nn.Module):
    """Judges patches of the complex spectrum, with small magnitudes raised, at one resolution."""

    window: Tensor

    def __init__(self, size: int, hop: int, width: int = 16) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(2, width, (7, 3), (2, 1), (3, 1)),
                nn.Conv2d(width, width, (5, 3), (2, 1), (2, 1)),
                nn.Conv2d(width, 2 * width, (5, 3), (2, 2), (2, 1)),
                nn.Conv2d(2 * width, 2 * width, 3, (2, 1), 1),
                nn.Conv2d(2 * width, 1, 3, 1, 1),
            ]
        )

    def forward(self, sound: Tensor) -> list[Tensor]:
        """Features of every layer; the last is the judgement."""
        with torch.autocast("cpu", enabled=False):
            spectra = spectrum(sound.float(), self.size, self.hop, self.window)
            small = spectra * magnitude(spectra) ** -0.7
            image = torch.stack([small.real, small.imag], dim=1)
        return _judge(self.layers, image)


class PeriodCritic(nn.Module):
    """Judges the samples that stand a period apart."""

    def __init__(self, period: int, width: int = 16) -> None:
        super().__init__()
        self.period = period
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, width, (5, 1), (3, 1), (2, 0)),
                nn.Conv2d(width, 2 * width, (5, 1), (3, 1), (2, 0)),
                nn.Conv2d(2 * width, 4 * width, (5, 1), (3, 1), (2, 0)),
                nn.Conv2d(4 * width, 1, (3, 1), 1, (1, 0)),
            ]
        )

    def forward(self, sound: Tensor) -> list[Tensor]:
        whole = sound[:, : sound.shape[1] // self.period * self.period]
        return _judge(self.layers, whole.reshape(len(sound), 1, -1, self.period))


def _judge(layers: nn.ModuleList, image: Tensor) -> list[Tensor]:
    found = []
    for number, layer in enumerate(layers):
        image = layer(image)
        if number < len(layers) - 1:
            image = functional.leaky_relu(image, 0.1)
        found.append(image)
    return found


def critics() -> nn.ModuleList:
    """Three resolutions and three periods."""
    return nn.ModuleList(
        [SpectrumCritic(1024, 256), SpectrumCritic(512, 128), SpectrumCritic(256, 64)]
        + [PeriodCritic(period) for period in (2, 3, 7)]
    )


def pieces(sounds: list[Sound], sources: list[str], length: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches of random pieces at about ``LEVEL``: float32 [batch, length]; sources weigh by the root of their size."""
    rng = np.random.default_rng(seed)
    counts = {source: sources.count(source) for source in set(sources)}
    weights = np.array(
        [counts[source] ** -0.5 * min(1.0, len(sound) / length) for source, sound in zip(sources, sounds)]
    )
    while True:
        chosen = rng.choice(len(sounds), batch, p=weights / weights.sum())
        block = np.zeros((batch, length), np.float32)
        for row, item in enumerate(chosen):
            sound = sounds[item]
            start = int(rng.integers(0, max(1, len(sound) - length + 1)))
            piece = sound[start : start + length]
            block[row, : len(piece)] = piece * np.float32(LEVEL / rms(sound) * np.exp(rng.normal(0, 0.4)))
        # A trace of noise: exact silence has no spectrum to learn.
        block += rng.standard_normal(block.shape).astype(np.float32) * np.float32(1e-5)
        yield torch.from_numpy(np.clip(block, -1, 1))


def train_vocoder(
    model: CopyModel,
    sounds: list[Sound],
    sources: list[str],
    target: Path,
    seconds: float = SECONDS,
    most_steps: int = 1_000_000,
    seed: int = 0,
) -> dict[str, float]:
    """Train for ``seconds`` of processor time or ``most_steps``.

    Writes ``target`` and, before the critics begin, ``<stem>_early.pt``. Weights that ``target`` holds already are
    trained further, with critics from the beginning.

    Returns:
        Steps, last spectral loss (smoothed), processor seconds.
    """
    torch.manual_seed(seed)
    judge, distance = critics(), SpectralLoss()
    maker = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.8, 0.99), weight_decay=0.01)
    judging = torch.optim.AdamW(judge.parameters(), lr=3e-4, betas=(0.8, 0.99))
    begun, told, steps, smooth, early = time.process_time(), time.monotonic(), 0, 0.0, False
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = target.is_file()
    if resumed:
        model.load_state_dict(torch.load(target, weights_only=True))
    else:
        model.prepare(torch.from_numpy(sound * np.float32(LEVEL / rms(sound))) for sound in sounds if len(sound) > 4096)
    model.train()
    for real in pieces(sounds, sources, model.piece, model.batch, seed):
        done = max((time.process_time() - begun) / seconds, steps / most_steps)
        if done >= 1:
            break
        for group in maker.param_groups:
            group["lr"] = 1e-3 * min(1.0, (steps + 1) / 50) * (1.0 if done < 0.5 else 0.1 + 0.9 * 2 * (1 - done))
        judged = model.spectral and (resumed or done >= CRITICS_FROM)
        if judged and not early and not resumed:
            torch.save(model.state_dict(), target.with_name(f"{target.stem}_early.pt"))
            early = True
        loss = torch.zeros(())
        if model.spectral:
            with torch.autocast("cpu", torch.bfloat16):
                made = model(real)
            near = distance(made.float(), real)
            loss = loss + near
        loss = loss + model.penalty(real)
        if judged:
            loss = loss + _adversarial(judge, judging, made, real)
        maker.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        maker.step()
        steps += 1
        value = float((near if model.spectral else loss).detach())
        smooth = value if steps == 1 else 0.98 * smooth + 0.02 * value
        if time.monotonic() - told > 15:
            told = time.monotonic()
            left = (1 - done) * seconds
            _LOG.info("%s: step %d, loss %.3f, %.0f s of processor left", target.stem, steps, smooth, left)
    torch.save(model.state_dict(), target)
    return {"steps": steps, "loss": round(smooth, 4), "seconds": round(time.process_time() - begun, 1)}


def _adversarial(judge: nn.ModuleList, judging: torch.optim.Optimizer, made: Tensor, real: Tensor) -> Tensor:
    """One step of the critics, then what the vocoder loses by them; half of the critics a step, drawn anew."""
    chosen = [judge[int(place)] for place in torch.randperm(len(judge))[:3]]
    with torch.autocast("cpu", torch.bfloat16):
        wrong = torch.zeros(())
        for critic in chosen:
            right, false = critic(real)[-1].float(), critic(made.detach())[-1].float()
            wrong = wrong + ((1 - right) ** 2).mean() + (false**2).mean()
    judging.zero_grad()
    wrong.backward()  # type: ignore[no-untyped-call]
    judging.step()
    loss = torch.zeros(())
    with torch.autocast("cpu", torch.bfloat16):
        for critic in chosen:
            with torch.no_grad():
                theirs = critic(real)
            ours = critic(made)
            loss = loss + 0.3 * ((1 - ours[-1].float()) ** 2).mean()
            for left, right in zip(ours[:-1], theirs[:-1]):
                loss = loss + 0.5 * functional.l1_loss(left.float(), right.float())
    return loss


def real_sounds(cache: VoiceCache) -> tuple[list[Sound], list[str]]:
    """All real clips of the cache, decoded, with their sources."""
    reals = np.flatnonzero(cache.labels == 0)
    return [cache.samples(int(item)) for item in reals], [cache.rows[int(item)].source for item in reals]


def ensure_trained(name: str, folder: Path, seconds: float = SECONDS, further: bool = False) -> None:
    """Train one of our own vocoders on the real clips of the cache, unless its weights are there.

    Args:
        further: go on from the weights that are there.
    """
    target = folder / "vocoders" / f"{name}.pt"
    if further or not target.is_file():
        sounds, sources = real_sounds(load_voice_cache(folder))
        told = train_vocoder(OWN[name](), sounds, sources, target, seconds)
        record = target.with_suffix(".json")
        before = json.loads(record.read_text(encoding="utf-8")) if further and record.is_file() else []
        record.write_text(json.dumps([*before, told]) + "\n", encoding="utf-8")
        _LOG.info("%s: %s", name, told)


def load_vocoder(name: str, folder: Path) -> Vocoder:
    """A trained vocoder as a copier: one copy in four by the early state, one in three from blurred features.

    Raises:
        MissingToolError: it has not been trained.
    """
    final, early = folder / f"{name}.pt", folder / f"{name}_early.pt"
    if not final.is_file():
        raise MissingToolError(f"the vocoder {name} ({final.name})")
    states = {path.stem: OWN[name]() for path in (final, early) if path.is_file()}
    for stem, model in states.items():
        model.load_state_dict(torch.load(folder / f"{stem}.pt", weights_only=True))
        model.eval()

    @torch.inference_mode()
    def copy(samples: Sound, rng: np.random.Generator) -> Copy:
        words = []
        model = states[name]
        if f"{name}_early" in states and rng.random() < 0.25:
            model = states[f"{name}_early"]
            words.append("early")
        if isinstance(model, CodecVocoder):
            model.used = int(rng.integers(4, model.books + 1))
            words.append(f"books{model.used}")
        torch.manual_seed(int(rng.integers(2**31)))
        sound = torch.from_numpy(samples * np.float32(LEVEL / rms(samples)))[None]
        features = model.analyse(sound)
        if model.blurs and rng.random() < 0.33:
            time_blur, band_blur = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0, 1.0))
            bands = features[:, :64] if name == "own_source_filter" else features
            smooth = blurred(bands, time_blur, band_blur)
            features = torch.cat([smooth, features[:, bands.shape[1] :]], dim=1)
            words.append(f"blur{time_blur:.1f}-{band_blur:.1f}")
        with torch.autocast("cpu", torch.bfloat16):
            made = model.generate(features, len(samples))
        return made[0].float().numpy(), "-".join(words) or "plain"

    return copy


def main(arguments: list[str] | None = None) -> int:
    """Train one vocoder, or several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(OWN))
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--further", action="store_true", help="go on from the weights that are there")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    for name in options.names:
        ensure_trained(name, options.cache, options.seconds, options.further)
    return 0


if __name__ == "__main__":
    sys.exit(main())
