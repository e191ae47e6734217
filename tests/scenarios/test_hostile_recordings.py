"""Bad recordings, heard in one process as the stages hear them: each gets a clear answer, in bounded memory."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode, Reason
from deepscan_client.errors import InputError
from pipelines.audio.quality import QualityMeter, SoundQuality, problems
from pipelines.audio.source import RATE, AudioInfo, open_audio
from pipelines.audio.speech import SpeechMeter
from pipelines.onnx_infer import OnnxInfer

Encode = Callable[..., bytes]
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "audio"
HOUR = 3600


@pytest.fixture(scope="module")
def network() -> OnnxInfer:
    return OnnxInfer(ModelRepository(), threads=1)


def heard(data: bytes, network: OnnxInfer) -> tuple[AudioInfo, SoundQuality, tuple[Reason, ...]]:
    """Decode, look for speech and measure, block by block."""
    recording = open_audio(data)
    speech, quality = SpeechMeter(network), QualityMeter()
    for block in recording.blocks():
        quality.feed(block, speech.feed(block))
    quality.feed(np.zeros(0, np.float32), speech.finish())
    measured = quality.result()
    return recording.info, measured, problems(measured, recording.info.lossy)


def wav(values: NDArray[np.float32], rate: int = RATE, channels: int = 1) -> bytes:
    """A WAV file of floats, as it stands."""
    body = values.astype("<f4").tobytes()
    form = struct.pack("<IHHIIHH", 16, 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(body)) + body
    )


@pytest.fixture(scope="module")
def prompt() -> NDArray[np.float32]:
    return np.concatenate(list(open_audio((SAMPLES / "thanks.wav").read_bytes()).blocks()))


def test_zero_samples_and_a_text_file_are_refused_by_name(network: OnnxInfer) -> None:
    for data, code in (
        (wav(np.zeros(0, np.float32)), ErrorCode.EMPTY),
        (b"", ErrorCode.EMPTY),
        (b"Dear sir or madam,\n" * 1000, ErrorCode.NOT_MEDIA),
        (b"\xef\xbb\xbf#EXTM3U\nhttp://127.0.0.1/x.mp3\n", ErrorCode.UNSUPPORTED),
    ):
        with pytest.raises(InputError) as caught:
            heard(data, network)
        assert caught.value.code is code
        assert caught.value.remedy


def test_one_sample_is_heard_as_silence(network: OnnxInfer) -> None:
    info, quality, reasons = heard(wav(np.zeros(1, np.float32)), network)
    assert info.duration_s == pytest.approx(1 / RATE)
    assert quality.speech_s <= 1 / RATE
    assert reasons == (Reason.SILENCE,)


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (16_000, 8), (192_000, 8)])
def test_192_khz_and_eight_channels_are_heard_as_the_prompt_itself(
    network: OnnxInfer, prompt: NDArray[np.float32], rate: int, channels: int
) -> None:
    fine = np.repeat(prompt, rate // RATE) if rate != RATE else prompt
    info, quality, _ = heard(wav(np.repeat(fine[:, None], channels, axis=1), rate, channels), network)
    _, expected, _ = heard(wav(prompt), network)
    assert (info.sample_rate, info.channels) == (rate, channels)
    assert quality.speech_s == pytest.approx(expected.speech_s, abs=0.3)
    assert quality.level_db == pytest.approx(expected.level_db, abs=1)


def test_values_that_are_not_numbers_are_mended_where_they_are_few_and_refused_where_they_are_most(
    network: OnnxInfer, prompt: NDArray[np.float32]
) -> None:
    broken = prompt.copy()
    broken[::97] = np.nan
    broken[5::1013] = np.inf
    info, quality, _ = heard(wav(broken), network)
    assert "not numbers" in " ".join(info.notes)
    assert np.isfinite(list(quality.model_dump().values())).all()
    broken[: len(broken) * 2 // 3] = np.nan
    with pytest.raises(InputError) as caught:
        heard(wav(broken), network)
    assert caught.value.code is ErrorCode.CORRUPT


def test_a_truncated_mp3_is_heard_as_far_as_it_goes(network: OnnxInfer) -> None:
    whole = (SAMPLES / "voicemail.mp3").read_bytes()
    _, expected, _ = heard(whole, network)
    for share in (0.9, 0.5, 0.2):
        info, quality, _ = heard(whole[: int(share * len(whole))], network)
        assert info.cut_off
        assert "ends early" in " ".join(info.notes)
        assert quality.seconds == pytest.approx(share * expected.seconds, abs=0.3)
    with pytest.raises(InputError) as caught:
        heard(whole[:100], network)
    assert caught.value.code in (ErrorCode.CORRUPT, ErrorCode.TRUNCATED, ErrorCode.NOT_MEDIA)


@pytest.mark.slow
def test_an_hour_of_silence_is_heard_in_flat_memory(network: OnnxInfer, encode_sound: Encode) -> None:
    """From 5 MB of FLAC, so that what grows is what the hearing keeps. An hour is some eight seconds of work."""
    data = encode_sound(np.zeros(HOUR * 8_000, np.float32), 8_000, "flac", "flac")
    process = psutil.Process()
    heard(wav(np.zeros(60 * RATE, np.float32)), network)  # what is loaded once is there
    before, start, most = process.memory_info().rss, time.process_time(), 0
    recording = open_audio(data)
    speech, quality = SpeechMeter(network), QualityMeter()
    for block in recording.blocks():
        quality.feed(block, speech.feed(block))
        most = max(most, process.memory_info().rss)
    measured = quality.result()
    took = time.process_time() - start
    assert measured.seconds == HOUR
    assert problems(measured) == (Reason.SILENCE,)
    assert measured.silence_share == 1.0
    assert most - before < 100 * 2**20
    assert HOUR / took > 60, f"{HOUR / took:.0f} times real time"
