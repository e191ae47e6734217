"""Augmentation of speech: one random choice of damage, applied alike to the two clips of a pair.

The cue of synthetic speech sits in low-level noise, and codecs and noise drown it or look like it. So a real clip and
its copy go through the same rooms, noises, codecs and losses, with the same random numbers; neither may become a cue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.signal import firwin2, oaconvolve

from training.audio.codecs import CALLS, CODECS, FILES, available, recode
from training.audio.noises import babble, coloured_noise, hum, random_equaliser, room
from training.audio.sounds import RATE, Sound, fitted, low_pass, resample, rms

NOISES = ("white", "pink", "brown", "babble", "hum", "speech_like")
PACKET, GATE = 320, 160


@dataclass(frozen=True)
class Damage:
    """One choice of everything that happens to a clip; the same value gives the same result.

    Attributes:
        seed: of the noises, rooms and losses below.
        speed: factor of tempo and pitch together; anything but 1 moves the timeline (position t goes to t / speed).
        equaliser_db: strength of random colour before the recording's own noise (RawBoost's linear part), 0 for none.
        overtones: share of squared and cubed signal (RawBoost's non-linear part).
        reverberation: seconds until the room is 60 dB down, 0 for none; direct_db: direct sound over the rest.
        noise: one of ``NOISES``, empty for none; snr_db: speech over noise.
        gate_db: how far a noise gate lowers pauses and whatever else lies 30 dB and more under the loud parts, as
            studio recordings have it, 0 for none.
        second_noise_db: level of a white noise far below (the recorder's), in dB over the speech; 0 for none.
        impulses: share of samples that carry a click.
        clip_share: the loudest share of the peak that is cut off, 0 for none.
        band: pass band in Hz, (0, 8000) for all.
        codecs: up to two passes of (name, rate, bits a second).
        lost_packets: share of packets of 20 ms that are lost; repeated: whether the last one is heard again instead.
        gain_db: at the end; what goes over full scale is cut.
    """

    seed: int = 0
    speed: float = 1.0
    equaliser_db: float = 0.0
    overtones: float = 0.0
    reverberation: float = 0.0
    direct_db: float = 6.0
    noise: str = ""
    snr_db: float = 30.0
    gate_db: float = 0.0
    second_noise_db: float = 0.0
    impulses: float = 0.0
    clip_share: float = 0.0
    band: tuple[float, float] = (0.0, 8000.0)
    codecs: tuple[tuple[str, int, int], ...] = ()
    lost_packets: float = 0.0
    repeated: bool = False
    gain_db: float = 0.0


def _draw_codecs(rng: np.random.Generator) -> tuple[tuple[str, int, int], ...]:
    """No codec, one, or a call that was stored as a file afterwards."""
    passes = []
    if rng.random() < 0.25:
        passes.append(str(rng.choice(CALLS)))
    if rng.random() < 0.4:
        passes.append(str(rng.choice(FILES, p=(0.4, 0.25, 0.25, 0.1))))
    drawn = []
    for name in passes:
        codec = CODECS[name]
        drawn.append((name, int(rng.choice(codec.rates)), int(rng.choice(codec.bit_rates))))
    return tuple(drawn)


def draw_damage(rng: np.random.Generator, clean: float = 0.15, keep_time: bool = False) -> Damage:
    """Draw one damage; a share of ``clean`` changes the gain alone.

    Args:
        keep_time: never change the speed, for clips whose places in time matter (partial fakes).
    """
    seed, gain = int(rng.integers(2**31)), float(rng.uniform(-12, 3))
    if rng.random() < clean:
        return Damage(seed=seed, gain_db=gain)
    faster = float(np.exp(rng.normal(0, 0.05))) if rng.random() < 0.2 else 1.0
    band = (0.0, 8000.0)
    draw = rng.random()
    if draw < 0.1:
        band = (float(rng.uniform(150, 350)), float(rng.uniform(3200, 3800)))
    elif draw < 0.25:
        band = (0.0, float(rng.uniform(3500, 7800)))
    noisy = rng.random() < 0.5
    return Damage(
        seed=seed,
        speed=1.0 if keep_time else faster,
        equaliser_db=float(rng.uniform(2, 10)) if rng.random() < 0.3 else 0.0,
        overtones=float(rng.uniform(0.02, 0.2)) if rng.random() < 0.12 else 0.0,
        reverberation=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.2 else 0.0,
        direct_db=float(rng.uniform(-2, 12)),
        noise=str(rng.choice(NOISES, p=(0.25, 0.25, 0.1, 0.25, 0.05, 0.1))) if noisy else "",
        snr_db=float(rng.uniform(5, 40)),
        second_noise_db=float(rng.uniform(30, 65)) if rng.random() < 0.3 else 0.0,
        impulses=float(10 ** rng.uniform(-5, -3.3)) if rng.random() < 0.06 else 0.0,
        clip_share=float(rng.uniform(0.02, 0.5)) if rng.random() < 0.06 else 0.0,
        band=band,
        codecs=_draw_codecs(rng),
        lost_packets=float(rng.uniform(0.01, 0.1)) if rng.random() < 0.06 else 0.0,
        repeated=bool(rng.random() < 0.5),
        gain_db=gain,
    )


def _noise(damage: Damage, length: int, voices: Sequence[Sound], rng: np.random.Generator) -> Sound:
    if damage.noise == "babble" and len(voices):
        return babble(length, voices, rng)
    if damage.noise == "hum":
        return hum(length, rng)
    slope = {"white": 0.0, "pink": 1.0, "brown": 2.0}.get(damage.noise, 1.2)
    made = coloured_noise(length, slope, rng)
    if damage.noise in ("babble", "speech_like"):
        # Without other voices: noise that swells and fades four times a second, as speech does.
        swell = np.abs(coloured_noise(length, 0.0, rng)[: max(2, length // 2000)]) + 0.2
        made = made * np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(swell)), swell).astype(np.float32)
        made = made / np.float32(max(rms(made), 1e-9))
    return made


def _filtered(samples: Sound, taps: npt.NDArray[np.floating[Any]], late: int) -> Sound:
    return np.asarray(oaconvolve(samples, taps)[late : late + len(samples)], dtype=np.float32)


def _lossy(samples: Sound, damage: Damage, rng: np.random.Generator) -> Sound:
    """Lost packets: silence, or the packet before at half the level."""
    made = samples.copy()
    for packet in np.flatnonzero(rng.random(len(samples) // PACKET) < damage.lost_packets):
        start = int(packet) * PACKET
        before = made[max(0, start - PACKET) : start]
        if damage.repeated and len(before) == PACKET:
            made[start : start + PACKET] = before * np.float32(0.5)
        else:
            made[start : start + PACKET] = 0
    return made


def _gated(samples: Sound, depth_db: float) -> Sound:
    """Lower what lies 30 dB and more under the loud parts (95th percentile of 10 ms steps), 2 dB for each one."""
    steps = np.pad(samples.astype(np.float64), (0, -len(samples) % GATE), mode="edge").reshape(-1, GATE)
    level = 10 * np.log10(gaussian_filter1d(np.square(steps).mean(axis=1), 3.0, mode="nearest") + 1e-12)
    under = np.percentile(level, 95) - 30.0 - level
    gain = -gaussian_filter1d(np.clip(under, 0.0, depth_db), 2.0, mode="nearest")
    places = (np.arange(len(gain)) + 0.5) * GATE
    return np.asarray(samples * 10 ** (np.interp(np.arange(len(samples)), places, gain) / 20), dtype=np.float32)


def apply_damage(samples: Sound, damage: Damage, voices: Sequence[Sound] = ()) -> Sound:
    """Damage a clip.

    Args:
        samples: float32 [n] at 16 kHz.
        voices: other real training clips for babble; without them it is noise that swells like speech.

    Returns:
        float32 [n] within [-1, 1], in time with the input (at ``damage.speed``).
    """
    length = len(samples)
    if not length:
        return samples
    steps = iter(np.random.default_rng(damage.seed).spawn(6))
    made = samples.astype(np.float32, copy=True)
    if damage.speed != 1.0:
        made = resample(made, RATE, max(8000, round(RATE / damage.speed / 50) * 50))
        made = np.resize(made, length) if len(made) < length else made[:length]
    rng = next(steps)
    if damage.equaliser_db:
        made = _filtered(made, random_equaliser(damage.equaliser_db, rng), 64)
    if damage.overtones:
        peak = np.float32(max(float(np.abs(made).max()), 1e-6))
        unit = made / peak
        made = (unit + np.float32(damage.overtones) * (unit**2 * np.sign(rng.normal()) - unit**3)) * peak
        made = (made - made.mean()).astype(np.float32)
    rng = next(steps)
    if damage.reverberation:
        made = _filtered(made, room(damage.reverberation, damage.direct_db, rng), 0)
    level = np.float32(rms(made))
    rng = next(steps)
    if damage.noise:
        made = made + _noise(damage, length, voices, rng) * level * np.float32(10 ** (-damage.snr_db / 20))
    if damage.gate_db:
        made = _gated(made, damage.gate_db)
    rng = next(steps)
    if damage.second_noise_db:
        made = made + coloured_noise(length, 0.0, rng) * level * np.float32(10 ** (-damage.second_noise_db / 20))
    if damage.impulses:
        struck = np.flatnonzero(rng.random(length) < damage.impulses)
        made[struck] += (rng.normal(0, 8, len(struck)) * level).astype(np.float32)
    if damage.clip_share:
        bound = np.float32(float(np.abs(made).max()) * (1 - damage.clip_share))
        made = np.clip(made, -bound, bound)
    low, high = damage.band
    if low > 0:
        taps = firwin2(513, [0, low * 0.7, low, high, min(high * 1.08, 7990), 8000], [0, 0, 1, 1, 0, 0], fs=RATE)
        made = _filtered(made, taps, 256)
    elif high < 8000:
        made = low_pass(made, high)
    if damage.codecs:
        # Encoders meet a usual level, whatever the gain before and after.
        scale = np.float32(0.7 / max(float(np.abs(made).max()), 1e-6))
        made = made * scale
        for name, rate, bit_rate in damage.codecs:
            if available(name):
                made = recode(np.clip(made, -1, 1), name, rate, bit_rate)
        made = made / scale
    rng = next(steps)
    if damage.lost_packets:
        made = _lossy(made, damage, rng)
    return fitted(np.clip(made * np.float32(10 ** (damage.gain_db / 20)), -1, 1), length)
