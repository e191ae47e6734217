"""WAV headers that contradict themselves are refused: FFmpeg would read their samples across the edges of packets."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client import ErrorCode, MediaError
from pipelines.audio.source import decode_audio

RATE = 16_000
SOUND: NDArray[np.int16] = (np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE) * 8000).astype("<i2")


def wav(data: bytes, tag: int = 1, channels: int = 1, bits: int = 16, block: int = 2, before: bytes = b"") -> bytes:
    fields = struct.pack("<HHIIHH", tag, channels, RATE, RATE * block, block, bits)
    chunks = before + b"fmt " + struct.pack("<I", len(fields)) + fields + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def extensible(block: int) -> bytes:
    fields = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * 2, block, 16, 22, 16, 4)
    fields += b"\x01\0" + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    data = SOUND.tobytes()
    chunks = b"fmt " + struct.pack("<I", 40) + fields + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def with_block(data: bytes, fields: int, block: int) -> bytes:
    """A file with another block in the format whose fields begin there; it was two bytes."""
    place = fields + 12
    assert data[place : place + 2] == b"\x02\0"
    return data[:place] + struct.pack("<H", block) + data[place + 2 :]


def wave64(block: int, encode_sound: Callable[..., bytes]) -> bytes:
    """As FFmpeg writes it, with another block."""
    data = encode_sound(SOUND.astype(np.float32) / 32768, form="w64")
    return with_block(data, data.index(b"fmt \xf3\xac") + 24, block)


def avi(block: int, encode_sound: Callable[..., bytes]) -> bytes:
    """As FFmpeg writes it, with another block."""
    data = encode_sound(SOUND.astype(np.float32) / 32768, form="avi")
    return with_block(data, data.index(b"strf") + 8, block)


@pytest.mark.parametrize("block", [0, 1, 3, 4095, 65535])
@pytest.mark.parametrize("kind", ["plain", "late", "extensible", "w64", "avi"])
def test_another_block_than_the_samples_is_refused(block: int, kind: str, encode_sound: Callable[..., bytes]) -> None:
    data = {
        "plain": lambda: wav(SOUND.tobytes(), block=block),
        "late": lambda: wav(SOUND.tobytes(), block=block, before=b"JUNK\x03\0\0\0abc\0"),
        "extensible": lambda: extensible(block),
        "w64": lambda: wave64(block, encode_sound),
        "avi": lambda: avi(block, encode_sound),
    }[kind]()
    with pytest.raises(MediaError, match=f"blocks of {block:,} bytes, 1 channels of 16 bits") as caught:
        decode_audio(data)
    assert caught.value.code is ErrorCode.CORRUPT
    assert caught.value.remedy


def test_headers_that_agree_are_read(encode_sound: Callable[..., bytes]) -> None:
    floats = SOUND.astype("<f4") / 32768
    for data in (
        wav(SOUND.tobytes()),
        wav(SOUND.tobytes(), bits=12),  # twelve bits lie in two bytes
        wav(np.repeat(SOUND, 2).tobytes(), channels=2, block=4),
        wav(floats.tobytes(), tag=3, bits=32, block=4),
        extensible(2),
        wave64(2, encode_sound),
        avi(2, encode_sound),
    ):
        samples, _ = decode_audio(data)
        assert np.allclose(samples, floats, atol=2e-4)


def test_compressed_sound_has_blocks_of_its_own(encode_sound: Callable[..., bytes]) -> None:
    data = encode_sound(SOUND.astype(np.float32) / 32768, codec="adpcm_ms")
    assert len(decode_audio(data)[0]) >= RATE


def test_samples_with_the_large_byte_first_are_not_taken_for_noise() -> None:
    fields = struct.pack(">HHIIHH", 1, 1, RATE, RATE * 2, 2, 16)
    data = SOUND.byteswap().tobytes()
    chunks = b"fmt " + struct.pack(">I", 16) + fields + b"data" + struct.pack(">I", len(data)) + data
    with pytest.raises(MediaError, match="RIFX") as caught:
        decode_audio(b"RIFX" + struct.pack(">I", 4 + len(chunks)) + b"WAVE" + chunks)
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_why_a_file_does_not_open_is_said_in_words() -> None:
    with pytest.raises(MediaError) as caught:
        decode_audio(wav(SOUND.tobytes())[:30])
    assert caught.value.message == "the wav file cannot be opened: Invalid data found when processing input"
