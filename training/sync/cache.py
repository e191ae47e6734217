"""Lips and sound of talking clips, cached once: ``python -m training.sync.cache`` writes ``.cache/sync``.

One file a clip. Lips and spectrogram are those of the serving way (``pipelines.video.lips``, ``pipelines.audio.mel``),
also in that faces are looked for five times a second, so training and serving cannot differ.
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

from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError
from pipelines.audio.source import Samples
from pipelines.audio.speech import speech_of
from pipelines.image.faces import Detect
from pipelines.infer import Infer
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.lips import Lips, read_lips
from pipelines.video.sound import sound_of
from pipelines.video.source import VideoSource
from training.data.layout import read_data
from training.data.tracks import find_tracks, main_track
from training.prepare import data_folder, detector

FACES_PER_SECOND = 5.0
LARGEST = 640
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TalkingClip:
    """One clip with sound.

    Attributes:
        path: of the file, as the manifest names it; source: its set; label: 1 for fake; identities: see the manifest.
        lips: at 25 a second, from the first frame.
        samples: 16 kHz mono, from the first frame.
        speech: its probability in cells of 32 ms.
    """

    path: str
    source: str
    label: int
    identities: tuple[str, ...]
    lips: Lips
    samples: Samples
    speech: npt.NDArray[np.float32]


def read_clip(path: Path, detect: Detect, infer: Infer) -> tuple[Lips, Samples, npt.NDArray[np.float32]] | None:
    """Lips, sound and speech of one file; None where no face is followed.

    Raises:
        DeepScanError: the file has no sound, or does not decode.
    """
    samples = sound_of(path)
    video = VideoSource(path)
    frames = list(video.frames(fps=FACES_PER_SECOND, max_side=LARGEST))
    track = main_track(find_tracks(frames, detect))
    if track is None:
        return None
    lips = read_lips(video.frames(max_side=LARGEST), track.times, track.landmarks, infer)
    return lips, samples, speech_of(samples, infer)


def build(data: Path, target: Path) -> int:
    """Write one ``.npz`` for every clip with sound into ``target``; the number of clips."""
    target.mkdir(parents=True, exist_ok=True)
    detect, infer = detector(), OnnxInfer(ModelRepository())
    count = 0
    for row in read_data(data, medium="video"):
        file = target / (row.path.replace("/", "__") + ".npz")
        if file.is_file():
            count += 1
            continue
        try:
            found = read_clip(data / row.path, detect, infer)
        except DeepScanError as error:
            _LOG.info("%s: %s", row.path, error.message)
            continue
        if found is None:
            _LOG.warning("%s: no face is followed", row.path)
            continue
        lips, samples, speech = found
        np.savez(
            file,
            path=row.path,
            source=row.source,
            label=row.label,
            identities=np.array(row.identities or (), dtype=str),
            start=lips.start,
            lips=lips.measures,
            seen=lips.seen,
            samples=samples,
            speech=speech,
        )
        count += 1
    _LOG.info("%d clips with sound", count)
    return count


def load(folder: Path, label: int | None = None) -> Sequence[TalkingClip]:
    """The clips of a cache, in the order of their names; of one label where it is given."""
    clips = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as kept:
            if label is not None and int(kept["label"]) != label:
                continue
            clips.append(
                TalkingClip(
                    path=str(kept["path"]),
                    source=str(kept["source"]),
                    label=int(kept["label"]),
                    identities=tuple(kept["identities"].tolist()),
                    lips=Lips(float(kept["start"]), kept["lips"], kept["seen"]),
                    samples=kept["samples"],
                    speech=kept["speech"],
                )
            )
    return clips


def main(arguments: list[str] | None = None) -> int:
    """Write the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache/sync"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    build(options.data, options.cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
