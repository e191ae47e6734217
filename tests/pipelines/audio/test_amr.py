"""AMR of phones: its pauses, and wide band, which this build of PyAV reads and does not write.

Frames are put together here. Their bits are drawn by chance: any are valid, and sound like noise that a voice's filter
shaped. What is checked is how long it is, where it lies, and what is said of it.
"""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client import Medium
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.audio.source import RATE, decode_audio
from pipelines.media import medium_of_bytes

HEAD = b"#!AMR-WB\n"
BYTES = (17, 23, 32, 36, 40, 46, 50, 58, 60)
"""Of a frame of each mode, 6.60 to 23.85 kbit/s, behind its first byte (3GPP TS 26.201; RFC 4867, section 5)."""
SID, NOTHING = bytes([9 << 3 | 4]) + bytes(5), bytes([15 << 3 | 4])
"""How a pause sounds, and a frame that was not sent."""
FRAME = RATE // 50


def spoken(count: int, mode: int, seed: int = 0) -> bytes:
    """So many frames of 20 ms."""
    rng = np.random.default_rng(seed)
    return b"".join(bytes([mode << 3 | 4]) + rng.bytes(BYTES[mode]) for _ in range(count))


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square of each frame."""
    return np.sqrt(np.square(samples.astype(np.float64)).reshape(-1, FRAME).mean(axis=1))


@pytest.mark.parametrize("mode", range(len(BYTES)))
def test_every_bit_rate_has_its_right_length(mode: int) -> None:
    samples, info = decode_audio(HEAD + spoken(150, mode))
    assert samples.dtype == np.float32
    assert len(samples) == 3 * RATE
    assert info.duration_s == pytest.approx(3.0)
    assert (info.format, info.codec, info.lossy) == ("amr-wb", "amr_wb", True)
    assert (info.sample_rate, info.channels, info.cut_off) == (16_000, 1, False)
    assert info.bit_rate == pytest.approx((BYTES[mode] + 1) * 8 * 50, rel=0.05)
    assert (loudness(samples)[5:] > 1e-3).all()
    assert np.abs(samples).max() <= 1.0


def test_modes_change_from_frame_to_frame() -> None:
    samples, info = decode_audio(HEAD + b"".join(spoken(1, place % 9, place) for place in range(90)))
    assert len(samples) == 90 * FRAME
    assert not info.cut_off
    assert not [note for note in info.notes if "damaged" in note]


def test_a_phone_that_stops_sending_in_pauses_keeps_the_time() -> None:
    """One frame in eight of a pause tells its noise, the others were not sent; none of them is damage."""
    pause = (SID + NOTHING * 7) * 10
    samples, info = decode_audio(HEAD + spoken(50, 8) + pause + spoken(50, 8, 1))
    assert len(samples) == 180 * FRAME
    assert not info.cut_off
    assert not [note for note in info.notes if "damaged" in note]
    loud = loudness(samples) > 1e-3
    assert loud[5:50].all()
    assert not loud[55:130].any()
    assert loud[135:].all()


def test_narrow_band_keeps_the_time_too() -> None:
    rng = np.random.default_rng(0)
    talk = b"".join(bytes([7 << 3 | 4]) + rng.bytes(31) for _ in range(50))  # 12.2 kbit/s
    samples, info = decode_audio(b"#!AMR\n" + talk + (bytes([8 << 3 | 4]) + bytes(5) + NOTHING * 7) * 10 + talk)
    assert len(samples) == pytest.approx(180 * FRAME, abs=20)
    assert (info.format, info.codec, info.cut_off) == ("amr", "amr_nb", False)
    assert np.abs(samples[55 * FRAME : 125 * FRAME]).max() < 1e-3
    assert samples[135 * FRAME :].std() > 1e-3


def test_it_is_the_same_in_a_phones_video_container() -> None:
    data, buffer = HEAD + spoken(40, 2) + SID + NOTHING * 7 + spoken(40, 2, 1), io.BytesIO()
    with av.open(io.BytesIO(data), format="amr") as read, av.open(buffer, "w", format="3gp") as written:
        track = written.add_stream_from_template(read.streams.audio[0])
        for packet in read.demux():
            if packet.size:
                packet.stream = track
                written.mux(packet)
    ours, info = decode_audio(buffer.getvalue())
    expected, _ = decode_audio(data)
    assert (info.format, info.codec, info.cut_off) == ("3gp", "amr_wb", False)
    np.testing.assert_array_equal(ours, expected)


def test_one_that_is_cut_off_or_empty_is_named() -> None:
    whole = HEAD + spoken(100, 8)
    samples, info = decode_audio(whole[: len(HEAD) + 61 * 60 + 30])
    assert len(samples) == pytest.approx(60 * FRAME, abs=FRAME)
    assert info.cut_off
    for data, code in ((HEAD, ErrorCode.EMPTY), (whole[:20], ErrorCode.CORRUPT)):
        with pytest.raises(MediaError) as caught:
            decode_audio(data)
        assert caught.value.code is code
        assert caught.value.remedy


def test_its_first_bytes_say_that_it_is_sound() -> None:
    assert medium_of_bytes(HEAD + spoken(2, 0)) is Medium.AUDIO
