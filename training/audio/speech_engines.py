"""Speech without real partners: what the data gives, and what engines of text to speech made.

``tools/gen_tts.py`` beside the data calls the engines; its folders are taken in by
``python -m training.audio.prepare --tts FOLDER``. Such speech has other words, voices and channels than the real clips:
it leaks all three, so it is marked as unpaired, and is for measuring more than for training.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.audio.cache import PART
from training.audio.manifest import Clip, VoiceRow, speaker_of
from training.audio.sounds import RATE, Sound, rms
from training.audio.synthesis import QUIET, row_of, segment_of, write_all

#: Families of engines and of the data's own fakes; others are ``tts_classic``.
FAMILIES = {
    "griffinlim_mel80": "griffin_lim",
    "lpc_vocoder": "lpc",
    "world_copysynth": "world",
    "world_vc": "world",
    "festival_hts": "world",
    "open_jtalk_hts_ja": "world",
    "hifigan_copysynth": "hifigan",
    "piper_vits_joe": "tts_neural",
    "hibari": "tts_neural",
    "kokoro_82m_int8": "tts_neural",
    "sc_glowtts": "tts_neural",
}
_LOG = logging.getLogger(__name__)


def family_of(engine: str) -> str:
    """What a fold leaves out with this engine."""
    return FAMILIES.get(engine, "tts_classic")


def made_clips(folder: Path, known: Sequence[Clip]) -> list[Clip]:
    """What engines wrote into ``folder/<engine>/*.flac``, under the terms that the data states for the same engine."""
    terms = {clip.source: (clip.licence, clip.commercial) for clip in known}
    clips = []
    for engine in sorted(each for each in folder.iterdir() if each.is_dir()):
        licence, commercial = terms.get(engine.name, ("unknown", "no"))
        for file in sorted(engine.glob("*.flac")):
            clips.append(Clip(file, 1, engine.name, speaker_of(engine.name, file.stem), licence, commercial))
    return clips


def take_in(folder: Path, clips: Sequence[Clip], place: str) -> int:
    """Write unpaired fakes into ``<place>/<engine>/`` of the cache, trimmed like real clips. Returns how many stand."""

    def build(clip: Clip) -> tuple[VoiceRow, Sound] | None:
        segment = segment_of(clip)
        if rms(segment.samples) < QUIET or len(segment.samples) < 0.3 * RATE:
            _LOG.warning("%s is silent", clip.file.name)
            return None
        row = row_of(clip, f"{place}/{clip.source}/{clip.name}.flac", segment.samples)
        family = family_of(clip.source)
        made = replace(row, label=1, pair="", generator=clip.source, family=family, edge=segment.edge)
        return made, segment.samples

    total = 0
    for source in sorted({clip.source for clip in clips}):
        mine = [clip for clip in clips if clip.source == source]
        total += write_all(folder, folder / place / source / PART, mine, f"{place} {source}", build)
    return total
