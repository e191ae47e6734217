"""Face tracks of clips, cached once: ``python -m training.data.tracks`` writes ``.cache/tracks``.

Every clip gives one track: sixteen moments in three seconds from its middle, found, followed, aligned and cut as the
photo way cuts faces. The step between frames is the same for every clip, whatever its length and frame rate, because
neither may say anything about the class.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepscan_client.errors import DeepScanError
from pipelines.image.align import align_faces, face_sizes, similarities
from pipelines.image.faces import Detect, Faces, find_faces
from pipelines.video.frame import Frame
from pipelines.video.source import VideoSource
from pipelines.video.tracker import Tracker, describe_faces, is_cut
from training.data.layout import DataError, read_data, write_manifest
from training.data.manifest import Row
from training.data.near_duplicates import cluster, perceptual_hash

FRAMES, SECONDS = 16, 3.0
SIDE, MARGIN = 160, 1.3
LARGEST = 960
"""Longer side of a decoded frame in pixels: faces of 160 px keep their detail."""
FEWEST = 4
"""Frames with the face that a track needs."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Track:
    """One face through a clip, as columns over its frames (at most ``FRAMES``).

    Attributes:
        places: which of the sampled moments, int [k], rising.
        times: seconds from the clip's first frame, float64 [k].
        landmarks: float32 [k, 5, 2] in frame pixels.
        crops: uint8 [k, 160, 160, 3].
    """

    places: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float32]
    crops: npt.NDArray[np.uint8]

    @property
    def size(self) -> float:
        """Median face size in frame pixels."""
        return float(np.median(face_sizes(self.landmarks)))

    @property
    def motion(self) -> float:
        """Mean change between aligned neighbours in grey levels: about 0 for a still that was burnt in."""
        if len(self.crops) < 2:
            return 0.0
        small = [
            cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
            for crop in self.crops
        ]
        return float(np.abs(np.diff(np.stack(small).astype(np.float64), axis=0)).mean())


@dataclass(frozen=True)
class TrackCache:
    """Tracks of clips, as columns.

    Attributes:
        crops: uint8 [n, 16, 160, 160, 3]; zeros where the face was not found.
        mask: uint8 [n, 16], 1 where the face was found.
        landmarks: float32 [n, 16, 5, 2] in crop pixels (five points of ``pipelines.image.align``).
        sizes: float32 [n], median face size in frame pixels.
        clusters: int32 [n]; clips of one person, one original or one look share a number.
        rows: the manifest's rows.
    """

    crops: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.float32]
    clusters: npt.NDArray[np.int32]
    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)


def sample_frames(video: VideoSource) -> list[Frame]:
    """At most sixteen frames, 3/16 s apart, from the middle of the video."""
    seconds = video.info.seconds
    used = min(SECONDS, seconds)
    count = max(1, min(FRAMES, round(FRAMES * used / SECONDS)))
    start = (seconds - used) / 2
    return list(video.frames(num_frames=count, window=(start, start + used), max_side=LARGEST))


def find_tracks(frames: Sequence[Frame], detect: Detect) -> list[Track]:
    """All faces of a clip, followed through its frames."""
    tracker = Tracker()
    found: dict[int, list[tuple[int, Faces]]] = {}
    for place, frame in enumerate(frames):
        faces = find_faces(frame.pixels, detect)
        cut = place > 0 and is_cut(frames[place - 1].pixels, frame.pixels)
        numbers = tracker.update(frame.time, faces, describe_faces(frame.pixels, faces), cut)
        for item, number in enumerate(numbers):
            if number >= 0:
                found.setdefault(number, []).append((place, faces[[item]]))
    tracks = []
    for members in found.values():
        landmarks = np.concatenate([faces.landmarks for _, faces in members])
        crops = [align_faces(frames[place].pixels, faces.landmarks, SIDE, MARGIN)[0] for place, faces in members]
        places = np.array([place for place, _ in members])
        times = np.array([frames[place].time for place in places])
        tracks.append(Track(places, times, landmarks, np.stack(crops)))
    return tracks


