"""Reading recordings: every format, odd rates and channels, damage, and files that want more than to be heard."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.audio import source
from pipelines.audio.source import RATE, AudioInfo, decode_audio, open_audio
from pipelines.options import Options
from tests.pipelines.test_mp4_index import BOMBS

Encode = Callable[..., bytes]
Samples = NDArray[np.float32]
SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "audio"


def tone(rate: int, seconds: float = 2.0, hertz: float = 440.0) -> Samples:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def pitch(samples: Samples) -> float:
    """The strongest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax()) * RATE / len(samples)


def wav(
    values: NDArray[np.float32], rate: int, channels: int = 1, floats: bool = False, size: int | None = None
) -> bytes:
    """A WAV file whose header says what it is told to."""
    body = values.astype("<f4").tobytes() if floats else (np.clip(values, -1, 1) * 32767).astype("<i2").tobytes()
    width = channels * (4 if floats else 2)
    said = len(body) if size is None else size
    form = struct.pack(
        "<IHHIIHH", 16, 3 if floats else 1, channels, rate, (rate * width) & 0xFFFFFFFF, width, 8 * width // channels
    )
    head = b"RIFF" + struct.pack("<I", (36 + said) & 0xFFFFFFFF) + b"WAVEfmt " + form
    return head + b"data" + struct.pack("<I", said) + body


