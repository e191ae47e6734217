"""Find faces in a photo: the detector's picture, the decoding of its maps and the policy around them.

Everything is written over NumPy arrays and one callable, so the same code runs in process, inside Triton and in
training. The detector is CenterFace (Xu et al., 2019): four maps at a quarter of the picture's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cards.card import FaceDetection

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
#: Runs the detector on UINT8 [n, h, w, 3] and returns its outputs by name (HEATMAP, SCALE, OFFSET, LANDMARKS).
Detect = Callable[[Pixels], Mapping[str, npt.NDArray[np.float32]]]

STRIDE = 4
MULTIPLE = 32


@dataclass(frozen=True)
class Faces:
    """Faces of one photo as columns, in one order.

    Attributes:
        boxes: float32 [n, 4], x0 y0 x1 y1 in photo pixels, inside the photo.
        scores: float32 [n], the detector's confidence in 0..1.
        landmarks: float32 [n, 5, 2], x y in photo pixels: left eye, right eye, nose tip, left and right mouth
            corner, left and right as seen in the picture. Points may lie outside the photo.
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray

    def __post_init__(self) -> None:
        count = self.scores.shape[0] if self.scores.ndim == 1 else -1
        if self.boxes.shape != (count, 4) or self.landmarks.shape != (count, 5, 2):
            raise ValueError(
                f"faces need boxes [n,4], scores [n], landmarks [n,5,2]; got {self.boxes.shape}, "
                f"{self.scores.shape}, {self.landmarks.shape}"
            )

    def __len__(self) -> int:
        return int(self.scores.shape[0])

    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.generic]) -> Faces:
        """Choose faces by a slice, a mask or a list of positions; the result is again a ``Faces``."""
        if isinstance(index, (int, np.integer)):
            raise TypeError("index faces by a slice, a mask or a list of positions")
        chosen = np.arange(len(self))[index]
        return Faces(self.boxes[chosen], self.scores[chosen], self.landmarks[chosen])

    @property
    def sizes(self) -> FloatArray:
        """The longer side of each box in photo pixels, float32 [n]."""
        spans: FloatArray = (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1, initial=0.0)
        return spans

    @staticmethod
    def empty() -> Faces:
        """No face at all."""
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    @staticmethod
    def join(parts: Sequence[Faces]) -> Faces:
        """All faces of several results, in their order."""
        if not parts:
            return Faces.empty()
        return Faces(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.landmarks for p in parts]),
        )


def decode_maps(
    heatmap: FloatArray, scale: FloatArray, offset: FloatArray, landmarks: FloatArray, threshold: float, nms_iou: float
) -> Faces:
    """Turn the detector's maps of one picture into faces, in pixels of that picture.

    Args:
        heatmap: [1, h, w], scores; scale: [2, h, w], log of height and width in strides; offset: [2, h, w], y and x
            inside the cell; landmarks: [10, h, w], y and x of five points as shares of the box from its corner.
        threshold: smallest score; nms_iou: overlap above which the weaker of two boxes is dropped.

    Returns:
        Faces by falling score. Boxes are not cut at the picture's border.
    """
    rows, columns = np.nonzero(heatmap[0] > threshold)
    if rows.size == 0:
        return Faces.empty()
    scores = heatmap[0, rows, columns].astype(np.float32)
    # The exponent is bounded so that a wild cell cannot overflow (e^7 strides are over 4,000 pixels).
    sides = np.exp(np.clip(scale[:, rows, columns], -7.0, 7.0)) * STRIDE  # height, width
    centre_y = (rows + offset[0, rows, columns] + 0.5) * STRIDE
    centre_x = (columns + offset[1, rows, columns] + 0.5) * STRIDE
    left, top = centre_x - sides[1] / 2, centre_y - sides[0] / 2
    boxes = np.stack([left, top, left + sides[1], top + sides[0]], axis=1).astype(np.float32)
    relative = landmarks[:, rows, columns].reshape(5, 2, -1)  # point, (y, x), face
    points = np.stack([relative[:, 1] * sides[1] + left, relative[:, 0] * sides[0] + top], axis=2)
    as_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    keep = cv2.dnn.NMSBoxes(as_xywh.tolist(), scores.tolist(), threshold, nms_iou)
    order = np.asarray(keep, dtype=np.int64).reshape(-1)
    return Faces(boxes, scores, points.transpose(1, 0, 2).astype(np.float32))[order]


