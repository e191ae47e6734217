"""What was seen in a video before it is judged: its file, its tracks, and what each network said of each frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.options import Options

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a file before its frames are looked at. ``sha256`` is of its bytes."""

    sha256: str
    bytes: int
    format: str
    """FFmpeg's word for the kind of file, or ``gif`` or ``webp``."""
    codec: str
    width: int
    height: int
    rotation: int
    """Degrees counter-clockwise that were applied: 0, 90, 180 or 270."""
    seconds: float
    frames: int
    fps: float
    sound: bool
    decoder: str
    notes: tuple[str, ...]
    cut_off: bool
    hidden: bool
    """Whether the file holds frames that it does not show."""
    options: Options
    started_ns: int
    """``time.monotonic_ns()`` at the start of the request."""
    probe_ms: float = 0.0


@dataclass(frozen=True)
class TrackEvidence:
    """One face through the frames that were looked at, as columns of length k.

    Attributes:
        number: of the tracker, from 0 in the order of appearance.
        times: seconds from the first frame, float64 [k], rising.
        boxes: float32 [k, 4], x0 y0 x1 y1 in pixels of the upright frame.
        landmarks: float32 [k, 5, 2], in the same pixels (``pipelines.image.faces.Faces``).
        scores: confidence of the detector, float64 [k].
        sharpness: variance of the Laplacian of the aligned crop, float64 [k].
        motion: median change between aligned neighbours in grey levels; about 0 for a picture that was burnt in.
        logits: raw logit of each network that looks at frames, float64 [k].
        clips: raw logits of each network that looks at many frames, one for each stretch that it was shown.
        embeddings: float32 [k, d] of ``frame_cnn``, where a network over many frames or a caller wanted them.
        novelty: distance of each frame's embedding over the record's threshold, float64 [k], where it is known.
        maps: heat maps, UINT8 [k, rows, columns] (``pipelines.image.heat.packed``), where they were asked for.
        to_frame: from each map's unit square to pixels of the upright frame, float64 [k, 2, 3].
    """

    number: int
    times: Floats
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: Floats
    sharpness: Floats
    motion: float
    logits: dict[str, Floats]
    clips: dict[str, Floats] = field(default_factory=dict)
    embeddings: NDArray[np.float32] | None = None
    novelty: Floats | None = None
    maps: NDArray[np.uint8] | None = None
    to_frame: Floats | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def face_px(self) -> float:
        """Median of the longer side of the boxes, in pixels."""
        return float(np.median((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)))

    @property
    def frontal(self) -> Floats:
        """How far each face looks into the camera, 1 to 0, float64 [k]: the nose between the eyes."""
        left, right, nose = (self.landmarks[:, place].astype(np.float64) for place in range(3))
        across = right - left
        span = np.maximum((across**2).sum(axis=1), 1e-6)
        aside = np.abs(((nose - (left + right) / 2) * across).sum(axis=1)) / span
        return np.asarray(np.clip(1.0 - 2.0 * aside, 0.0, 1.0))

    @property
    def quality(self) -> Floats:
        """How well each frame's face can be judged, 0 to 1, float64 [k]: size, sharpness and pose."""
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1).astype(np.float64)
        size = np.clip(sides / 96.0, 0.0, 1.0)
        sharp = np.clip(self.sharpness / 40.0, 0.0, 1.0)
        return np.asarray(size * (0.3 + 0.7 * sharp) * (0.3 + 0.7 * self.frontal))


@dataclass(frozen=True)
class VideoEvidence:
    """All tracks of a video in the order of appearance, and how it was looked at.

    Attributes:
        seconds: seen so far; the whole length in the end.
        sampled: frames that were looked at; wanted: that the sampling asked for.
        step_s: seconds from one to the next, on average.
        thin: whether the limit of frames made the sampling thinner than asked.
        cut: whether some frame held more faces than are followed.
        weights: network: sha256 of the weights that ran.
        drew: the same of the network that drew the heat maps: it says nothing in the verdict.
        ms: milliseconds by stage.
        close: the main face in one stretch that was looked at five times a second, where ``tracks`` are too thin to
            follow it (:mod:`pipelines.video.close`); it has no say in the verdict.
    """

    facts: VideoFacts
    tracks: tuple[TrackEvidence, ...]
    seconds: float
    sampled: int
    wanted: int
    step_s: float
    thin: bool = False
    cut: bool = False
    damaged: int = 0
    weights: dict[str, str] = field(default_factory=dict)
    drew: dict[str, str] = field(default_factory=dict)
    ms: dict[str, float] = field(default_factory=dict)
    close: TrackEvidence | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Evidence of others by name (analyzers), as rows of ``deepscan_client.verdict.Evidence``."""

    def noted(self, note: str) -> VideoEvidence:
        """The same with one more note for the verdict's ``decode.notes``."""
        return replace(self, facts=replace(self.facts, notes=(*self.facts.notes, note)))
