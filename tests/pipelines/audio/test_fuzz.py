"""Random bytes and damaged files: an answer or a typed error, soon, and never anything else."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cards.limits import MAX_AUDIO_SECONDS
from deepscan_client.errors import DeepScanError
from pipelines.audio.source import RATE, decode_audio

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADS = (
    *(
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"RF64\x00\x00\x00\x00WAVEds64",
        b"RIFF\x00\x10\x00\x00AVI LIST",
        b"FORM\x00\x00\x10\x00AIFFCOMM",
    ),
    *(
        b"fLaC\x00\x00\x00\x22",
        b"OggS\x00\x02",
        b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead",
        b"ID3\x04\x00\x00\x00\x00\x00\x00",
    ),
    *(b"\xff\xfb\x90\x00", b"\xff\xf1\x50\x80", b"#!AMR\n", b"#!AMR-WB\n", b".snd", b"caff\x00\x01", b"FLV\x01\x05"),
    *(b"\x00\x00\x00\x18ftypM4A ", b"\x00\x00\x00\x08moov", b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", b"\x00\x00\x01\xba"),
    *(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", b"riff\x2e\x91\xcf\x11", (b"G" + bytes(187)) * 5, b"\x56\xe0\x10"),
)


def answered(data: bytes) -> None:
    """Decodes or fails with a DeepScan error, in a time that no hang fits into."""
    start = time.monotonic()
    failed: DeepScanError | None = None
    try:
        samples, info = decode_audio(data)
    except DeepScanError as error:
        failed = error
    if failed is not None:
        assert failed.remedy
    else:
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1.0
        assert len(samples) <= MAX_AUDIO_SECONDS * RATE
        assert info.duration_s == pytest.approx(len(samples) / RATE)
    assert time.monotonic() - start < 20


@pytest.fixture(scope="module")
def files(encode_sound: Callable[..., bytes]) -> dict[str, bytes]:
    def sound(rate: int) -> np.ndarray:
        noise = np.random.default_rng(0).standard_normal(rate // 2)
        return (0.3 * np.sin(np.arange(rate // 2) * 0.05) + 0.03 * noise).astype(np.float32)

    kinds = [
        *(
            ("pcm_s16le", "wav", 16_000),
            ("pcm_f32le", "wav", 16_000),
            ("flac", "flac", 44_100),
            ("libopus", "ogg", 48_000),
        ),
        *(("libmp3lame", "mp3", 44_100), ("aac", "ipod", 44_100), ("aac", "adts", 44_100), ("libopus", "webm", 48_000)),
        *(
            ("libopencore_amrnb", "amr", 8_000),
            ("aac", "mpegts", 44_100),
            ("alac", "ipod", 44_100),
            ("ac3", "matroska", 48_000),
        ),
        *(("libmp3lame", "avi", 44_100), ("libmp3lame", "flv", 44_100), ("pcm_s16be", "aiff", 16_000)),
    ]
    return {f"{codec} in {form}": encode_sound(sound(rate), rate, codec, form) for codec, form, rate in kinds}


@QUICK
@given(st.binary(max_size=4000))
def test_random_bytes(data: bytes) -> None:
    answered(data)


@QUICK
@given(st.sampled_from(HEADS), st.binary(max_size=4000))
def test_random_bytes_behind_a_known_head(head: bytes, data: bytes) -> None:
    answered(head + data)


@QUICK
@given(st.integers(0, 14), st.floats(0, 1))
def test_files_that_are_cut_off(files: dict[str, bytes], number: int, share: float) -> None:
    data = list(files.values())[number]
    answered(data[: int(share * len(data))])


@QUICK
@given(st.integers(0, 14), st.integers(1, 20), st.booleans(), st.integers(0, 2**32 - 1))
def test_files_with_changed_bytes(files: dict[str, bytes], number: int, count: int, early: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(list(files.values())[number])
    for place in rng.integers(0, min(len(data), 400) if early else len(data), count):
        data[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
    answered(bytes(data))


@QUICK
@given(st.integers(0, 14), st.integers(0, 14), st.floats(0, 1), st.floats(0, 1))
def test_two_files_grown_together(files: dict[str, bytes], one: int, other: int, share: float, begin: float) -> None:
    first, second = list(files.values())[one], list(files.values())[other]
    answered(first[: int(share * len(first))] + second[int(begin * len(second)) :])
