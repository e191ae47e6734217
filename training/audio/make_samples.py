"""Makes the sample recordings of ``samples/audio``: ``python -m training.audio.make_samples FOLDER``.

``FOLDER`` holds the prompts of Debian's package asterisk-core-sounds-en-g722 (``*.g722``; ``dpkg-deb -x`` unpacks it).
They are read by Allison Smith and licensed under CC BY-SA 3.0; so is what is made of them here. The fake is a copy of
the first prompt by our own vocoder code, with a fixed seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.audio.source import RATE
from training.audio.vocoders import griffin_lim

TARGET = Path(__file__).resolve().parents[2] / "samples" / "audio"
SEED = 7
PROMPTS = {
    "thanks.wav": ("demo-thanks", "pcm_s16le", None),
    "voicemail.mp3": ("vm-intro", "libmp3lame", 64_000),
    "next_caller.ogg": ("queue-youarenext", "libopus", 32_000),
}


def read_prompt(path: Path) -> NDArray[np.float32]:
    """A G.722 file, float32 [n] at 16 kHz."""
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.asarray(np.concatenate(frames), dtype=np.float32) / np.float32(32768)


def write(path: Path, samples: NDArray[np.float32], codec: str, bit_rate: int | None) -> Path:
    """Encode 16 kHz mono."""
    with av.open(str(path), "w") as container:
        rate = 48_000 if codec == "libopus" else RATE
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        for given in (frame, None):
            for ready in resampler.resample(given):
                container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return path


def make_samples(prompts: Path, target: Path = TARGET) -> list[Path]:
    """Write every sample recording and return the paths."""
    target.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (prompt, codec, bit_rate) in PROMPTS.items():
        made.append(write(target / name, read_prompt(prompts / f"{prompt}.g722"), codec, bit_rate))
    original = read_prompt(prompts / "demo-thanks.g722")
    copy, _ = griffin_lim(original, np.random.default_rng(SEED))
    copy = np.asarray(np.clip(copy, -1.0, 1.0), dtype=np.float32)
    return [*made, write(target / "thanks_copy.wav", copy, "pcm_s16le", None)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path)
    for file in make_samples(parser.parse_args().prompts):
        print(file.relative_to(TARGET.parents[1]))
