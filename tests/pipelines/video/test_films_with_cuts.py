"""Real, rendered films through detector and tracker: a cut parts two people, and being hidden for half a second parts
nobody from herself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client import Verdict
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.verdict import VideoJudge
from tests.pipelines.video.conftest import portrait
from tests.pipelines.video.people import ELI, SUE, TOM, Place, backdrop, portrait_of, put

Pixels = NDArray[np.uint8]
Frames = Callable[..., list[Pixels]]
Write = Callable[..., Path]
REPOSITORY = ModelRepository()
ANALYZER, JUDGE = VideoAnalyzer(REPOSITORY, OnnxInfer(REPOSITORY)), VideoJudge(REPOSITORY)
BLUE, OCHRE, GREY = (60, 90, 160), (160, 120, 60), (90, 70, 60)


def judged(path: Path, fps: float = 5) -> Verdict:
    return analyze_video(path, ANALYZER, JUDGE, Options(fps=fps))


def shot(number: int, count: int, colour: tuple[int, int, int], first: int = 0) -> list[Pixels]:
    """A person alone, in the middle, before a wall."""
    wall, person = backdrop(colour), portrait_of(number)
    return [put(wall, person, Place(), first + step) for step in range(count)]


def spans(verdict: Verdict) -> list[tuple[int, float, float, int]]:
    """Number, first and last second and frames of the tracks, in the order of appearance."""
    found = [(each.id, round(each.start_s, 3), round(each.end_s, 3), each.frames) for each in verdict.tracks]
    return sorted(found)


def test_a_cut_between_two_people_in_one_place_parts_them(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.mp4", shot(ELI, 50, BLUE) + shot(SUE, 50, OCHRE, 50))
    verdict = judged(path)
    assert spans(verdict) == [(0, 0.0, 1.8, 10), (1, 2.0, 3.8, 10)]
    first, second = sorted(verdict.tracks, key=lambda track: track.id)
    # They stand where the other stood: place alone would have joined them.
    np.testing.assert_allclose(first.boxes[-1].box, second.boxes[0].box, atol=40)


def test_who_comes_back_after_another_shot_is_known_again(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    hers = face_frames(75)
    path = write_video(tmp_path / "a.mp4", hers[:25] + shot(SUE, 25, OCHRE) + hers[50:])
    assert spans(judged(path)) == [(0, 0.0, 2.8, 10), (1, 1.0, 1.8, 5)]


def test_three_shots_of_three_people_are_three_tracks(tmp_path: Path, write_video: Write) -> None:
    shots = [shot(ELI, 25, BLUE), shot(SUE, 25, OCHRE), shot(TOM, 25, (70, 130, 70))]
    path = write_video(tmp_path / "a.mp4", [frame for each in shots for frame in each])
    assert spans(judged(path)) == [(0, 0.0, 0.8, 5), (1, 1.0, 1.8, 5), (2, 2.0, 2.8, 5)]


@pytest.mark.xfail(
    strict=True,
    reason="the looks of grey faces before one wall differ by some 0.14, and a face in the same place may by 0.7",
)
def test_a_cut_between_two_people_before_one_wall_parts_them(tmp_path: Path, write_video: Write) -> None:
    """As in a studio: colours do not tell that a new shot begins."""
    path = write_video(tmp_path / "a.mp4", shot(ELI, 40, BLUE) + shot(SUE, 40, BLUE, 40))
    assert len(judged(path).tracks) == 2


def together(
    count: int, left: int, right: int, colour: tuple[int, int, int], hidden: Sequence[int] = ()
) -> list[Pixels]:
    """Two people side by side; the one at the right is not there at some steps."""
    wall, people = backdrop(colour), (portrait_of(left, 120), portrait_of(right, 120))
    frames = []
    for step in range(count):
        frame = put(wall, people[0], Place(80, 120, 120), step)
        frames.append(frame if step in hidden else put(frame, people[1], Place(240, 120, 120), step + 9))
    return frames


def test_of_two_people_one_is_away_for_half_a_second(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.mp4", together(60, ELI, SUE, BLUE, range(24, 37)))
    tracks = sorted(judged(path, 10).tracks, key=lambda track: track.boxes[0].box[0])
    assert [track.frames for track in tracks] == [24, 19]
    for track, (low, high) in zip(tracks, ((20, 140), (180, 300)), strict=True):
        assert all(low < (each.box[0] + each.box[2]) / 2 < high for each in track.boxes)


def test_a_face_that_is_hidden_for_half_a_second_keeps_its_number(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    """Whole, as by a hand before the lens: no face is seen at 1.2 to 1.7 s."""
    frames = face_frames(75)
    for place in range(30, 43):
        frames[place] = np.full_like(frames[place], 90)
    verdict = judged(write_video(tmp_path / "a.mp4", frames), 12.5)
    (track,) = verdict.tracks
    moments = np.array([each.time for each in track.boxes])
    assert not ((moments > 1.195) & (moments < 1.715)).any()
    assert len(moments) == 38 - 7
    assert track.end_s == pytest.approx(2.96)


@pytest.mark.parametrize("fps", [5.0, 10.0])
def test_someone_who_walks_past_in_front_parts_nobody(
    tmp_path: Path, write_video: Write, face_frames: Frames, fps: float
) -> None:
    """A broad, dark shape goes through the picture from the left to the right and hides the face on its way."""
    frames = face_frames(75)
    for step, frame in enumerate(frames):
        x = 20 * (step - 20) - 180
        frame[:, max(0, x) : max(0, x + 200)] = GREY
    (track,) = judged(write_video(tmp_path / "a.mp4", frames), fps).tracks
    gaps = np.diff([each.time for each in track.boxes])
    assert gaps.max() > 0.35  # it was hidden
    assert track.start_s == 0.0
    assert track.end_s > 2.7


@pytest.mark.xfail(strict=True, reason="their looks differ by 0.62 to 0.66, and a face in the same place may by 0.7")
def test_two_people_who_change_places_between_two_frames_keep_their_numbers(tmp_path: Path, write_video: Write) -> None:
    """One in colour and one in grey; each is found at the other side, where place alone would have left the numbers."""
    hers, his = portrait()[20:220, 124:324], portrait_of(ELI, 200)
    frames = []
    for step in range(50):
        frame = backdrop(BLUE)
        for person, x in zip((hers, his), (80, 240) if step < 25 else (240, 80), strict=True):
            frame = put(frame, person, Place(x, 120, 140), step)
        frames.append(frame)
    tracks = judged(write_video(tmp_path / "a.mp4", frames)).tracks
    assert len(tracks) == 2
    for track in tracks:
        left = [(each.box[0] + each.box[2]) / 2 < 160 for each in track.boxes]
        assert left == [left[0]] * 5 + [not left[0]] * 5


@pytest.mark.xfail(
    strict=True, reason="after half a second any place within 1.7 faces is near, and looks are not asked"
)
def test_who_comes_back_is_not_taken_for_the_one_who_has_just_left(tmp_path: Path, write_video: Write) -> None:
    """She was at the left, he at the right; he leaves, and 0.6 s later she is back at the left."""
    hers, his, wall = portrait()[20:220, 124:324], portrait_of(ELI, 200), backdrop(BLUE)
    frames = []
    for step in range(75):
        frame = wall
        if step < 15 or step >= 55:
            frame = put(frame, hers, Place(85, 120, 140), step)
        if step < 41:
            frame = put(frame, his, Place(240, 120, 140), step + 9)
        frames.append(frame)
    tracks = judged(write_video(tmp_path / "a.mp4", frames)).tracks
    assert sorted((track.start_s, round(track.end_s, 3), track.frames) for track in tracks) == [
        (0.0, 1.6, 9),
        (0.0, 2.8, 7),
    ]