FORMATS = {
    "wav": ("pcm_s16le", "wav", 44_100, "wav", "pcm_s16le", False),
    "wav float": ("pcm_f32le", "wav", 48_000, "wav", "pcm_f32le", False),
    "wav mu-law": ("pcm_mulaw", "wav", 8_000, "wav", "pcm_mulaw", True),
    "flac": ("flac", "flac", 44_100, "flac", "flac", False),
    "opus": ("libopus", "ogg", 48_000, "ogg", "opus", True),
    "mp3": ("libmp3lame", "mp3", 44_100, "mp3", "mp3", True),
    "m4a": ("aac", "ipod", 44_100, "m4a", "aac", True),
    "alac": ("alac", "ipod", 44_100, "m4a", "alac", False),
    "aac": ("aac", "adts", 44_100, "aac", "aac", True),
    "webm": ("libopus", "webm", 48_000, "webm", "opus", True),
    "matroska": ("ac3", "matroska", 48_000, "matroska", "ac3", True),
    "amr": ("libopencore_amrnb", "amr", 8_000, "amr", "amr_nb", True),
    "mpegts": ("aac", "mpegts", 44_100, "mpegts", "aac", True),
    "aiff": ("pcm_s16be", "aiff", 44_100, "aiff", "pcm_s16be", False),
    "au": ("pcm_s16be", "au", 44_100, "au", "pcm_s16be", False),
    "caf": ("pcm_s16le", "caf", 44_100, "caf", "pcm_s16le", False),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_sound_and_says_what_it_was(name: str, encode_sound: Encode) -> None:
    codec, form, rate, kind, stored, lossy = FORMATS[name]
    data = encode_sound(tone(rate), rate, codec, form)
    samples, info = decode_audio(data, Options(request_id="r1"))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(2 * RATE, abs=0.1 * RATE)  # codecs pad to whole frames
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert samples[RATE // 2 : RATE].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.2)
    assert (info.format, info.codec, info.lossy) == (kind, stored, lossy)
    assert (info.sample_rate, info.channels, info.cut_off, info.notes) == (rate, 1, False, ())
    assert info.duration_s == pytest.approx(len(samples) / RATE)
    assert info.bit_rate > 4_000
    assert info.decoder.startswith("pyav ")
    assert info.options.request_id == "r1"
    assert len(info.sha256) == 64
    assert AudioInfo.model_validate_json(info.model_dump_json()) == info


def test_a_video_gives_its_sound_track_and_a_silent_film_an_error(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(25):
            grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(pictures.encode(grey))
        frame = av.AudioFrame.from_ndarray(tone(16_000, 1.0)[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    samples, info = decode_audio(buffer.getvalue())
    assert info.format == "mp4"
    assert pitch(samples) == pytest.approx(440, abs=2)
    silent = write_video(tmp_path / "a.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 10).read_bytes()
    with pytest.raises(MediaError) as caught:
        open_audio(silent)
    assert caught.value.code is ErrorCode.NO_SOUND


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 96_000, 192_000, 384_000])
def test_odd_rates_come_out_at_16_khz(rate: int) -> None:
    samples, info = decode_audio(wav(tone(rate), rate))
    assert len(samples) == pytest.approx(2 * RATE, abs=20)
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert info.sample_rate == rate


def test_what_lies_above_8_khz_does_not_fold_back() -> None:
    samples, _ = decode_audio(wav(tone(48_000, hertz=11_000), 48_000))
    assert np.abs(samples[200:-200]).max() < 1e-3


@pytest.mark.parametrize("channels", [2, 3, 6, 8, 16])
def test_channels_are_averaged(channels: int) -> None:
    left = tone(RATE)
    rows = np.zeros((len(left), channels), np.float32)
    rows[:, 0] = left
    rows[:, -1] = left
    samples, info = decode_audio(wav(rows, RATE, channels))
    np.testing.assert_allclose(samples, left * 2 / channels, atol=1e-4)
    assert info.channels == channels


def test_channels_that_cancel_each_other_are_not_averaged() -> None:
    left = tone(RATE)
    samples, info = decode_audio(wav(np.stack([left, -left], axis=1), RATE, 2))
    np.testing.assert_allclose(samples, left, atol=1e-4)
    assert "cancel" in info.notes[0]


def test_blocks_are_the_whole_and_can_be_read_again(encode_sound: Encode) -> None:
    data = encode_sound(tone(44_100, 3.3), 44_100, "libmp3lame", "mp3")
    whole, _ = decode_audio(data)
    recording = open_audio(data)
    for seconds in (0.1, 0.77, 1.0, 30.0):
        blocks = list(recording.blocks(seconds))
        assert {len(block) for block in blocks[:-1]} <= {round(seconds * RATE)}
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_values_that_are_not_numbers_become_silence_and_are_told() -> None:
    values = tone(48_000)
    values[1000:1100] = np.nan
    values[5000], values[6000] = np.inf, -1e30
    samples, info = decode_audio(wav(values, 48_000, floats=True))
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0
    clean, _ = decode_audio(wav(tone(48_000), 48_000, floats=True))
    far = np.r_[0:300, 400:1600, 1720:1940, 2060 : len(clean)]  # a resampler would have spread them
    np.testing.assert_allclose(samples[far], clean[far], atol=1e-3)
    assert "not numbers" in " ".join(info.notes)
    with pytest.raises(MediaError, match="not numbers") as caught:
        decode_audio(wav(np.full(4000, np.nan, np.float32), RATE, floats=True))
    assert caught.value.code is ErrorCode.CORRUPT


def test_floats_beyond_full_scale_are_cut_and_told() -> None:
    samples, info = decode_audio(wav(tone(RATE) * 32_768, RATE, floats=True))
    assert np.abs(samples).max() == 1.0
    assert "full scale" in info.notes[0]


def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(encode_sound: Encode) -> None:
    for name in ("wav", "wav float", "flac", "opus", "mp3", "webm", "aac", "amr", "matroska", "aiff"):
        codec, form, rate, *_ = FORMATS[name]
        data = encode_sound(tone(rate, 6.0), rate, codec, form)
        samples, info = decode_audio(data[: len(data) * 6 // 10])
        assert len(samples) / RATE == pytest.approx(3.6, abs=1.0), name  # a page of OGG is a second
        assert info.cut_off, name
        assert info.notes, name
    data = encode_sound(tone(44_100), 44_100, "aac", "ipod")  # its index is at the end
    with pytest.raises(MediaError) as caught:
        decode_audio(data[: len(data) * 6 // 10])
    assert caught.value.code is ErrorCode.TRUNCATED


def test_damage_inside_costs_some_sound_and_is_told(encode_sound: Encode) -> None:
    data = bytearray(encode_sound(tone(44_100, 6.0), 44_100, "libmp3lame", "mp3"))
    middle = len(data) // 2
    data[middle : middle + 4000] = b"\x55" * 4000
    samples, info = decode_audio(bytes(data))
    assert 4.0 < len(samples) / RATE < 6.1
    assert info.cut_off


def test_headers_that_lie_about_the_length() -> None:
    values = tone(RATE)
    for said in (0, 0xFFFFFFFF):  # a writer to a pipe does not know it
        samples, info = decode_audio(wav(values, RATE, size=said))
        assert len(samples) == len(values)
        assert not info.cut_off
    samples, info = decode_audio(wav(values, RATE, size=10 * len(values)))
    assert len(samples) == len(values)
    assert info.cut_off


NOT_RECORDINGS = {
    "empty": (b"", ErrorCode.EMPTY),
    "text": (b"this is no recording at all\n" * 400, ErrorCode.NOT_MEDIA),
    "zeros": (bytes(100_000), ErrorCode.NOT_MEDIA),
    "noise": (np.random.default_rng(0).bytes(200_000), ErrorCode.NOT_MEDIA),
    "frames that are too short": (b"\xff\xfb\x90\x00" * 50_000, ErrorCode.NOT_MEDIA),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), ErrorCode.UNSUPPORTED),
    "midi": (b"MThd\x00\x00\x00\x06" + bytes(100), ErrorCode.UNSUPPORTED),
    "no samples": (wav(tone(RATE)[:0], RATE), ErrorCode.EMPTY),
    "header alone": (wav(tone(RATE), RATE)[:44], ErrorCode.EMPTY),
    "half a header": (wav(tone(RATE), RATE)[:30], ErrorCode.CORRUPT),
    "17 channels": (wav(np.zeros((1600, 17), np.float32), RATE, 17), ErrorCode.UNSUPPORTED),
    "rate 1": (wav(tone(RATE), 1), ErrorCode.UNSUPPORTED),
    "rate of millions": (wav(tone(RATE), 768_000), ErrorCode.UNSUPPORTED),
}
LISTS = {
    "m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    "ffconcat": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "dash": b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
    "pls": b"[playlist]\nFile1=http://127.0.0.1/a.mp3\n",
}


@pytest.mark.parametrize("name", NOT_RECORDINGS)
def test_what_is_no_recording_is_named(name: str) -> None:
    data, code = NOT_RECORDINGS[name]
    with pytest.raises(MediaError) as caught:
        decode_audio(data)
    assert caught.value.code is code
    assert caught.value.remedy


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_refused_before_ffmpeg_sees_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("FFmpeg was asked")

    monkeypatch.setattr(av, "open", never)
    with pytest.raises(MediaError) as caught:
        open_audio(LISTS[name])
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert "other files" in caught.value.message


def test_a_list_behind_a_recordings_head_opens_nothing(encode_sound: Encode) -> None:
    """The named reader gets the bytes and no protocol: what is inside cannot lead it elsewhere."""
    for head in (b"RIFF\x00\x01\x00\x00WAVE", b"OggS\x00", b"fLaC", b"\x00\x00\x00\x18ftypmp42", b"\x1aE\xdf\xa3"):
        with pytest.raises(MediaError):
            decode_audio(head + LISTS["m3u8"] * 20)


def test_tags_and_rubbish_before_the_sound_do_not_matter(encode_sound: Encode) -> None:
    mp3 = encode_sound(tone(44_100), 44_100, "libmp3lame", "mp3", options={"id3v2_version": "0", "write_xing": "0"})
    cover = b"ID3\x04\x00\x00" + bytes([0, 4, 0, 0]) + np.random.default_rng(1).bytes(4 * 2**14)
    for before in (b"", cover, bytes(700), mp3[-300:-7]):
        samples, info = decode_audio(before + mp3)
        assert info.format == "mp3"
        assert pitch(samples) == pytest.approx(440, abs=2)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch, encode_sound: Encode) -> None:
    long = encode_sound(tone(16_000, 5.0), 16_000, "libmp3lame", "mp3")
    with monkeypatch.context() as patch:
        patch.setattr(source, "MAX_AUDIO_BYTES", 1000)
        with pytest.raises(LimitError) as caught:
            open_audio(long)
        assert caught.value.code is ErrorCode.TOO_LARGE
    monkeypatch.setattr(source, "MAX_AUDIO_SECONDS", 3)
    with pytest.raises(LimitError) as caught:
        open_audio(wav(tone(RATE, 5.0), RATE))  # told by the header
    assert caught.value.code is ErrorCode.TOO_LONG
    adts = encode_sound(tone(16_000, 5.0), 16_000, "aac", "adts")
    recording = open_audio(adts)  # only counting tells
    with pytest.raises(LimitError) as caught:
        list(recording.blocks())
    assert caught.value.code is ErrorCode.TOO_LONG


def test_memory_does_not_grow_with_the_length(encode_sound: Encode) -> None:
    quiet = np.zeros(8_000 * 60, np.float32)
    peaks = []
    for minutes in (2, 10):
        recording = open_audio(encode_sound(np.tile(quiet, minutes), 8_000, "flac", "flac"))
        tracemalloc.start()
        total = sum(len(block) for block in recording.blocks(10.0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == minutes * 60 * RATE
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 8 * 10 * RATE * 4


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_an_index_that_would_take_gigabytes_is_refused_before_it_is_built(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 KB of M4A took 700 MB."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(av, "open", never)
    with pytest.raises(LimitError) as caught:
        decode_audio(BOMBS[name])
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["thanks.wav", "voicemail.mp3", "next_caller.ogg", "thanks_copy.wav"])
def test_the_sample_recordings_decode(name: str) -> None:
    samples, info = decode_audio((SAMPLES / name).read_bytes())
    assert 5 < len(samples) / RATE < 6
    assert not info.cut_off
    assert info.notes == ()
