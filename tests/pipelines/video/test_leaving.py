"""A caller who goes away ends the work wherever it stands: counted in frames, packets and calls, not in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.recordings import encode_pcm
from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import CancelledError, MediaError
from pipelines.analyzers.face_reader import CHUNK
from pipelines.audio.analyze import VoiceAnalyzer
from pipelines.audio.source import decode_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import sampling, source
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.leaving import checker
from pipelines.video.multimodal import Watchers, analyze_multimodal
from pipelines.video.verdict import VideoJudge
from tests.pipelines.video.test_in_step import VOICE

Frames = Callable[..., list[NDArray[np.uint8]]]
REPOSITORY = ModelRepository()
NETWORKS = OnnxInfer(REPOSITORY)


class Counting:
    """The real networks, and how many pictures or windows each has seen."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        for call in calls:
            self.seen[call.model] += len(next(iter(call.inputs.values())))
        return NETWORKS.run(calls)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the frames that leave the decoder, wanted or not."""
    count = [0]
    plain = source.VideoSource._decoded

    def counted(self: Any, *arguments: Any) -> Iterator[Any]:
        for frame in plain(self, *arguments):
            count[0] += 1
            yield frame

    monkeypatch.setattr(source.VideoSource, "_decoded", counted)
    return count


def test_frames_that_nobody_wanted_are_not_decoded_on(
    tmp_path: Path, write_video: Callable[..., Path], face_frames: Frames, decoded: list[int]
) -> None:
    """One key frame, two wanted frames: hundreds lie between them, and seconds would."""
    path = write_video(tmp_path / "a.mp4", face_frames(20) * 15, keys=1000)
    with pytest.raises(CancelledError):
        VideoAnalyzer(REPOSITORY, Counting()).evidence(path, Options(num_frames=2), stopped=lambda: decoded[0] >= 40)
    assert decoded[0] <= 42


def test_packets_are_not_listed_and_bytes_not_hashed_on(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    frames = [np.full((16, 16, 3), 9, np.uint8)] * 1000
    path = write_video(tmp_path / "a.mp4", frames)
    asked = [0]

    def left_after(count: int) -> Callable[[], bool]:
        asked[0] = 0

        def stopped() -> bool:
            asked[0] += 1
            return asked[0] > count

        return stopped

    with pytest.raises(CancelledError):
        source.VideoSource(path, check=checker(left_after(0)))
    assert asked[0] == 1  # after the first 256 of 1,000 packets
    with path.open("ab") as stream:
        stream.truncate(5 * sampling._BLOCK)  # zeros after the end, which no player minds
    source.VideoSource(path, check=checker(left_after(10**9)))
    before = asked[0]
    with pytest.raises(CancelledError):
        sampling.open_video(path, Options(), checker(left_after(before)))
    assert asked[0] == before + 1  # the first block of five


def test_pictures_of_an_animation_are_not_decoded_on(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (place, 0, 0)) for place in range(60)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40)
    asked = [0]

    def stopped() -> bool:
        asked[0] += 1
        return asked[0] > 5

    with pytest.raises(CancelledError):
        sampling.open_source(tmp_path / "a.gif", check=checker(stopped))
    assert asked[0] == 6


@pytest.mark.parametrize("network", ["face_detector", "frame_cnn", "clip_head", "face_mesh", "eye_iris"])
def test_after_the_call_in_which_the_caller_left_no_network_is_asked(
    tmp_path: Path, write_video: Callable[..., Path], face_frames: Frames, network: str
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(100))
    infer = Counting()
    left: Counter[str] = Counter()

    def stopped() -> bool:
        if infer.seen[network] and not left:
            left.update(infer.seen)
        return bool(left)

    with pytest.raises(CancelledError):
        VideoAnalyzer(REPOSITORY, infer).evidence(path, Options(analyzers=True), lambda told: None, stopped=stopped)
    if network not in ("face_mesh", "eye_iris"):
        assert infer.seen == left
    # Those are asked while the next frames are decoded: one call of a chunk may be under way, and none follows it.
    assert all(infer.seen[name] - left[name] <= CHUNK for name in infer.seen)


def test_the_sound_is_not_heard_on(tmp_path: Path, write_video: Callable[..., Path], face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(30))
    voice = tmp_path / "voice.raw"
    minutes = np.resize(decode_audio(VOICE.read_bytes())[0], 180 * 16_000)
    voice.write_bytes(encode_pcm(minutes))
    infer = Counting()
    watchers = Watchers(
        (VideoAnalyzer(REPOSITORY, infer), VideoJudge(REPOSITORY)),
        (VoiceAnalyzer(REPOSITORY, infer), VoiceJudge(REPOSITORY)),
    )
    with pytest.raises(CancelledError):
        analyze_multimodal(path, watchers, voice, stopped=lambda: infer.seen["voice_cepstra"] > 0)
    assert 0 < infer.seen["voice_cepstra"] <= 12  # windows of one half minute of six


def test_a_file_in_which_a_reader_searches_for_long_is_given_up(tmp_path: Path) -> None:
    """Empty boxes: FFmpeg looks at each of them before it says that there is no video."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x08free" * 500_000)
    asked = [0]

    def stopped() -> bool:
        asked[0] += 1
        return asked[0] > 10

    with pytest.raises(CancelledError):
        sampling.open_source(path, check=checker(stopped))
    assert asked[0] == 11
    with pytest.raises(MediaError) as caught:
        sampling.open_source(path)
    assert caught.value.code is ErrorCode.CORRUPT
