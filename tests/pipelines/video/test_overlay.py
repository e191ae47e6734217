"""Videos with what was found in them: where the heat maps lie, how they move, and which moments are shown close."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client import (
    InputInfo,
    Label,
    Medium,
    OperatingPoint,
    Track,
    TrackBox,
    TrackHeatMap,
    Verdict,
    make_verdict,
)
from pipelines.chart import COLOURS
from pipelines.video.closeups import SIDE, Moment, close_looks, telling_moments
from pipelines.video.frame import Frame
from pipelines.video.overlay import draw_frame, heat_at
from pipelines.video.picture import track_label
from pipelines.video.sampling import open_source

HOT, COLD = 255, 0


def heat(time: float, byte: int, x: float) -> TrackHeatMap:
    """A map of 2 x 3 equal cells over a square of 40 pixels whose left side is ``x``."""
    cells = base64.b64encode(bytes([byte] * 6)).decode()
    return TrackHeatMap(time, 3, cells, ((40.0, 0.0, x), (0.0, 40.0, 30.0)))


def seen(*maps: TrackHeatMap, timeline: tuple[tuple[float, float, float], ...] = ()) -> Verdict:
    boxes = tuple(TrackBox(each.time, (each.to_frame[0][2], 30.0, each.to_frame[0][2] + 40, 70.0)) for each in maps)
    track = Track(0, 0.0, 2.0, len(maps), 0.9, 0.9, 0.9, boxes=boxes, heatmaps=maps)
    info = InputInfo("0" * 64, 10, "mp4", 200, 100, duration_s=2.0)
    return make_verdict("fake", 0.9, medium=Medium.VIDEO, input=info, tracks=(track,), timeline=timeline)


def heat_alone(verdict: Verdict, moment: float, width: int = 200, height: int = 100) -> NDArray[np.int64]:
    """What the maps change of a grey frame with its boxes and words, [h, w, 3]."""
    frame = Frame(moment, 0, np.full((height, width, 3), 120, np.uint8))
    bare = replace(verdict, tracks=tuple(replace(track, heatmaps=()) for track in verdict.tracks))
    return draw_frame(frame, verdict).astype(np.int64) - draw_frame(frame, bare)


@pytest.mark.parametrize(("probability", "label"), [(0.5, Label.REAL), (0.7, Label.FAKE)])
def test_a_face_has_the_colour_of_its_own_parts_threshold(probability: float, label: Label) -> None:
    """Where the sound decides, the verdict's threshold is that of the sound."""
    alone = seen(heat(0.0, HOT, 10.0), heat(2.0, HOT, 10.0))
    track = replace(alone.tracks[0], fake_probability=probability, heatmaps=())
    for sound in (0.2, 0.9):
        points = {"pictures": OperatingPoint(0.6), "sound": OperatingPoint(sound)}
        joined = replace(
            alone, medium=Medium.MULTIMODAL, tracks=(track,), operating_point=points["sound"], part_points=points
        )
        assert track_label(track, joined) is label
        frame = draw_frame(Frame(0.0, 0, np.zeros((100, 200, 3), np.uint8)), joined)
        assert tuple(frame[50, 10]) == COLOURS[label]  # the left side of the box


def test_a_packed_map_says_what_was_packed() -> None:
    cells = base64.b64encode(bytes([0, 128, 144, 255, 112, 1])).decode()
    told = TrackHeatMap(0.5, 3, cells, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))).unpacked()
    assert told.values == ((-8.0, 0.0, 1.0), (7.9375, -1.0, -7.9375))
    for columns, text in ((4, cells), (0, cells), (3, ""), (3, "no base64")):
        with pytest.raises(ValueError, match=r"rows|base64|alphabet"):
            TrackHeatMap(0.5, columns, text, told.to_photo).unpacked()


def test_a_face_carries_its_latest_map_which_moves_along_with_it() -> None:
    track = seen(heat(0.0, HOT, 20.0), heat(0.2, COLD, 60.0), heat(0.4, HOT, 60.0)).tracks[0]
    for moment, value, x in ((0.0, 7.9375, 20.0), (0.1, 7.9375, 40.0), (0.2, -8.0, 60.0), (0.39, -8.0, 60.0)):
        at = heat_at(track, moment)
        assert at is not None
        assert at.values[0][0] == value
        assert at.to_photo[0][2] == pytest.approx(x)
    assert heat_at(track, 1.9) is None
    assert heat_at(replace(track, heatmaps=()), 0.1) is None


def test_red_and_blue_lie_on_the_face_and_nowhere_else() -> None:
    for byte, more, less in ((HOT, 0, 2), (COLD, 2, 0)):
        change = heat_alone(seen(heat(0.0, byte, 80.0), heat(0.2, byte, 80.0)), 0.1)
        inside = change[40:60, 90:110]
        assert (inside[..., more] - inside[..., less] > 60).all()
        change[29:72, 79:122] = 0
        assert not change.any()


def test_the_map_is_laid_where_a_smaller_frame_shows_the_face() -> None:
    change = heat_alone(seen(heat(0.0, HOT, 80.0), heat(0.2, HOT, 80.0)), 0.0, 100, 50)
    rows, columns = np.nonzero(change[..., 0] - change[..., 2] > 20)
    assert (columns.min(), columns.max()) == (pytest.approx(41, abs=1), pytest.approx(58, abs=1))
    assert (rows.min(), rows.max()) == (pytest.approx(16, abs=1), pytest.approx(33, abs=1))


def test_the_most_suspicious_stretches_are_looked_at_in_the_order_of_time() -> None:
    maps = tuple(heat(place / 5, HOT, 80.0) for place in range(10))
    timeline = ((0.0, 0.5, 0.2), (0.5, 1.0, 0.9), (1.0, 1.5, 0.1), (1.5, 2.0, 0.8), (2.0, 9.0, 0.99))
    assert telling_moments(seen(*maps, timeline=timeline), 2) == [Moment(0.8, 0.9), Moment(1.8, 0.8)]
    assert [moment.time for moment in telling_moments(seen(*maps), 3)] == pytest.approx([0.0, 0.8, 1.8])
    assert telling_moments(seen()) == []


def test_close_looks_show_the_face(tmp_path: Path, write_video: object) -> None:
    assert callable(write_video)
    path = write_video(tmp_path / "a.mp4", [np.full((100, 200, 3), 120, np.uint8)] * 50)
    maps = tuple(heat(place / 5, HOT, 140.0) for place in range(10))
    looks = list(close_looks(open_source(path), seen(*maps, timeline=((0.0, 2.0, 0.9),))))
    assert [moment for moment, _ in looks] == [Moment(1.0, 0.9)]
    pixels = looks[0][1].astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    middle = pixels[SIDE // 2, SIDE // 2]
    assert middle[0] - middle[2] > 60
