"""The DALI pipeline of GPU hosts, run here, gives the samples that PyAV gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from export import dali_audio
from export.dali import FILE, PIN
from pipelines.audio.decode import at_16_khz, dali_reads, decode_whole
from pipelines.audio.source import decode_audio, open_audio

dali = pytest.importorskip("nvidia.dali", reason=f"DALI is not installed: pip install {PIN}")
REPOSITORY = ModelRepository()
BATCH = REPOSITORY.card("audio_decode").max_batch_size
Encode = Callable[..., bytes]


def sound(rate: int, seconds: float = 1.5) -> np.ndarray:
    """A chord and noise up to half of the rate: what a resampler without a filter would fold back."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(rate).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * 300 * time) + 0.05 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def twin() -> dali_audio.CpuTwin:
    """What is committed, so that the file is executed and not only its definition."""
    return dali_audio.CpuTwin((REPOSITORY.folder("audio_decode") / FILE).read_bytes(), BATCH)


def test_samples_equal_pyav_in_one_batch_of_different_files(twin: dali_audio.CpuTwin, encode_sound: Encode) -> None:
    files = [
        encode_sound(sound(rate), rate, codec, form)
        for rate, codec, form in [
            (16_000, "pcm_s16le", "wav"),
            (48_000, "pcm_s16le", "wav"),
            (44_100, "pcm_s24le", "wav"),
            (8_000, "pcm_u8", "wav"),
            (96_000, "pcm_f32le", "wav"),
            (22_050, "flac", "flac"),
        ]
    ]
    for file, (samples, rate) in zip(files, twin.decode(files), strict=True):
        expected, info = decode_audio(file)
        assert dali_reads(info), info
        assert rate == info.sample_rate
        assert samples.dtype == np.float32
        np.testing.assert_allclose(at_16_khz(samples, rate), expected, atol=1e-6)


def test_dalis_own_resampler_folds_high_sound_back_which_is_why_it_is_not_used() -> None:
    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def resampled() -> object:
        samples = dali.fn.external_source(name="A", device="cpu", ndim=1, dtype=dali.types.FLOAT)
        return dali.fn.audio_resample(samples, in_rate=48_000.0, out_rate=16_000.0, quality=90.0)

    pipeline = resampled()
    pipeline.build()
    tone = np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000).astype(np.float32)  # not heard at 16 kHz
    pipeline.feed_input("A", [tone])
    by_dali = np.array(pipeline.run()[0][0])
    assert by_dali.std() > 0.5
    assert at_16_khz(tone, 48_000)[100:-100].std() < 1e-4


def test_what_dali_would_read_in_another_way_is_not_sent_to_it(encode_sound: Encode) -> None:
    rate = 48_000
    for codec, form, channels, expected in [
        ("pcm_s16le", "wav", 1, True),
        ("pcm_s16le", "wav", 2, False),
        ("libmp3lame", "mp3", 1, False),
        ("aac", "mp4", 1, False),
        ("libopus", "ogg", 1, False),
    ]:
        data = encode_sound(
            sound(48_000 if codec == "libopus" else rate), 48_000 if codec == "libopus" else rate, codec, form, channels
        )
        assert dali_reads(open_audio(data).info) is expected, codec


def test_a_damaged_file_fails_its_whole_batch_so_pyav_must_open_it_first(encode_sound: Encode) -> None:
    bad = b"RIFF\x00\x00\x00\x00WAVE not a recording" * 20
    twin = dali_audio.CpuTwin(dali_audio.serialised(REPOSITORY), BATCH)
    with pytest.raises(RuntimeError):
        twin.decode([encode_sound(sound(16_000), 16_000), bad])
    with pytest.raises(MediaError):
        open_audio(bad)


def test_the_stage_refuses_what_is_long(encode_sound: Encode) -> None:
    samples, info = decode_whole(encode_sound(sound(8_000, 59.0), 8_000, "flac", "flac"))
    assert len(samples) == 59 * 16_000
    assert info.decoder.endswith("flac")
    with pytest.raises(LimitError) as caught:
        decode_whole(encode_sound(sound(8_000, 61.0), 8_000, "flac", "flac"))
    assert caught.value.code is ErrorCode.TOO_LONG
    assert "deepfake_audio" in caught.value.remedy


def test_the_twin_names_its_limit(twin: dali_audio.CpuTwin) -> None:
    with pytest.raises(ValueError, match="1 to"):
        twin.decode([])


def test_the_committed_pipeline_is_what_the_code_defines_and_names_no_folder() -> None:
    content = dali_audio.serialised(REPOSITORY)
    assert (REPOSITORY.folder("audio_decode") / FILE).read_bytes() == content
    for expected in (b"AUDIO", b"SAMPLES", b"RATE", b"downmix"):
        assert expected in content
    assert b"_origin_stack" not in content
    assert str(Path(__file__).resolve().parents[2]).encode() not in content
