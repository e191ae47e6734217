"""Faces: decoding of the maps, the policy of two looks, columns that agree; and the real network on photos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from cards import ModelRepository
from cards.card import FaceDetection
from pipelines.image.faces import Faces, decode_maps, detector_picture, find_faces
from pipelines.infer import Call
from pipelines.onnx_infer import OnnxInfer

Array = NDArray[Any]
POLICY = FaceDetection()
MAPS = ("HEATMAP", "SCALE", "OFFSET", "LANDMARKS")


def empty_maps(batch: int, height: int, width: int) -> dict[str, Array]:
    """Maps in which nothing is found, for a picture of height x width."""
    h, w = height // 4, width // 4
    return {name: np.zeros((batch, c, h, w), np.float32) for name, c in zip(MAPS, (1, 2, 2, 10), strict=True)}


def put_face(maps: dict[str, Array], item: int, box: tuple[float, float, float, float], score: float = 0.9) -> Array:
    """Write one face into the maps the way the network would, and return its five points."""
    x0, y0, x1, y1 = box
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    column, row = int(cx // 4), int(cy // 4)
    maps["HEATMAP"][item, 0, row, column] = score
    maps["SCALE"][item, :, row, column] = np.log([(y1 - y0) / 4, (x1 - x0) / 4])
    maps["OFFSET"][item, :, row, column] = [cy / 4 - row - 0.5, cx / 4 - column - 0.5]
    shares = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])  # x, y
    maps["LANDMARKS"][item, :, row, column] = shares[:, ::-1].reshape(-1)
    return shares * [x1 - x0, y1 - y0] + [x0, y0]


def decoded(maps: dict[str, Array]) -> Faces:
    """Faces of the first picture of some maps."""
    heatmap, scale, offset, landmarks = (maps[name][0] for name in MAPS)
    return decode_maps(heatmap, scale, offset, landmarks, threshold=0.5, nms_iou=0.3)


class Detector:
    """A detector that answers with prepared maps and remembers what it was shown."""

    def __init__(self, *answers: dict[str, Array]) -> None:
        self.answers = list(answers)
        self.seen: list[Array] = []

    def __call__(self, pictures: Array) -> Mapping[str, Array]:
        self.seen.append(pictures)
        return self.answers[len(self.seen) - 1]


@pytest.fixture(scope="module")
def network() -> OnnxInfer:
    return OnnxInfer(ModelRepository())


def detect_with(network: OnnxInfer) -> object:
    return lambda images: network.run([Call("face_detector", {"IMAGES": images}, MAPS)])[0]


def test_a_face_is_decoded_where_it_was_put() -> None:
    maps = empty_maps(1, 320, 320)
    points = put_face(maps, 0, (101.0, 60.0, 171.0, 150.0))
    faces = decoded(maps)
    np.testing.assert_allclose(faces.boxes, [[101, 60, 171, 150]], atol=1e-3)
    np.testing.assert_allclose(faces.landmarks[0], points, atol=1e-3)
    assert faces.scores.tolist() == pytest.approx([0.9])


def test_of_two_boxes_that_overlap_the_stronger_stays() -> None:
    maps = empty_maps(1, 320, 320)
    put_face(maps, 0, (100, 100, 180, 180), 0.6)
    put_face(maps, 0, (106, 104, 186, 184), 0.8)
    put_face(maps, 0, (220, 220, 260, 260), 0.7)
    faces = decoded(maps)
    assert faces.scores.tolist() == pytest.approx([0.8, 0.7])


def test_wild_maps_stay_finite() -> None:
    maps = empty_maps(1, 64, 64)
    maps["HEATMAP"][...] = 0.9
    maps["SCALE"][...] = 80.0
    faces = decoded(maps)
    assert len(faces) >= 1
    assert np.isfinite(faces.boxes).all()


@pytest.mark.parametrize(
    ("height", "width", "long_side"),
    [(256, 256, 256), (480, 640, 256), (768, 1024, 320), (3000, 4000, 1250), (9000, 100, 1280)],
)
def test_the_detectors_picture_follows_the_card(height: int, width: int, long_side: int) -> None:
    picture, factor = detector_picture(np.full((height, width, 3), 200, np.uint8), POLICY)
    assert picture.shape[0] % 32 == picture.shape[1] % 32 == 0
    assert factor == pytest.approx(long_side / max(height, width))
    inner = picture[: round(height * factor), : max(1, round(width * factor))]
    assert (inner == 200).all()
    assert picture.sum() == inner.sum()  # the padding is black


def test_boxes_come_back_in_photo_pixels_cut_at_its_border_largest_first() -> None:
    photo = np.zeros((768, 1024, 3), np.uint8)
    maps = empty_maps(1, 256, 320)  # 1024 px become 320: a factor of 0.3125
    put_face(maps, 0, (100, 100, 140, 140))
    put_face(maps, 0, (-20, 150, 80, 260))
    faces = find_faces(photo, Detector(maps), POLICY)
    np.testing.assert_allclose(faces.boxes, [[0, 480, 256, 768], [320, 320, 448, 448]], atol=0.01)
    assert faces.sizes.tolist() == pytest.approx([288, 128])


def test_at_most_the_cards_number_of_faces_is_kept() -> None:
    maps = empty_maps(1, 320, 320)
    for row in range(9):
        for column in range(9):
            put_face(maps, 0, (column * 34 + 2, row * 34 + 2, column * 34 + 22 + row, row * 34 + 22 + row))
    policy = POLICY.model_copy(update={"max_faces": 10, "min_side": 320, "closer_below": 0.0})
    faces = find_faces(np.zeros((320, 320, 3), np.uint8), Detector(maps), policy)
    assert len(faces) == 10
    assert faces.sizes.min() >= 27


def test_among_small_faces_a_closer_look_finds_smaller_ones() -> None:
    first, closer = empty_maps(1, 256, 256), empty_maps(1, 512, 512)
    put_face(first, 0, (100, 100, 116, 116))
    put_face(closer, 0, (200, 200, 232, 232))
    put_face(closer, 0, (300, 100, 320, 120))
    detector = Detector(first, closer)
    faces = find_faces(np.zeros((640, 640, 3), np.uint8), detector, POLICY)
    assert [shown.shape for shown in detector.seen] == [(1, 256, 256, 3), (1, 512, 512, 3)]
    np.testing.assert_allclose(faces.boxes, [[250, 250, 290, 290], [375, 125, 400, 150]], atol=0.01)


def test_a_closer_look_that_finds_less_is_not_believed() -> None:
    first = empty_maps(1, 256, 256)
    put_face(first, 0, (100, 100, 116, 116))
    faces = find_faces(np.zeros((640, 640, 3), np.uint8), Detector(first, empty_maps(1, 512, 512)), POLICY)
    np.testing.assert_allclose(faces.boxes, [[250, 250, 290, 290]], atol=0.01)


def test_a_large_face_needs_no_closer_look() -> None:
    first = empty_maps(1, 256, 256)
    put_face(first, 0, (60, 60, 160, 160))
    detector = Detector(first)
    assert len(find_faces(np.zeros((640, 640, 3), np.uint8), detector, POLICY)) == 1
    assert len(detector.seen) == 1


@pytest.mark.parametrize("turns", range(4))
def test_the_second_look_maps_turned_faces_back(turns: int) -> None:
    """A face put into the turned picture comes back where a turned photo would have shown it."""
    photo = np.zeros((200, 300, 3), np.uint8)
    nothing = empty_maps(1, 224, 320)
    rescue = empty_maps(4, 320, 320)
    box = (120.0, 100.0, 180.0, 190.0)
    points = put_face(rescue, turns, box)
    detector = Detector(nothing, rescue)
    faces = find_faces(photo, detector, POLICY)
    assert [len(shown) for shown in detector.seen] == [1, 4]
    # The same point marked in the upright square and turned by NumPy says where it must lie.
    factor = 320 * POLICY.rescue_fill / 300
    small = (round(300 * factor), round(200 * factor))
    left, top = (320 - small[0]) // 2, (320 - small[1]) // 2
    for point, expected in zip(faces.landmarks[0], points, strict=True):
        x, y = point[0] * factor + left, point[1] * factor + top
        marks = np.zeros((320, 320))
        marks[int(np.floor(y)), int(np.floor(x))] = 1
        row, column = np.argwhere(np.rot90(marks, turns))[0]
        assert abs(column + 0.5 - expected[0]) <= 1.01
        assert abs(row + 0.5 - expected[1]) <= 1.01


def test_a_photo_without_a_face_gives_none() -> None:
    detector = Detector(empty_maps(1, 320, 320), empty_maps(4, 320, 320))
    assert len(find_faces(np.zeros((100, 100, 3), np.uint8), detector)) == 0


def test_columns_must_agree_and_index_together() -> None:
    faces = Faces(np.eye(4, dtype=np.float32), np.arange(4, dtype=np.float32), np.zeros((4, 5, 2), np.float32))
    assert faces[faces.scores > 1].scores.tolist() == [2, 3]
    assert len(faces[[0, 2]]) == 2
    assert len(Faces.join([faces, Faces.empty(), faces[:1]])) == 5
    assert len(Faces.join([])) == 0
    with pytest.raises(ValueError, match="faces need boxes"):
        Faces(np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros((3, 5, 2), np.float32))


@pytest.mark.parametrize("side", [140, 300, 512, 1500])
def test_the_real_network_finds_a_real_face_at_any_size(network: OnnxInfer, side: int) -> None:
    astronaut = pictures.astronaut()  # type: ignore[no-untyped-call]
    photo = cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA)
    faces = find_faces(photo, detect_with(network), POLICY)  # type: ignore[arg-type]
    assert len(faces) == 1
    x0, y0, x1, y1 = faces.boxes[0] * 512 / side
    assert 160 < x0 < 200 < 240 < x1 < 290
    assert 40 < y0 < 90 < 150 < y1 < 220
    eyes, nose, mouth = faces.landmarks[0, :2], faces.landmarks[0, 2], faces.landmarks[0, 3:]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    assert eyes[0, 0] < nose[0] < eyes[1, 0]


@pytest.mark.parametrize("turns", range(1, 4))
def test_the_real_network_finds_a_turned_face(network: OnnxInfer, turns: int) -> None:
    photo = np.ascontiguousarray(np.rot90(pictures.astronaut(), turns))  # type: ignore[no-untyped-call]
    faces = find_faces(photo, detect_with(network), POLICY)  # type: ignore[arg-type]
    assert len(faces) >= 1
    eye, mouth = faces.landmarks[0, :2].mean(axis=0), faces.landmarks[0, 3:].mean(axis=0)
    down = (mouth - eye) / np.linalg.norm(mouth - eye)
    expected = {1: (1, 0), 2: (0, -1), 3: (-1, 0)}[turns]
    assert down @ np.array(expected) > 0.8


def test_no_face_is_seen_in_things(network: OnnxInfer) -> None:
    coffee = pictures.coffee()  # type: ignore[no-untyped-call]
    assert len(find_faces(coffee, detect_with(network), POLICY)) == 0  # type: ignore[arg-type]


def test_faces_are_found_in_every_group_of_the_data(network: OnnxInfer) -> None:
    import os

    folder = Path(os.environ.get("DEEPSCAN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "train" / "images"
    if not folder.is_dir():
        pytest.skip(f"the training data is not at {folder} (DEEPSCAN_DATA)")
    missed = []
    for group in sorted(folder.glob("*/*")):
        for file in sorted(group.iterdir())[:3]:
            photo = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
            if not len(find_faces(photo, detect_with(network), POLICY)):  # type: ignore[arg-type, arg-type]
                missed.append(f"{group.name}/{file.name}")
    assert missed == []
