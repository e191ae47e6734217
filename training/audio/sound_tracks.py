"""Real speech of sources that no voice network ever heard: ``python -m training.audio.sound_tracks``.

The real clips of ``train/videos`` that have sound (talking heads, interviews, films; AAC, two times coded) are cut as
any clip of ``train/audio`` is, and copied by the families of vocoders that stand aside. ``.cache/voice_tracks`` is a
cache like ``.cache/voice``; nothing in it is trained on. It tells how far a score moves with a source, which the
speakers that stand aside, of sources whose other speakers trained, cannot tell.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from training.audio.manifest import Clip
from training.audio.neural_vocoders import OWN
from training.audio.pairs import HELD
from training.audio.prepare import generators
from training.audio.sounds import SoundError, read_sound, rms
from training.audio.synthesis import QUIET, copy_by, copy_reals
from training.data.manifest import read_licences
from training.prepare import data_folder

TRACKS = Path(".cache/voice_tracks")
LEAST_SECONDS = 1.5
_LOG = logging.getLogger(__name__)


def track_clips(data: Path) -> list[Clip]:
    """The real clips of ``train/videos`` with sound; a clip is its own speaker, a folder a source."""
    listed = data / "licences.csv"
    licences = read_licences(listed) if listed.is_file() else {}
    clips = []
    for file in sorted((data / "train" / "videos" / "real").glob("*/*")):
        try:
            samples = read_sound(file)
        except SoundError:
            continue
        if len(samples) < LEAST_SECONDS * 16_000 or rms(samples) < QUIET:
            continue
        source = file.parent.name
        licence, commercial = licences.get(f"videos/real/{source}", ("unknown", "no"))
        clips.append(Clip(file, 0, f"video_{source}", f"video:{file.stem}", licence, commercial))
    return clips


def main(arguments: list[str] | None = None) -> int:
    """Build the cache; what is there is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--voice", type=Path, default=Path(".cache/voice"), help="cache that holds our own vocoders")
    parser.add_argument("--cache", type=Path, default=TRACKS)
    parser.add_argument("--families", nargs="+", default=HELD, metavar="FAMILY")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    clips = track_clips(options.data)
    _LOG.info("%d clips of %d sources", len(clips), len({clip.source for clip in clips}))
    copy_reals(options.cache, clips)
    for generator in generators(options.voice):
        if generator.family in options.families and (generator.name in OWN or generator.name == generator.family):
            _LOG.info("%s: %d copies", generator.name, copy_by(options.cache, clips, generator))
    return 0


if __name__ == "__main__":
    sys.exit(main())
