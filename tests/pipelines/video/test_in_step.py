"""A video's verdict with the lip-sync of its main face, where ``analyzers`` is asked for and the file has sound."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cards.limits import MAX_AUDIO_BYTES
from cards.repository import ModelRepository
from deepscan_client.errors import CancelledError, LimitError, MediaError
from pipelines.audio import source
from pipelines.audio.source import RATE, decode_audio, open_track
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import in_step
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.in_step import NOBODY_SPEAKS, Heard, hear, with_lip_sync
from pipelines.video.leaving import checker
from pipelines.video.sound import sound_delay, sound_of
from pipelines.video.verdict import UNHEARD, VideoJudge
from tests.pipelines.test_mp4_index import BOMBS

VOICE = Path(__file__).resolve().parents[3] / "samples" / "audio" / "voicemail.mp3"
SECONDS = 4


def write_talking(path: Path, frames: list[NDArray[np.uint8]], samples: NDArray[np.float32], late: float = 0.0) -> Path:
    """H.264 at 25 frames a second with lossless sound that begins ``late`` seconds after the first frame."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("flac", rate=16_000, layout="mono")
        for pixels in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        whole = np.clip(samples * 32767, -32768, 32767).astype(np.int16)
        for start in range(0, len(whole), 4096):
            piece = av.AudioFrame.from_ndarray(whole[None, start : start + 4096], format="s16", layout="mono")
            piece.sample_rate, piece.time_base = 16_000, Fraction(1, 16_000)
            piece.pts = start + round(late * 16_000)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


def grown(path: Path, size: int = MAX_AUDIO_BYTES + (64 << 20)) -> Path:
    """An MP4 that became larger by a box of nothing at its end, which takes no place on the disk."""
    length = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(length)
        file.write((size - length).to_bytes(4, "big") + b"free")
        file.truncate(size)
    return path


@pytest.fixture(scope="module")
def analyzer() -> VideoAnalyzer:
    repository = ModelRepository()
    return VideoAnalyzer(repository, OnnxInfer(repository))


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float32]:
    samples, _ = decode_audio(VOICE.read_bytes())
    return np.resize(samples, SECONDS * 16_000)


@pytest.fixture(scope="module")
def film(
    face_frames: Callable[..., list[NDArray[np.uint8]]],
    voice: NDArray[np.float32],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A face whose lips stand still while somebody speaks."""
    return write_talking(tmp_path_factory.mktemp("film") / "face.mkv", face_frames(25 * SECONDS), voice)


def test_the_verdict_tells_offset_and_confidence(analyzer: VideoAnalyzer, film: Path) -> None:
    verdict = analyze_video(film, analyzer, VideoJudge(ModelRepository()), Options(analyzers=True))
    rows = {row.name: row for row in verdict.evidence}
    assert abs(rows["lip_sync_offset"].score) <= 15
    assert "0 s" in rows["lip_sync_offset"].note
    assert rows["lip_sync_confidence"].score < 0.5
    assert rows["lip_sync_offset"].weight is None
    assert {"av_sync", "face_mesh", "voice_activity"} <= {model.name for model in verdict.models}
    assert verdict.timing_ms["lip_sync"] > 0
    assert verdict.decode.notes[-1] == UNHEARD  # to lay lips against it is not to judge it


def test_nobody_pays_who_did_not_ask_and_silence_says_nothing(
    analyzer: VideoAnalyzer, film: Path, face_frames: Callable[..., list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    evidence = analyzer.evidence(film, Options(num_frames=8))
    assert "lip_sync" not in evidence.ms
    with pytest.raises(CancelledError):
        with_lip_sync(evidence, film, analyzer.infer, lambda: True)
    silent = write_talking(tmp_path / "silent.mkv", face_frames(25 * SECONDS), np.zeros(SECONDS * 16_000, np.float32))
    told = with_lip_sync(analyzer.evidence(silent, Options(num_frames=8)), silent, analyzer.infer)
    assert told.more["lip_sync"] == ()
    assert told.facts.notes[-1] == f"lip-sync left out: {NOBODY_SPEAKS}"
    beside = with_lip_sync(evidence, film, analyzer.infer, audio=b"no sound at all")
    assert beside.facts.notes[-1] == "lip-sync left out: no sound (this is not a recording)"
    assert "av_sync" not in told.weights


def test_the_sound_is_put_where_the_file_says(
    face_frames: Callable[..., list[NDArray[np.uint8]]], voice: NDArray[np.float32], tmp_path: Path, film: Path
) -> None:
    late = write_talking(tmp_path / "late.mkv", face_frames(25 * SECONDS), voice, late=0.5)
    assert sound_delay(late) == pytest.approx(0.5, abs=0.01)
    assert not sound_of(late)[:7900].any()
    np.testing.assert_allclose(sound_of(late)[8000:20000], sound_of(film)[:12000], atol=1e-4)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 100)
    with pytest.raises(MediaError):
        sound_delay(broken)
    broken.write_bytes(BOMBS["sizes"])
    with pytest.raises(LimitError, match="index"):
        sound_delay(broken)


def test_only_the_sound_of_the_seconds_that_are_watched_is_kept(
    analyzer: VideoAnalyzer, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_step, "_LEAD_S", 1.0)
    heard = hear(film, (1.5, 2.5), analyzer.infer, checker(None))
    assert isinstance(heard, Heard)
    assert heard.start == 0.5
    np.testing.assert_array_equal(heard.samples, sound_of(film)[8000:56000])


def test_the_sound_of_a_large_video_is_read_from_its_file(
    film: Path,
    voice: NDArray[np.float32],
    face_frames: Callable[..., list[NDArray[np.uint8]]],
    analyzer: VideoAnalyzer,
    tmp_path: Path,
) -> None:
    large = grown(write_talking(tmp_path / "large.mp4", face_frames(25 * SECONDS), voice))
    asked: list[int] = []
    tracemalloc.start()
    heard = hear(large, (0.0, 3.8), analyzer.infer, lambda: asked.append(1))
    track = open_track(large)
    count = sum(map(len, track.blocks()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(heard, Heard)
    np.testing.assert_allclose(heard.samples, sound_of(film)[: len(heard.samples)], atol=1e-4)
    assert (count, track.info.bytes) == (SECONDS * RATE, large.stat().st_size)
    assert peak < 20e6
    assert asked

    def left() -> None:
        raise CancelledError("gone")

    with pytest.raises(CancelledError):
        open_track(large, check=left)


def test_a_sound_track_that_is_too_long_is_heard_as_far_as_the_limit(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_AUDIO_SECONDS", 2)
    track = open_track(film)
    assert 2 * RATE < sum(map(len, track.blocks())) <= 3 * RATE
    assert track.info.notes == ("only the first 2 s were judged",)
    assert not track.info.cut_off


def test_the_delay_is_that_of_the_track_that_is_heard(tmp_path: Path) -> None:
    """Of two sound tracks the second is marked as default, and begins a second late."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("flac", rate=16_000, layout="mono") for _ in range(2)]
        for sound, disposition in zip(sounds, (0, av.stream.Disposition.default)):
            sound.disposition = av.stream.Disposition(disposition)
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(video.encode(None))
        for late, sound in enumerate(sounds):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
            piece.sample_rate, piece.time_base, piece.pts = 16_000, Fraction(1, 16_000), late * 16_000
            container.mux([*sound.encode(piece), *sound.encode(None)])
    assert decode_audio(path.read_bytes())[1].notes == ("track 2 of 2 sound tracks",)
    assert sound_delay(path) == pytest.approx(1.0, abs=0.01)