def shrunk(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The photo resized to (width, height). Far reductions start with exact halvings: they average areas at the speed
    of memory, where one reduction by an odd ratio takes ten times as long."""
    while pixels.shape[1] >= 2 * size[0] and pixels.shape[0] >= 2 * size[1] and min(pixels.shape[:2]) >= 4:
        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
        half = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(half, dtype=np.uint8)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def detector_picture(pixels: Pixels, policy: FaceDetection, zoom: float = 1.0) -> tuple[Pixels, float]:
    """The photo as the detector sees it: resized, padded with black at the right and the bottom to multiples of 32.

    Args:
        pixels: UINT8 [height, width, 3].
        policy: the sizes.
        zoom: the picture is larger by this factor, up to the largest side.

    Returns:
        UINT8 [h, w, 3] and the factor from photo pixels to pixels of the picture.
    """
    height, width = pixels.shape[:2]
    long_side = max(height, width)
    side = float(np.clip(long_side * policy.scale, policy.min_side, policy.max_side))
    factor = min(side * zoom, float(policy.max_side)) / long_side
    resized = shrunk(pixels, (max(1, round(width * factor)), max(1, round(height * factor))))
    new_height, new_width = resized.shape[:2]
    pad_width, pad_height = -new_width % MULTIPLE, -new_height % MULTIPLE
    padded = cv2.copyMakeBorder(resized, 0, pad_height, 0, pad_width, cv2.BORDER_CONSTANT)
    return np.asarray(padded, dtype=np.uint8), factor


def faces_of(outputs: Mapping[str, FloatArray], item: int, threshold: float, policy: FaceDetection) -> Faces:
    """Faces of one picture of a batch that the detector answered, in pixels of that picture."""
    heatmap, scale, offset, landmarks = (outputs[name][item] for name in ("HEATMAP", "SCALE", "OFFSET", "LANDMARKS"))
    return decode_maps(heatmap, scale, offset, landmarks, threshold, policy.nms_iou)


def moved_faces(faces: Faces, matrix: npt.NDArray[np.float64]) -> Faces:
    """Faces moved by an affine 2x3 matrix; boxes become the bounding boxes of their moved corners."""
    corners = faces.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)
    points = (faces.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return Faces(boxes, faces.scores, points)


def bordered(pixels: Pixels, policy: FaceDetection) -> tuple[Pixels, npt.NDArray[np.float64]]:
    """A photo shrunk into the middle of a black square, because the detector misses faces that fill the picture.

    Returns:
        UINT8 [rescue_side, rescue_side, 3], and the matrix [2, 3] from its pixels back to those of the photo.
    """
    height, width = pixels.shape[:2]
    side = policy.rescue_side
    factor = side * policy.rescue_fill / max(height, width)
    small = shrunk(pixels, (max(1, round(width * factor)), max(1, round(height * factor))))
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    below, right = side - small.shape[0] - top, side - small.shape[1] - left
    square = cv2.copyMakeBorder(small, top, below, left, right, cv2.BORDER_CONSTANT)
    back = np.array([[1 / factor, 0, -left / factor], [0, 1 / factor, -top / factor]])
    return np.asarray(square, dtype=np.uint8), back


def turned_back(turns: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """The matrix [2, 3] from a picture of this size, which ``np.rot90`` turned, back to the upright one."""
    matrices = [
        [[1, 0, 0], [0, 1, 0]],
        [[0, -1, height], [1, 0, 0]],
        [[-1, 0, width], [0, -1, height]],
        [[0, 1, 0], [-1, 0, width]],
    ]
    return np.array(matrices[turns], dtype=np.float64)


def inside_faces(faces: Faces, pixels: Pixels) -> Faces:
    """Boxes cut at the border of their photo, those that are left without a pixel dropped, the largest faces first."""
    height, width = pixels.shape[:2]
    boxes = np.clip(faces.boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    faces = Faces(boxes, faces.scores, faces.landmarks)
    faces = faces[np.all(faces.boxes[:, 2:] - faces.boxes[:, :2] >= 1.0, axis=1)]
    return faces[np.argsort(-faces.sizes, kind="stable")]


def _rescue(pixels: Pixels, detect: Detect, policy: FaceDetection) -> Faces:
    """Second look at a photo in which nothing was found: with a border around it, and turned by quarters.

    The four turns find photos whose orientation is not recorded. All four go to the detector as one batch.
    """
    upright, to_photo = bordered(pixels, policy)
    outputs = detect(np.stack([np.rot90(upright, turns) for turns in range(4)]))
    found = [faces_of(outputs, turns, policy.rescue_threshold, policy) for turns in range(4)]
    best = int(np.argmax([faces.scores.max(initial=0.0) for faces in found]))
    to_upright = turned_back(best, policy.rescue_side, policy.rescue_side)
    return moved_faces(moved_faces(found[best], to_upright), to_photo)


def _look(pixels: Pixels, detect: Detect, policy: FaceDetection, zoom: float) -> Faces:
    """The faces of one upright look, in photo pixels."""
    picture, factor = detector_picture(pixels, policy, zoom)
    faces = faces_of(detect(picture[None]), 0, policy.threshold, policy)
    return moved_faces(faces, np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])) if len(faces) else faces


def find_faces(pixels: Pixels, detect: Detect, policy: FaceDetection | None = None) -> Faces:
    """Find the faces of a photo.

    Args:
        pixels: UINT8 [height, width, 3] RGB.
        detect: runs the detector on a batch of pictures.
        policy: sizes and thresholds; the defaults where it is left out.

    Returns:
        At most ``max_faces`` faces, the largest first, boxes cut at the photo's border.
    """
    policy = policy or FaceDetection()
    height, width = pixels.shape[:2]
    faces = _look(pixels, detect, policy, 1.0)
    if not len(faces):
        faces = _rescue(pixels, detect, policy)
    elif faces.sizes.min() < policy.closer_below * max(height, width):
        closer = _look(pixels, detect, policy, policy.closer_zoom)
        faces = closer if len(closer) >= len(faces) else faces
    return inside_faces(faces, pixels)[: policy.max_faces]
