"""Body and lips of the main face in one look: each frame is decoded and meshed once, and says the same as two looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cards.repository import ModelRepository
from deepscan_client.errors import CancelledError
from deepscan_client.verdict import Evidence
from pipelines.audio.source import decode_audio
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import sampling, source
from pipelines.video.analyze import Beside, VideoAnalyzer
from pipelines.video.body import with_biometrics
from pipelines.video.close import FEW_ASKED, TOO_SHORT, same_face, stretch_of
from pipelines.video.evidence import TrackEvidence, VideoEvidence
from pipelines.video.in_step import NOBODY_SPEAKS, with_lip_sync
from pipelines.video.native import with_main_face
from tests.pipelines.analyzers.portraits import make_clip
from tests.pipelines.video.test_in_step import VOICE, write_talking

FRAMES = 100


class Counting:
    """Runs networks in this process and counts the pictures of each."""

    def __init__(self) -> None:
        self.inner = OnnxInfer(ModelRepository())
        self.asked: Counter[str] = Counter()

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        for call in calls:
            self.asked[call.model] += len(next(iter(call.inputs.values())))
        return self.inner.run(calls)


@pytest.fixture(scope="module")
def infer() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float32]:
    return np.resize(decode_audio(VOICE.read_bytes())[0], FRAMES * 640)


@pytest.fixture(scope="module")
def film(voice: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a face that blinks and moves its lips, with speech."""
    clip = make_clip(np.arange(FRAMES) / 25, (1.2, 2.9), speaks=3.0)
    path = tmp_path_factory.mktemp("film") / "face.mkv"
    return write_talking(path, [frame.pixels for frame in clip.frames], voice)


