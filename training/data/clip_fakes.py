"""Pseudo-fakes of clips, made from real tracks alone; ``python -m training.data.clip_fakes OUT.png`` draws a sheet.

A fake clip betrays itself between frames: a swap is done frame by frame, so that its border and colour tremble; the
identity comes and goes with the pose; a mouth that was driven by other sound moves out of step with the rest. Each
kind keeps what a forger would keep constant (mask, colour) and changes what a frame-wise process would change.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.data.tracks import TrackCache, load_tracks
from training.pseudofakes import (
    blend,
    changed_copy,
    cross_blended,
    face_mask,
    mask_in_photo,
)

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

CANDIDATES = 12
"""Strangers of whom the likest gives its face: a forger looks for a face of that pose and light."""
KINDS = ("blending_jitter", "identity_flicker", "mouth_out_of_step")


def blending_jitter(crops: Pixels, landmarks: Points, mask: npt.NDArray[np.uint8], rng: np.random.Generator) -> Pixels:
    """A slightly changed copy of the face, blended over each frame with a place, turn and strength that tremble.

    Args:
        crops: uint8 [t, s, s, 3]; landmarks: float32 [t, 5, 2] in crop pixels; mask: [t], 0 where no face was found.

    Returns:
        uint8 [t, s, s, 3]; frames without a face stay as they are.
    """
    fixed, side = int(rng.integers(2**31)), crops.shape[1]
    shape = face_mask(np.random.default_rng(fixed))
    shape /= max(float(shape.max()), 1e-6)
    shift, turn, zoom = rng.normal(0, 0.012, 2) * side, float(rng.normal(0, 1.5)), float(np.exp(rng.normal(0, 0.02)))
    tremble = float(rng.uniform(0.004, 0.012)) * side
    strength = float(rng.uniform(0.6, 1.0))
    crisp = float(rng.uniform(0.2, 1.2))  # resampling softens; without this, softness alone would name the fake
    fakes = crops.copy()
    for place in np.flatnonzero(mask):
        crop, points = crops[place], landmarks[place]
        over = changed_copy(crop, np.random.default_rng(fixed + 1))  # the same change in every frame
        centre = points.mean(axis=0)
        angle = turn + float(rng.normal(0, 0.8))
        matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, zoom), np.float64)
        matrix[:, 2] += shift + rng.normal(0, tremble, 2)
        moved = cv2.warpAffine(over, matrix, (side, side), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        soft = cv2.GaussianBlur(moved, (0, 0), 0.8)
        moved = cv2.addWeighted(moved, 1 + crisp, soft, -crisp, 0)
        here = mask_in_photo(shape, points, side, side) * np.float32(np.clip(strength + rng.normal(0, 0.12), 0.3, 1))
        fakes[place] = blend(np.asarray(moved, dtype=np.uint8), crop, here)
    return fakes


def identity_flicker(
    crops: Pixels,
    landmarks: Points,
    mask: npt.NDArray[np.uint8],
    other_crops: Pixels,
    other_landmarks: Points,
    other_mask: npt.NDArray[np.uint8],
    rng: np.random.Generator,
) -> Pixels:
    """Another person's face over this one, with a strength that comes and goes; arguments as ``blending_jitter``.

    The other track gives its frames in its own order, from its beginning where it is shorter.
    """
    places, givers = np.flatnonzero(mask), np.flatnonzero(other_mask)
    if not len(places) or not len(givers):
        return crops.copy()
    fixed = int(rng.integers(2**31))
    # A random walk that is pulled to the middle: runs of a few frames, never a rhythm.
    walk, level = [], float(rng.uniform(0.3, 0.9))
    for _ in places:
        level = float(np.clip(level + rng.normal(0, 0.35) + 0.25 * (0.6 - level), 0.0, 1.0))
        walk.append(level)
    fakes = crops.copy()
    for number, place in enumerate(places):
        giver = givers[number % len(givers)]
        swapped = cross_blended(
            crops[place], landmarks[place], other_crops[giver], other_landmarks[giver], np.random.default_rng(fixed)
        )
        fakes[place] = blend(swapped, crops[place], np.full((1, 1, 1), walk[number], np.float32))
    return fakes


def mouth_mask(points: Points, side: int, soft: float = 0.05) -> npt.NDArray[np.float32]:
    """A soft ellipse over mouth and chin of a crop with these five points, float32 [side, side, 1] in 0..1."""
    left, right = points[3], points[4]
    across = right - left
    width = max(float(np.hypot(*across)), 4.0)
    down = np.array([-across[1], across[0]]) / width
    centre = (left + right) / 2 + 0.12 * width * down
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(
        mask,
        (round(float(centre[0])), round(float(centre[1]))),
        (round(0.85 * width), round(0.62 * width)),
        float(np.degrees(np.arctan2(across[1], across[0]))),
        0,
        360,
        (1.0,),
        -1,
    )
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, soft * side)), dtype=np.float32)[..., None]


def mouth_out_of_step(
    crops: Pixels, landmarks: Points, mask: npt.NDArray[np.uint8], rng: np.random.Generator
) -> Pixels:
    """The mouth of another moment of the same clip, moved onto the mouth's place; arguments as ``blending_jitter``."""
    places, side = np.flatnonzero(mask), crops.shape[1]
    if len(places) < 2:
        return crops.copy()
    late = int(rng.integers(1, min(6, len(places)))) * int(rng.choice([-1, 1]))
    blurred = float(rng.uniform(0.3, 1.2)) if rng.random() < 0.5 else 0.0  # lip sync draws soft mouths
    soft = float(rng.uniform(0.015, 0.05))
    fakes = crops.copy()
    for number, place in enumerate(places):
        giver = places[(number + late) % len(places)]
        source = crops[giver]
        move = landmarks[place][3:].mean(axis=0) - landmarks[giver][3:].mean(axis=0)
        matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], dtype=np.float64)
        moved = cv2.warpAffine(source, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if blurred:
            moved = cv2.GaussianBlur(moved, (0, 0), blurred)
        here = mouth_mask(landmarks[place], side, soft)
        ring = (here[..., 0] > 0.02) & (here[..., 0] < 0.5)
        if ring.any():  # light may have changed meanwhile
            gap = crops[place][ring].mean(axis=0) - moved[ring].mean(axis=0)
            moved = np.clip(moved + gap, 0, 255).round().astype(np.uint8)
        fakes[place] = blend(np.asarray(moved, dtype=np.uint8), crops[place], here)
    return fakes


def _likest(cache: TrackCache, index: int, others: npt.NDArray[np.int64]) -> int:
    """The track whose middle frame looks most like that of ``index``, coarsely (16x16 pixels)."""

    def coarse(item: int) -> npt.NDArray[np.float32]:
        places = np.flatnonzero(cache.mask[item])
        crop = np.asarray(cache.crops[item, places[len(places) // 2]])
        return np.asarray(cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA), dtype=np.float32)

    own = coarse(index)
    return int(min(others.tolist(), key=lambda other: float(np.abs(coarse(other) - own).mean())))


def clip_fake(
    cache: TrackCache, index: int, others: npt.NDArray[np.int64], rng: np.random.Generator, kind: str | None = None
) -> tuple[Pixels, str]:
    """A pseudo-fake of a real track.

    Args:
        cache: tracks; index: the real one; others: positions of reals that may give a face (those of its own cluster
            are left out).
        kind: one of ``KINDS``; drawn where it is left out.

    Returns:
        uint8 [16, s, s, 3] and the kind. Without another person ``blending_jitter`` takes the flicker's place.

    Raises:
        ValueError: the track is not real, or the kind is not known.
    """
    if cache.rows[index].label:
        raise ValueError(f"pseudo-fakes are made of reals, {cache.rows[index].path} is a fake")
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
    crops, points, mask = np.asarray(cache.crops[index]), cache.landmarks[index], cache.mask[index]
    strangers = others[cache.clusters[others] != cache.clusters[index]]
    if kind == "identity_flicker" and not len(strangers):
        kind = "blending_jitter"
    if kind == "identity_flicker":
        other = _likest(cache, index, rng.choice(strangers, min(CANDIDATES, len(strangers)), replace=False))
        giver = (np.asarray(cache.crops[other]), cache.landmarks[other], cache.mask[other])
        return identity_flicker(crops, points, mask, *giver, rng), kind
    if kind == "mouth_out_of_step":
        return mouth_out_of_step(crops, points, mask, rng), kind
    return blending_jitter(crops, points, mask, rng), kind


def sheet(cache: TrackCache, columns: int = 10, clips: int = 2, seed: int = 0) -> Pixels:
    """For each kind some clips: a row of a real track, below it its fake. uint8 RGB."""
    rng = np.random.default_rng(seed)
    reals = np.array([place for place, row in enumerate(cache.rows) if row.label == 0], dtype=np.int64)
    rows = []
    for kind in KINDS:
        for index in rng.choice(reals, clips, replace=False):
            fake, _ = clip_fake(cache, int(index), reals, rng, kind)
            rows += [np.hstack(list(cache.crops[index][:columns])), np.hstack(list(fake[:columns]))]
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the sheet as a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    picture = sheet(load_tracks(options.cache / "tracks"), seed=options.seed)
    if not cv2.imwrite(str(options.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
