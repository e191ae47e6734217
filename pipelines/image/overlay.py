"""A photo with what was found in it: a box and a heat map on each face, and the label in words."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.codes import Label
from deepscan_client.verdict import Face, HeatMap, Verdict

Pixels = NDArray[np.uint8]

_COLOURS = {Label.REAL: (46, 160, 67), Label.FAKE: (218, 54, 51), Label.INCONCLUSIVE: (160, 160, 160)}
_HOT, _COLD = np.array([255, 40, 0], np.float32), np.array([0, 90, 255], np.float32)
_STRENGTH = 0.55
"""Share of the colour map where it is strongest."""
_SATURATED = 3.0
"""Log-odds of one cell that are drawn at full strength, so that two overlays can be compared."""
_FINE = 96
"""Side in cells that a map is enlarged to before it is laid on the photo."""
_SOFT = 0.12
"""Share of a map's side over which it fades away at each edge."""


def draw_overlay(pixels: Pixels, verdict: Verdict) -> Pixels:
    """Draw a verdict on its photo.

    Red is what speaks for a fake, blue what speaks for a real photo; strength is on one scale for all photos.

    Args:
        pixels: UINT8 [height, width, 3] RGB, the decoded photo (oriented, as the boxes are).
        verdict: of that photo, with heat maps where they were asked for.

    Returns:
        A new UINT8 [height, width, 3].
    """
    drawn = np.ascontiguousarray(pixels).copy()
    for face in verdict.faces:
        if face.heatmap is not None:
            lay_heat(drawn, face.heatmap)
    for face in verdict.faces:
        _frame(drawn, face, _label_of(face, verdict))
    return drawn


def lay_heat(pixels: Pixels, heatmap: HeatMap) -> None:
    """Lay a map over the face that it is of, in place; what is below shows through, and the map has soft edges.

    Args:
        pixels: UINT8 [height, width, 3] RGB.
        heatmap: ``to_photo`` leads to these pixels.
    """
    height, width = pixels.shape[:2]
    matrix = np.asarray(heatmap.to_photo, dtype=np.float64)
    corners = matrix @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    low = np.clip(np.floor(corners.min(axis=1)) - 1, 0, [width, height]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=1)) + 2, 0, [width, height]).astype(int)
    if (low >= high).any():
        return
    part = pixels[low[1] : high[1], low[0] : high[0]]
    matrix[:, 2] -= low
    layer = heat_layer(np.asarray(heatmap.values, dtype=np.float32), matrix, *part.shape[:2])
    strength = np.clip(layer[..., 0] / _SATURATED, -1.0, 1.0)
    share = (np.abs(strength) * layer[..., 1] * _STRENGTH)[..., None]
    below = part.astype(np.float32)
    part[...] = np.rint(below + (np.where(strength[..., None] > 0, _HOT, _COLD) - below) * share)


def heat_layer(
    values: NDArray[np.float32], matrix: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float32]:
    """A map in a picture's pixels.

    Args:
        values: log-odds [rows, columns]; matrix: [2, 3] from the unit square to pixels.

    Returns:
        float32 [height, width, 2]: log-odds, and how much the map covers each pixel (0 to 1).
    """
    fine = cv2.resize(np.nan_to_num(values), (_FINE, _FINE), interpolation=cv2.INTER_CUBIC)
    # The matrix takes the unit square; a fine cell's centre lies at (i + 0.5) / _FINE of it.
    unit = np.array([[1 / _FINE, 0, 0.5 / _FINE], [0, 1 / _FINE, 0.5 / _FINE], [0, 0, 1]], dtype=np.float64)
    from_edge = np.minimum(np.arange(_FINE), np.arange(_FINE)[::-1]) + 0.5
    ramp = np.clip(from_edge / (_SOFT * _FINE), 0.0, 1.0)
    stack = np.dstack([fine, np.minimum(ramp[:, None], ramp[None]).astype(np.float32)])
    return np.asarray(cv2.warpAffine(stack, matrix @ unit, (width, height), flags=cv2.INTER_LINEAR), dtype=np.float32)


def _label_of(face: Face, verdict: Verdict) -> Label:
    """The face's own side of the threshold; grey where the verdict says nothing of any face."""
    if face.fake_probability is None or (len(verdict.faces) == 1 and verdict.label is Label.INCONCLUSIVE):
        return Label.INCONCLUSIVE
    return Label.FAKE if face.fake_probability >= verdict.operating_point.threshold else Label.REAL


def _frame(pixels: Pixels, face: Face, label: Label) -> None:
    height, width = pixels.shape[:2]
    line = max(1, round(min(height, width) / 300))
    x0, y0, x1, y1 = (round(value) for value in face.box)
    colour = _COLOURS[label]
    cv2.rectangle(pixels, (x0, y0), (x1, y1), colour, line)
    words = str(label) if face.fake_probability is None else f"{label} {face.fake_probability:.2f}"
    scale = max(0.35, min(height, width) / 900)
    (text_width, text_height), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    left = int(np.clip(x0, 0, max(0, width - text_width)))
    base = y0 - below if y0 - text_height - below >= 0 else min(height - below, y1 + text_height + below)
    cv2.rectangle(pixels, (left, base - text_height), (left + text_width, base + below), colour, cv2.FILLED)
    cv2.putText(pixels, words, (left, base), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), line, cv2.LINE_AA)