def main_track(tracks: Sequence[Track]) -> Track | None:
    """The face that the clip is about: seen long, large, and moving as the others do.

    A still that is burnt into the picture hardly changes from frame to frame; it is taken only where nothing else is
    there.
    """
    able = [track for track in tracks if len(track.places) >= FEWEST]
    if not able:
        return None
    liveliest = max(track.motion for track in able)

    def weight(track: Track) -> float:
        still = track.motion < 0.2 * liveliest
        return len(track.places) * track.size * (0.05 if still else 1.0)

    return max(able, key=weight)


def build_tracks(data: Path, rows: Sequence[Row], target: Path, detect: Detect) -> None:
    """Write ``crops.npy``, ``tracks.npz`` and ``index.csv`` into ``target``.

    Clips that cannot be read, or hold no face for ``FEWEST`` frames, are left out and named in the log.

    Raises:
        DataError: no clip has a track.
    """
    target.mkdir(parents=True, exist_ok=True)
    crops = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        str(target / "crops.npy"), mode="w+", dtype=np.uint8, shape=(len(rows), FRAMES, SIDE, SIDE, 3)
    )
    mask = np.zeros((len(rows), FRAMES), np.uint8)
    landmarks = np.zeros((len(rows), FRAMES, 5, 2), np.float32)
    sizes: list[float] = []
    hashes: list[int] = []
    kept: list[Row] = []
    for row in rows:
        try:
            track = main_track(find_tracks(sample_frames(VideoSource(data / row.path)), detect))
        except DeepScanError as error:
            _LOG.warning("%s: %s", row.path, error.message)
            continue
        if track is None:
            _LOG.warning("%s: no face is seen in %d frames", row.path, FEWEST)
            continue
        number = len(kept)
        crops[number, track.places] = track.crops
        mask[number, track.places] = 1
        moved = similarities(track.landmarks, SIDE, MARGIN)
        landmarks[number, track.places] = (
            np.einsum("kij,kpj->kpi", moved[:, :, :2], track.landmarks) + moved[:, None, :, 2]
        )
        sizes.append(track.size)
        # Of the mean crop: nods and the jitter of landmarks cancel out, the person and the light stay.
        hashes.append(perceptual_hash(track.crops.mean(axis=0).astype(np.uint8)))
        kept.append(row)
        if len(kept) % 25 == 0:
            _LOG.info("%d tracks", len(kept))
    if not kept:
        raise DataError(f"none of the {len(rows)} clips shows a face", remedy="give clips of people, a face in each")
    clusters = cluster(hashes, [row.identities for row in kept])
    np.savez(
        target / "tracks.npz",
        mask=mask[: len(kept)],
        landmarks=landmarks[: len(kept)],
        sizes=np.array(sizes, np.float32),
        clusters=clusters,
    )
    write_manifest(kept, target / "index.csv")
    _LOG.info(
        "%d of %d clips have a track, %d frames; %d clusters", len(kept), len(rows), mask.sum(), len(set(clusters))
    )


def load_tracks(folder: Path) -> TrackCache:
    """Open a cache that ``build_tracks`` wrote (the crops stay on disk and are mapped read-only)."""
    rows = read_data(folder / "index.csv")
    with np.load(folder / "tracks.npz") as columns:
        return TrackCache(
            crops=np.load(folder / "crops.npy", mmap_mode="r")[: len(rows)],
            mask=columns["mask"],
            landmarks=columns["landmarks"],
            sizes=columns["sizes"],
            clusters=columns["clusters"],
            rows=rows,
        )


def main(arguments: list[str] | None = None) -> int:
    """Write the cache."""
    from training.prepare import data_folder, detector

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    build_tracks(options.data, read_data(options.data, medium="video"), options.cache / "tracks", detector())
    return 0


if __name__ == "__main__":
    sys.exit(main())
