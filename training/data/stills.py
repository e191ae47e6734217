"""Frames of the training clips as photos: ``python -m training.data.stills`` writes ``.cache/stills``.

The clips hold 35 kinds of fakes that no photo shows. A few frames of each clip's main face, cut with its surroundings
and brought to the photos' size, stand beside the photos in training (``training.train --stills``).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deepscan_client.errors import DeepScanError
from pipelines.image.align import align_faces
from pipelines.image.faces import Detect
from pipelines.video.source import VideoSource
from training.data.cache import SIDE, load_cache, write_index
from training.data.layout import read_data, write_manifest
from training.data.manifest import Row
from training.data.near_duplicates import cluster, perceptual_hash
from training.data.photos import CLIPS, PREFIX
from training.data.style import build_styles
from training.data.tracks import find_tracks, main_track, sample_frames
from training.faces import around_face

EACH = 8
"""Frames of a clip."""
_LOG = logging.getLogger(__name__)


def build_stills(data: Path, rows: Sequence[Row], target: Path, detect: Detect) -> None:
    """Write frames of all clips in which a face is seen, in the layout of ``training.data.cache``.

    A frame's row has the clip's path with ``#`` and the frame's time in milliseconds. All frames of a clip, and clips
    that share a person or an original, are one cluster.
    """
    target.mkdir(parents=True, exist_ok=True)
    photos = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        str(target / "photos.npy"), mode="w+", dtype=np.uint8, shape=(len(rows) * EACH, SIDE, SIDE, 3)
    )
    kept: list[Row] = []
    columns: list[list[float]] = []
    hashes: list[int] = []
    for number, row in enumerate(rows):
        try:
            frames = list(sample_frames(VideoSource(data / row.path)))
            track = main_track(find_tracks(frames, detect))
        except DeepScanError as error:
            _LOG.warning("%s: %s", row.path, error.message)
            continue
        if track is None:
            _LOG.warning("%s: no face", row.path)
            continue
        for place in np.unique(np.linspace(0, len(track.places) - 1, EACH).round().astype(int)).tolist():
            pixels, points = around_face(frames[track.places[place]].pixels, track.landmarks[place], SIDE)
            photos[len(kept), : pixels.shape[0], : pixels.shape[1]] = pixels
            columns.append([*pixels.shape[:2], *points.reshape(-1).tolist()])
            hashes.append(perceptual_hash(align_faces(pixels, points[None], 64, 1.3)[0]))
            path = f"{row.path}#{round(1000 * float(track.times[place]))}"
            kept.append(
                replace(row, path=path, source=PREFIX + row.source, identities=(*row.identities, f"clip:{row.path}"))
            )
        if number % 25 == 24:
            _LOG.info("%d of %d clips", number + 1, len(rows))
    write_index(target, kept, cluster(hashes, [row.identities for row in kept]), columns)
    write_manifest(rows, target / CLIPS)


def main(arguments: list[str] | None = None) -> int:
    """Write the stills and their features of style."""
    from training.prepare import data_folder, detector

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    target = options.cache / "stills"
    build_stills(options.data, read_data(options.data, medium="video"), target, detector())
    build_styles(load_cache(target), target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
