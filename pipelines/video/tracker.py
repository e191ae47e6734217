"""Follow faces through a video: stable numbers across occlusion, crossings and cuts.

Association after ByteTrack (Zhang et al., ECCV 2022): confident detections first, then the weak ones, which may only
continue a track. What predicts a track's place is a constant velocity, and what tells two faces apart where their boxes
meet, or after a cut, is a small description of their looks. Assignment is the Hungarian method (SciPy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipelines.image.align import align_faces
from pipelines.image.faces import Faces

FloatArray = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TrackerPolicy:
    """Limits of association.

    Attributes:
        confident: score from which a detection may begin a track.
        reach: greatest distance between a predicted and a found centre, in face sizes, plus ``speed`` for each second.
        growth: greatest ratio of two sizes of one face.
        alike: greatest distance of looks (1 - cosine) at which a lost face is known again far from where it was.
        looks: weight of the distance of looks beside the distance of places.
        memory: seconds after which a lost track is not continued by place; by looks it always may.
        calm: share of the newly measured velocity that is taken over.
    """

    confident: float = 0.5
    reach: float = 0.8
    speed: float = 2.0
    growth: float = 2.0
    alike: float = 0.35
    looks: float = 1.0
    memory: float = 1.0
    calm: float = 0.6


@dataclass
class _Track:
    number: int
    centre: FloatArray
    size: float
    look: FloatArray
    time: float
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2))
    hits: int = 1

    def predicted(self, time: float) -> FloatArray:
        """Where the face should be; the movement is not carried on for more than half a second."""
        return np.asarray(self.centre + self.velocity * min(time - self.time, 0.5))


def describe_faces(pixels: Pixels, faces: Faces) -> FloatArray:
    """Looks of faces, unit vectors [n, 160]: 8x8 light pattern without its mean, and colours of skin, hair and dress.

    Good enough to tell the few faces of one video apart; it is no face recognition.
    """
    if not len(faces):
        return np.zeros((0, 160))
    crops = align_faces(pixels, faces.landmarks, 32, 1.8)
    rows = []
    for crop in crops:
        lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float64)
        light = cv2.resize(lab[..., 0], (8, 8), interpolation=cv2.INTER_AREA).reshape(-1)
        colour = cv2.resize(lab[..., 1:], (4, 4), interpolation=cv2.INTER_AREA).reshape(-1) - 128
        shades = np.histogram(lab[..., 0], bins=64, range=(0, 256))[0].astype(np.float64)
        parts = [light - light.mean(), colour, np.convolve(shades, np.ones(5), mode="same")]
        scales = [1.0, 0.7, 0.7]
        rows.append(np.concatenate([w * p / (np.linalg.norm(p) + 1e-6) for w, p in zip(scales, parts, strict=True)]))
    table = np.stack(rows)
    return np.asarray(table / np.linalg.norm(table, axis=1, keepdims=True))


def shades_of(pixels: Pixels) -> FloatArray:
    """Coarse colour histograms of a frame in a 2x2 grid, [4, 216]: what two frames of one shot share."""
    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    parts = [small[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
    bins = [cv2.calcHist([part], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).reshape(-1) / 1024.0 for part in parts]
    return np.asarray(np.stack(bins), dtype=np.float64)


def is_new_shot(before: FloatArray, after: FloatArray, threshold: float = 0.45) -> bool:
    """Whether frames with these :func:`shades_of` belong to different shots: by the distance (0..1) of the two."""
    return bool(np.abs(before - after).sum(axis=1).mean() / 2 > threshold)


def is_cut(before: Pixels, after: Pixels, threshold: float = 0.45) -> bool:
    """Whether two frames belong to different shots."""
    return is_new_shot(shades_of(before), shades_of(after), threshold)


class Tracker:
    """Gives each face of each frame a number that stays with the person.

    Feed frames in the order of time with ``update``; the numbers count from 0 in the order of appearance.
    """

    def __init__(self, policy: TrackerPolicy | None = None) -> None:
        self.policy = policy or TrackerPolicy()
        self._tracks: list[_Track] = []

    def update(self, time: float, faces: Faces, looks: FloatArray | None = None, cut: bool = False) -> list[int]:
        """Numbers of the faces of one frame.

        Args:
            time: seconds, later than before.
            faces: of this frame; looks: their descriptions [n, d] (``describe_faces``); without them place decides.
            cut: a new shot begins: places of before say nothing, and only looks continue a track.

        Returns:
            One number for each face; -1 for a weak detection that continues no track.
        """
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]).astype(np.float64) / 2
        sizes = faces.sizes.astype(np.float64)
        seen = np.zeros((len(faces), 0)) if looks is None else np.asarray(looks, dtype=np.float64)
        numbers = [-1] * len(faces)
        strong = [item for item in range(len(faces)) if faces.scores[item] >= self.policy.confident]
        weak = [item for item in range(len(faces)) if faces.scores[item] < self.policy.confident]
        free = list(range(len(self._tracks)))
        for items in (strong, weak):
            if cut:
                break
            free = self._join(free, items, numbers, time, centres, sizes, seen, by_place=True)
        if seen.shape[1]:
            left = [item for item in strong if numbers[item] < 0]
            self._join(free, left, numbers, time, centres, sizes, seen, by_place=False)
        for item in strong:
            if numbers[item] < 0:
                numbers[item] = len(self._tracks)
                self._tracks.append(_Track(numbers[item], centres[item], float(sizes[item]), seen[item], time))
        return numbers

    def _join(
        self,
        free: list[int],
        items: Sequence[int],
        numbers: list[int],
        time: float,
        centres: FloatArray,
        sizes: FloatArray,
        seen: FloatArray,
        by_place: bool,
    ) -> list[int]:
        """Join free tracks with faces that have no number yet; returns the tracks that stay free."""
        if not free or not items:
            return free
        cost = np.array(
            [[self._cost(self._tracks[t], time, centres[i], sizes[i], seen[i], by_place) for i in items] for t in free]
        )
        far = 1e6
        taken = set()
        for row, column in zip(*linear_sum_assignment(np.where(np.isfinite(cost), cost, far)), strict=True):
            if np.isfinite(cost[row, column]):
                track, item = self._tracks[free[row]], items[column]
                self._follow(track, time, centres[item], float(sizes[item]), seen[item], by_place)
                numbers[item] = track.number
                taken.add(free[row])
        return [track for track in free if track not in taken]

    def _cost(
        self, track: _Track, time: float, centre: FloatArray, size: float, look: FloatArray, by_place: bool
    ) -> float:
        """Cost of one pair; infinite where they cannot be one face."""
        policy, gone = self.policy, time - track.time
        apart = 1.0 - float(look @ track.look) if look.size and track.look.size else 0.0
        if not by_place:
            return apart if apart < policy.alike else np.inf
        if gone > policy.memory or not 1 / policy.growth < size / max(track.size, 1e-6) < policy.growth:
            return np.inf
        way = float(np.linalg.norm(centre - track.predicted(time))) / ((size + track.size) / 2)
        limit = policy.reach + policy.speed * max(0.0, gone - 0.04)
        if way > limit or apart > 2 * policy.alike:
            return np.inf
        return way / limit + policy.looks * apart + 0.5 * abs(float(np.log(size / track.size)))

    def _follow(
        self, track: _Track, time: float, centre: FloatArray, size: float, look: FloatArray, by_place: bool
    ) -> None:
        gone = max(time - track.time, 1e-3)
        if by_place:
            share = self.policy.calm if track.hits > 1 else 1.0
            track.velocity = (1 - share) * track.velocity + share * (centre - track.centre) / gone
        else:
            track.velocity = np.zeros(2)
        track.centre, track.size, track.time, track.hits = centre, size, time, track.hits + 1
        if look.size:
            mixed = 0.8 * track.look + 0.2 * look if track.look.size else look
            track.look = mixed / (np.linalg.norm(mixed) + 1e-9)
