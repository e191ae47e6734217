"""Watch clips once, as serving does: ``python -m training.video.clips`` writes ``.cache/video/clips``.

The faces of every clip are sampled, found, followed and cut by ``pipelines.video.analyze`` itself, so that what is
trained and calibrated on is what serving sees. The networks' part is left out: crops are kept, and
``training.video.scores`` asks networks about them, as often as their weights change.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError
from pipelines.infer import Arrays, Call, Infer
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.evidence import TrackEvidence
from training.data.layout import read_data
from training.data.manifest import Row
from training.prepare import data_folder

NETWORK = "frame_cnn"
"""Its crops are kept; other networks' crops are drawn from them."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """A clip's tracks with the crop of each face.

    Attributes:
        tracks: without any network's word; crops: of each track, uint8 [k, s, s, 3].
        seconds: length of the clip.
    """

    tracks: tuple[TrackEvidence, ...]
    crops: tuple[npt.NDArray[np.uint8], ...]
    seconds: float


class _Recorder:
    """The real face detector; the network is left out and its crops are kept in order."""

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self.crops: list[npt.NDArray[np.uint8]] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        return [self._infer.run([call])[0] if call.model != NETWORK else self._keep(call) for call in calls]

    def _keep(self, call: Call) -> Arrays:
        crops = np.asarray(call.inputs["IMAGES"], dtype=np.uint8)
        start = sum(map(len, self.crops))
        self.crops.append(crops)
        # The logit is the crop's number: it tells afterwards which track the crop went to.
        numbers = np.arange(start, start + len(crops), dtype=np.float64)[:, None]
        return {
            "LOGIT": numbers,
            "EMBEDDING": np.zeros((len(crops), 1), np.float32),
            "RECORD": np.zeros((len(crops), 8), np.int32),
        }


def watch_clip(path: Path, repository: ModelRepository, infer: Infer, options: Options | None = None) -> Watched:
    """Watch one clip.

    Raises:
        DeepScanError: it cannot be judged.
    """
    recorder = _Recorder(infer)
    evidence = VideoAnalyzer(repository, recorder, ("face_detector", NETWORK)).evidence(path, options)
    crops = np.concatenate(recorder.crops) if recorder.crops else np.zeros((0, 1, 1, 3), np.uint8)
    own = tuple(crops[track.logits[NETWORK].astype(np.int64)] for track in evidence.tracks)
    return Watched(evidence.tracks, own, evidence.facts.seconds)


def clip_file(folder: Path, row: Row) -> Path:
    """Where a clip's tracks are kept."""
    return folder / f"{hashlib.sha256(row.path.encode()).hexdigest()[:20]}.npz"


def write_clip(path: Path, watched: Watched) -> None:
    """Write all tracks of a clip as columns."""
    tracks, crops = watched.tracks, watched.crops
    sizes = [len(track) for track in tracks]
    columns = {
        "number": np.repeat([track.number for track in tracks], sizes),
        "motion": np.array([track.motion for track in tracks], np.float64),
        "seconds": np.array(watched.seconds),
    }
    for name in ("times", "boxes", "landmarks", "scores", "sharpness"):
        columns[name] = np.concatenate([getattr(track, name) for track in tracks]) if tracks else np.zeros(0)
    columns["crops"] = np.concatenate(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **columns)
    partial.rename(path)


def read_clip(path: Path, crops: bool = True) -> Watched:
    """Read what :func:`write_clip` wrote; without the crops, which are most of it, where they are not wanted."""
    with np.load(path) as told:
        columns = {name: told[name] for name in told.files if crops or name != "crops"}
    tracks, cut = [], []
    for place, number in enumerate(dict.fromkeys(columns["number"].tolist())):
        mine = columns["number"] == number
        tracks.append(
            TrackEvidence(
                number=int(number),
                times=columns["times"][mine],
                boxes=columns["boxes"][mine],
                landmarks=columns["landmarks"][mine],
                scores=columns["scores"][mine],
                sharpness=columns["sharpness"][mine],
                motion=float(columns["motion"][place]),
                logits={},
            )
        )
        if crops:
            cut.append(columns["crops"][mine])
    return Watched(tuple(tracks), tuple(cut), float(columns["seconds"]))


def main(arguments: list[str] | None = None) -> int:
    """Watch all clips that were not yet watched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    rows = read_data(options.data, medium="video")
    repository = ModelRepository()
    infer = OnnxInfer(repository, threads=1)
    for count, row in enumerate(rows):
        file = clip_file(options.cache / "video" / "clips", row)
        if file.is_file():
            continue
        try:
            write_clip(file, watch_clip(options.data / row.path, repository, infer))
        except DeepScanError as error:
            _LOG.warning("%s: %s", row.path, error)
        if count % 20 == 19:
            _LOG.info("%d of %d clips", count + 1, len(rows))
    _LOG.info("all %d clips", len(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
