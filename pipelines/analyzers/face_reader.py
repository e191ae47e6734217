"""One face through a video, frame by frame, to the time series that the biometric analyzers read.

Every frame gives the colour of the skin and one eye's contour and iris; the eyes take turns, unless one is turned away.
The face mesh is asked 12.5 times a second, which is enough for mouth and head, and where the eyes are is read between.
Where points of the mesh are wanted at every frame (lips against sound), it is asked there, and all else stays the same.
The networks are asked once for :data:`CHUNK` frames: the meshes of one chunk beside the eyes of the one before, while
the frames of the next are decoded and cut, so that two cores work. Memory: two chunks of crops (11 MB) and some 500
bytes for each frame.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.face_series import FaceSeries, KeptPoints
from pipelines.analyzers.landmarks import (
    EYES,
    IRIS,
    MARGIN,
    MESH,
    SIDE,
    Floats,
    Pixels,
    eye_aspect_ratio,
    eye_pictures,
    eye_transforms,
    face_crop,
    gaze_of,
    mesh_pictures,
    mesh_points,
    mouth_opening,
)
from pipelines.analyzers.pose import POSE_POINTS
from pipelines.analyzers.pulse import cheek_colour
from pipelines.image.align import inverse_transforms, similarities
from pipelines.infer import Arrays, Batch, Infer, digest_hex, run_batches

CHUNK = 32
"""Frames whose networks are asked at once."""
_TOGETHER = 8
"""Pictures of one call: on a CPU larger batches leave the cache and cost a fifth more, and calls run side by side."""
_MESH_EVERY_S = 0.075
_NARROW = 0.6
"""An eye that is narrower than the other by this factor is turned away, and not looked at."""
_LEAST_PRESENCE = 0.0
_EYE_CORNERS = np.array([*EYES[0], *EYES[1]])


@dataclass(frozen=True)
class _Chunk:
    """Frames whose networks were not asked yet."""

    times: Floats
    crops: Pixels
    back: Floats
    """[k, 2, 3] from pixels of the crop to those of the frame."""
    meshed: NDArray[np.int64]
    """Places of the frames whose mesh is read 12.5 times a second."""
    followed: NDArray[np.bool_]
    """[k] whether the face was followed there."""


@dataclass(frozen=True)
class _Eyes:
    """Eyes that the network was not asked about yet, one a frame."""

    pictures: Pixels
    which: NDArray[np.int64]
    present: NDArray[np.bool_]


@dataclass(frozen=True)
class _Asked:
    """What the networks are at work on."""

    chunk: _Chunk | None
    eyes: _Eyes | None
    answers: Future[dict[str, Arrays]]


class FaceReader:
    """Takes the frames of one face in the order of time. To be closed, so that no call is left behind.

    Args:
        infer: runs ``face_mesh`` and ``eye_iris``.
        keep: numbers of the points of the mesh that are wanted at every frame.
    """

    def __init__(self, infer: Infer, keep: tuple[int, ...] = ()) -> None:
        self._infer = infer
        self._wanted = keep
        self._frames: list[tuple[float, Pixels, Floats, bool]] = []
        self._meshed: list[int] = []
        self._last_mesh = -np.inf
        self._known: tuple[Floats, Floats, Floats] | None = None
        self._waiting: _Eyes | None = None
        self._asked: _Asked | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="face")
        self._count = 0
        self._weights: dict[str, str] = {}
        self._columns: dict[str, list[Floats]] = {}

    def add(self, time: float, pixels: Pixels, landmarks: Floats, followed: bool = True) -> None:
        """One frame.

        Args:
            time: seconds, later than before.
            pixels: UINT8 [h, w, 3] RGB, at full resolution; landmarks: [5, 2] of the face in its pixels.
            followed: whether the landmarks are known there, or were carried on from elsewhere.

        Raises:
            deepscan_client.errors.DeepScanError: a network did not answer.
        """
        matrix = similarities(landmarks[None], SIDE, MARGIN)
        if time - self._last_mesh >= _MESH_EVERY_S:
            self._last_mesh = time
            self._meshed.append(len(self._frames))
        self._frames.append((time, face_crop(pixels, matrix[0]), inverse_transforms(matrix)[0], followed))
        if len(self._frames) == CHUNK:
            self._ask()

    def finish(self) -> FaceSeries:
        """The series of all frames; no more may follow.

        Raises:
            deepscan_client.errors.DeepScanError: a network did not answer.
        """
        while self._frames or self._waiting is not None or self._asked is not None:
            self._ask()
        lips, points, lost = self._column("lips"), self._column("points", len(POSE_POINTS), 2), self._column("lost") > 0
        lips[lost], points[lost] = np.nan, np.nan
        widths = self._column("widths")
        return FaceSeries(
            times=self._column("times"),
            eyes=self._column("eyes").astype(np.int64),
            openness=self._column("openness"),
            gaze=self._column("gaze", 2),
            colours=self._column("colours", 3),
            mesh_times=self._column("mesh_times"),
            points=points,
            lips=lips,
            eye_px=float(np.median(widths)) if len(widths) else 0.0,
            seen=float(1.0 - lost.mean()) if len(lost) else 0.0,
            weights=dict(self._weights),
            kept=self._kept() if self._wanted else None,
        )

    def _kept(self) -> KeptPoints:
        points = self._column("kept", len(self._wanted), 3).astype(np.float32)
        return KeptPoints(self._column("times"), points, self._column("kept_seen") > 0)

    def _column(self, name: str, *shape: int) -> Floats:
        return np.concatenate([np.zeros((0, *shape)), *self._columns.get(name, [])])

    def _keep(self, **columns: NDArray[Any]) -> None:
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(np.asarray(values, dtype=np.float64))

    def close(self) -> None:
        """Wait for the call that is under way, if there is one."""
        self._pool.shutdown(wait=True)

    def __enter__(self) -> FaceReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self) -> None:
        """The meshes of the frames that came, beside the eyes of those before; the answers are awaited next time."""
        self._collect()
        chunk, eyes, self._waiting = self._take(), self._waiting, None
        batches = []
        if eyes is not None:
            batches.append(Batch(IRIS, {"IMAGES": eyes.pictures}, ("CONTOUR", "IRIS", "RECORD"), _TOGETHER))
        if chunk is not None and (len(chunk.meshed) or self._wanted):
            pictures = mesh_pictures(chunk.crops if self._wanted else chunk.crops[chunk.meshed])
            batches.append(Batch(MESH, {"IMAGES": pictures}, ("POINTS", "PRESENCE", "RECORD"), _TOGETHER))
        if chunk is not None or eyes is not None:
            self._asked = _Asked(chunk, eyes, self._pool.submit(run_batches, self._infer, batches))

    def _collect(self) -> None:
        """Keep what the networks answered."""
        if self._asked is None:
            return
        asked, self._asked = self._asked, None
        answers = asked.answers.result()
        self._weights.update({name: digest_hex(answer["RECORD"][0]) for name, answer in answers.items()})
        if asked.eyes is not None:
            self._keep_eyes(asked.eyes, answers[IRIS])
        self._waiting = None if asked.chunk is None else self._look(asked.chunk, answers.get(MESH))

    def _take(self) -> _Chunk | None:
        if not self._frames:
            return None
        times, crops, back, followed = zip(*self._frames)
        meshed = np.array(self._meshed, dtype=np.int64)
        chunk = _Chunk(np.array(times), np.stack(crops), np.stack(back), meshed, np.array(followed))
        self._frames, self._meshed = [], []
        return chunk

    def _keep_eyes(self, eyes: _Eyes, answer: Arrays) -> None:
        openness = eye_aspect_ratio(answer["CONTOUR"])
        gaze = gaze_of(answer["CONTOUR"], answer["IRIS"], eyes.which == 1)
        openness[~eyes.present], gaze[~eyes.present] = np.nan, np.nan
        self._keep(eyes=eyes.which, openness=openness, gaze=gaze)

    def _look(self, chunk: _Chunk, answer: Arrays | None) -> _Eyes:
        """Keep what the meshes of a chunk tell, and cut its eyes out."""
        if answer is not None:
            points = mesh_points(answer["POINTS"])
            lost = answer["PRESENCE"][:, 0] < _LEAST_PRESENCE
            if self._wanted:
                self._keep(kept=points[:, self._wanted], kept_seen=chunk.followed & ~lost)
                points, lost = points[chunk.meshed], lost[chunk.meshed]
        if answer is not None and len(points):
            back = chunk.back[chunk.meshed]
            in_frame = points[:, POSE_POINTS, :2] @ back[:, :, :2].transpose(0, 2, 1) + back[:, None, :, 2]
            self._keep(mesh_times=chunk.times[chunk.meshed], points=in_frame, lips=mouth_opening(points), lost=lost)
            new = (chunk.times[chunk.meshed], points[:, _EYE_CORNERS, :2].reshape(len(points), -1), lost * 1.0)
            # The last mesh of the chunk before stays, so that the eyes between the two are placed between them.
            before = new if self._known is None else self._known
            self._known = tuple(np.concatenate([old[-1:], now]) for old, now in zip(before, new))
        assert self._known is not None  # the first frame of all has a mesh
        moments, corners, gone = self._known
        placed = np.stack([np.interp(chunk.times, moments, column) for column in corners.T], axis=1)
        present = np.interp(chunk.times, moments, gone) < 0.5
        pairs = placed.reshape(-1, 2, 2, 2)  # frame, eye, outer and inner corner, x y
        widths = np.linalg.norm(pairs[:, :, 1] - pairs[:, :, 0], axis=2)
        which = (self._count + np.arange(len(pairs))) % 2
        self._count += len(pairs)
        other = widths[np.arange(len(pairs)), 1 - which]
        which = np.where(widths[np.arange(len(pairs)), which] < _NARROW * other, 1 - which, which)
        chosen = pairs[np.arange(len(pairs)), which]
        zoom = np.linalg.norm(chunk.back[:, :, 0], axis=1)
        colours = np.stack([cheek_colour(crop) for crop in chunk.crops])
        colours[~present] = np.nan
        self._keep(times=chunk.times, colours=colours, widths=(widths.max(axis=1) * zoom)[present])
        return _Eyes(eye_pictures(chunk.crops, eye_transforms(chosen, which == 1)), which, present)