@pytest.fixture(scope="module")
def evidence(infer: Counting, film: Path) -> VideoEvidence:
    return VideoAnalyzer(ModelRepository(), infer).evidence(film, Options(fps=5))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the frames that the decoder hands on."""
    count = [0]
    plain = source.VideoSource._decode

    def counted(self: Any, *arguments: Any) -> Iterator[Any]:
        for frame in plain(self, *arguments):
            count[0] += 1
            yield frame

    monkeypatch.setattr(source.VideoSource, "_decode", counted)
    return count


def rows_of(evidence: VideoEvidence, name: str) -> dict[str, Evidence]:
    return {row.name: row for row in evidence.more[name]}


def test_every_frame_is_decoded_and_meshed_once(
    infer: Counting, evidence: VideoEvidence, film: Path, decoded: list[int]
) -> None:
    infer.asked.clear()
    together = with_main_face(evidence, film, infer)
    watched = FRAMES - 4  # from the first detection to the last
    assert decoded[0] <= watched + 2  # and the one that is decoded to describe the file
    assert watched - 1 <= infer.asked["face_mesh"] <= watched + 1
    assert watched - 1 <= infer.asked["eye_iris"] <= watched + 1
    assert {"biometrics", "lip_sync"} <= set(together.ms)
    decoded[0] = 0
    with_lip_sync(with_biometrics(evidence, film, infer), film, infer)
    assert decoded[0] >= 2 * watched


def test_one_look_says_what_two_say(infer: Counting, evidence: VideoEvidence, film: Path) -> None:
    together = with_main_face(evidence, film, infer)
    apart = with_lip_sync(with_biometrics(evidence, film, infer), film, infer)
    assert together.weights == apart.weights
    assert together.more["biometrics"] == apart.more["biometrics"]  # the lips change nothing of the body
    ours, theirs = rows_of(together, "lip_sync"), rows_of(apart, "lip_sync")
    assert set(ours) == set(theirs)
    assert len(ours) == 2
    for name, row in ours.items():
        assert row.score == pytest.approx(theirs[name].score, abs=0.02)


def test_without_sound_or_speech_the_body_is_read_alone(
    infer: Counting, evidence: VideoEvidence, film: Path, voice: NDArray[np.float32], tmp_path: Path
) -> None:
    silent = write_talking(tmp_path / "silent.mkv", [np.full((64, 64, 3), 9, np.uint8)] * 5, np.zeros_like(voice))
    infer.asked.clear()
    told = with_main_face(evidence, film, infer, audio=silent.read_bytes())
    assert told.more["lip_sync"] == ()
    assert told.facts.notes[-1] == f"lip-sync left out: {NOBODY_SPEAKS}"
    assert told.more["biometrics"]
    assert infer.asked["face_mesh"] < 0.7 * FRAMES
    assert "av_sync" not in told.weights


def test_a_recording_beside_the_video_is_what_the_lips_are_laid_against(
    infer: Counting, film: Path, tmp_path: Path, voice: NDArray[np.float32]
) -> None:
    late = write_talking(tmp_path / "late.mkv", [np.full((64, 64, 3), 9, np.uint8)] * 5, np.roll(voice, 3200))
    analyzer = VideoAnalyzer(ModelRepository(), infer)
    own = analyzer.evidence(film, Options(fps=5, analyzers=True))
    beside = analyzer.evidence(film, Options(fps=5, analyzers=True), beside=Beside(late.read_bytes()))
    lips = analyzer.evidence(film, Options(fps=5), beside=Beside(late.read_bytes()))
    assert rows_of(beside, "lip_sync") != rows_of(own, "lip_sync")
    assert set(lips.more) == {"lip_sync"}
    assert rows_of(lips, "lip_sync")["lip_sync_offset"].score == rows_of(beside, "lip_sync")["lip_sync_offset"].score


@pytest.mark.parametrize(("limit", "frames"), [(3, None), (300, 3)])
def test_a_face_that_was_sampled_thinly_is_looked_at_closer(
    infer: Counting, film: Path, monkeypatch: pytest.MonkeyPatch, limit: int, frames: int | None
) -> None:
    """As in a video of more than five minutes, where detections lie more than a second apart."""
    analyzer = VideoAnalyzer(ModelRepository(), infer)
    monkeypatch.setattr(sampling, "MAX_JUDGED_FRAMES", limit)
    infer.asked.clear()
    thin = analyzer.evidence(film, Options(num_frames=frames, analyzers=True))
    assert [len(track) for track in thin.tracks] == [3]
    assert infer.asked["portrait_cnn"] == 3  # the closer look judges nobody
    assert thin.thin == (limit == 3)
    monkeypatch.undo()
    dense = analyzer.evidence(film, Options(analyzers=True))
    assert thin.more == dense.more
    assert {"blink_rate", "mouth_rhythm", "identity_drift"} <= set(rows_of(thin, "biometrics"))
    assert len(rows_of(thin, "lip_sync")) == 2
    assert thin.ms["close_look"] > 0
    assert "close_look" not in dense.ms
    assert thin.facts.notes[-1] == "faces were looked for five times a second from 0.0 to 4.0 s"


def test_what_is_left_out_is_told(
    infer: Counting, film: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    analyzer = VideoAnalyzer(ModelRepository(), infer)
    few = analyzer.evidence(film, Options(num_frames=4), beside=Beside())
    assert few.more == {}
    assert few.facts.notes[-1] == f"lip-sync left out: {FEW_ASKED}"
    clip = make_clip(np.arange(15) / 25)
    short = write_video(tmp_path / "short.mp4", [frame.pixels for frame in clip.frames])
    for asked in (Options(analyzers=True), Options(num_frames=1, analyzers=True)):
        told = analyzer.evidence(short, asked)
        assert told.facts.notes[-1] == f"biometrics left out: {TOO_SHORT}"


def test_the_closer_look_finds_the_same_face_where_it_stays() -> None:
    def track(times: list[float], centre: float, number: int = 0) -> TrackEvidence:
        count = len(times)
        box = np.array([centre - 50, 0, centre + 50, 100], np.float32)
        boxes, points, nothing = np.tile(box, (count, 1)), np.zeros((count, 5, 2), np.float32), np.zeros(count)
        return TrackEvidence(number, np.array(times), boxes, points, nothing, nothing, 0.0, {})

    thin = track([0.0, 24.0, 36.0, 48.0, 300.0], 200, number=7)
    assert stretch_of(thin, 12.0, 3600.0) == (24.0, 44.0)
    assert stretch_of(track([300.0], 200), 12.0, 3600.0) == (290.0, 310.0)
    assert stretch_of(track([3.0], 200), 12.0, 12.0) == (0.0, 12.0)
    steps = [24.0 + 0.2 * step for step in range(100)]
    found = same_face((track(steps, 600), track(steps[:60], 210, number=1)), thin)
    assert found is not None
    assert (found.number, len(found)) == (7, 60)
    assert same_face((track(steps, 600),), thin) is None
    assert same_face((), thin) is None


def test_who_leaves_ends_it(infer: Counting, evidence: VideoEvidence, film: Path) -> None:
    with pytest.raises(CancelledError):
        with_main_face(evidence, film, infer, lambda: True)
