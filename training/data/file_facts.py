"""What one file of a data set is: bytes, format, size, length and pattern, or why it cannot be read.

Photos go through the probe and the decoder that serving uses, so what is called broken here would be refused there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from cards import sha256_file
from deepscan_client.errors import InputError
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.video.source import VideoSource
from training.data.manifest import Row
from training.data.near_duplicates import perceptual_hash
from training.data.validate_report import Kind, Problem

FLAT = 3.0
"""Standard deviation in grey levels below which a picture has no pattern to hash."""


@dataclass(frozen=True)
class Facts:
    """What one readable file is: ``side``, ``seconds`` 0 where the medium has none, ``hash`` -1 for no pattern."""

    digest: str
    bytes: int
    format: str
    side: int = 0
    seconds: float = 0.0
    hash: int = -1


def read_facts(path: Path, row: Row) -> Facts | Problem:
    """Facts of a file, or what is wrong with it; a hostile file is a finding and never an error.

    Args:
        path: where the file lies; row: its line of the manifest.
    """

    def problem(kind: Kind, detail: str, remedy: str) -> Problem:
        return Problem(severity="fix", kind=kind, paths=(row.path,), detail=detail, remedy=remedy)

    try:
        if not path.is_file():
            return problem("missing", "the file is not there", "take it out of the manifest, or bring it back")
        if path.stat().st_size == 0:
            return problem("empty", "the file has no bytes", "remove it, or fetch it again")
        return {"image": _look_at_photo, "video": _look_at_clip, "audio": _look_at_sound}[row.medium](path)
    except InputError as error:
        return problem("broken", error.message, error.remedy or "remove it, or fetch it again")
    except Exception as error:  # whatever a hostile file makes a decoder raise belongs into the report
        return problem("broken", f"{type(error).__name__}: {error}"[:200], "remove it, or fetch it again")


def _pattern(pixels: npt.NDArray[np.uint8]) -> int:
    return perceptual_hash(pixels) if float(pixels.std()) >= FLAT else -1


def _look_at_photo(path: Path) -> Facts:
    probed = probe_image(path.read_bytes())
    info = probed.info
    pixels = decode_image(probed.picture)
    return Facts(info.sha256, info.bytes, info.format, max(info.width, info.height), 0.0, _pattern(pixels))


def _look_at_clip(path: Path) -> Facts:
    video = VideoSource(path)
    middle = next(video.frames(num_frames=1, max_side=256))
    form = f"{path.suffix.lower().lstrip('.')} {video.info.decoder.rsplit(' ', 1)[-1]}"
    side = max(video.info.width, video.info.height)
    return Facts(sha256_file(path), path.stat().st_size, form, side, video.info.seconds, _pattern(middle.pixels))


def _look_at_sound(path: Path) -> Facts:
    with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        samples, rate = 0, 0
        for frame in container.decode(audio=0):
            samples, rate = samples + frame.samples, frame.sample_rate
        codec = container.streams.audio[0].codec_context.name
    if not samples:
        raise ValueError("there is no sound in it")
    return Facts(sha256_file(path), path.stat().st_size, f"{codec} {rate} Hz", 0, samples / rate)
