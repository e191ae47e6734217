"""A photo that was seen again: as a frame of a compressed video, and as a screenshot.

Both are damage, never a trace of a fake: ``training.augment`` does the same to the two photos of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import face_sizes, inverse_transforms, similarities

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VideoCodec:
    """How PyAV names a codec, its options beside the quality, and the qualities that are drawn (best, worst)."""

    encoder: str
    decoder: str
    options: dict[str, str]
    qualities: tuple[int, int]


#: What clips on the web are stored as; quality is H.264's and VP9's crf and MPEG-4's quantiser.
VIDEO_CODECS: dict[str, VideoCodec] = {
    "h264": VideoCodec("libx264", "h264", {"preset": "veryfast", "tune": "zerolatency"}, (18, 38)),
    "mpeg4": VideoCodec("mpeg4", "mpeg4", {}, (2, 16)),
    "vp9": VideoCodec("libvpx-vp9", "vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}, (20, 52)),
}


def draw_video(rng: np.random.Generator) -> tuple[str, int]:
    """A codec (H.264 mostly) and a quality in its range."""
    name = str(rng.choice(tuple(VIDEO_CODECS), p=(0.6, 0.15, 0.25)))
    best, worst = VIDEO_CODECS[name].qualities
    return name, int(rng.integers(best, worst + 1))


def video_frame(pixels: Pixels, codec: str, quality: int) -> Pixels:
    """A photo as the key frame of a video with 4:2:0 colour; uint8 [h, w, 3]. 3 ms at 256 x 256 (MPEG-4: 1, VP9: 6).

    Odd sides get one more row or column for the codec, which is cut off again.

    Args:
        codec: a name in ``VIDEO_CODECS``; quality: crf, or MPEG-4's quantiser; larger is worse.
    """
    # Only here: a machine that trains on a parcel (training.video.material) may lack PyAV.
    import av
    from av.video.codeccontext import VideoCodecContext

    told = VIDEO_CODECS[codec]
    height, width = pixels.shape[:2]
    even: Pixels = np.asarray(
        cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8
    )
    writer = av.CodecContext.create(told.encoder, "w")
    reader = av.CodecContext.create(told.decoder, "r")
    assert isinstance(writer, VideoCodecContext)
    assert isinstance(reader, VideoCodecContext)
    writer.height, writer.width = even.shape[:2]
    writer.pix_fmt, writer.time_base = "yuv420p", Fraction(1, 25)
    writer.thread_count = reader.thread_count = 1
    if codec == "mpeg4":
        writer.qmin = writer.qmax = quality
        writer.options = dict(told.options)
    else:
        writer.bit_rate = 0
        writer.options = {**told.options, "crf": str(quality)}
    frame = av.VideoFrame.from_ndarray(even, format="rgb24")
    frame.pts = 0
    packets = [*writer.encode(frame), *writer.encode(None)]
    shown = [seen for packet in packets for seen in reader.decode(packet)] + reader.decode(None)
    return np.ascontiguousarray(shown[0].to_ndarray(format="rgb24")[:height, :width])


@dataclass(frozen=True)
class Screenshot:
    """A photo on a screen, and the picture that was taken of it.

    Attributes:
        zoom: pixels of the screen for one of the photo; offset: the part of a pixel that the photo begins at.
        interpolation: OpenCV's code of how the viewer scales.
        gains, gamma: of the screen's and the tool's colour management, R, G, B and the exponent of brightness.
        quality: of the JPEG that it is stored as; 0 for PNG, which loses nothing.
        cursor: place of an arrow's tip in shares of the face's square (margin 1), empty for none.
        edge: the side (0 left, 1 top, 2 right, 3 bottom) and distance from the middle of the face, in face sides, of
            a window's border behind which ``edge_grey`` is seen; empty for none.
    """

    zoom: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    interpolation: int = cv2.INTER_LINEAR
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    quality: int = 0
    cursor: tuple[float, ...] = ()
    edge: tuple[float, ...] = ()
    edge_grey: int = 255


def draw_screenshot(rng: np.random.Generator) -> Screenshot:
    """Draw a screenshot: from phones that shrink a photo to screens that double it."""
    red, green, blue = rng.normal(1, 0.015, 3).tolist()
    return Screenshot(
        zoom=float(np.exp(rng.uniform(np.log(0.6), np.log(1.8)))),
        offset=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
        interpolation=int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA), p=(0.5, 0.35, 0.15))),
        gains=(red, green, blue),
        gamma=float(np.exp(rng.normal(0, 0.07))),
        quality=int(rng.integers(60, 96)) if rng.random() < 0.5 else 0,
        cursor=tuple(rng.uniform(-0.2, 1.1, 2).tolist()) if rng.random() < 0.15 else (),
        edge=(float(rng.integers(4)), float(rng.uniform(0.55, 0.8))) if rng.random() < 0.2 else (),
        edge_grey=int(rng.choice((0, 30, 128, 240, 255))),
    )


#: An arrow as systems draw it, its tip at 0, 0 and its length 1.
_ARROW = np.array([[0, 0], [0, 0.85], [0.2, 0.67], [0.34, 1.0], [0.47, 0.94], [0.33, 0.62], [0.6, 0.6]])
_ARROW_LENGTH = 19
"""In pixels of the screen."""


def screenshot(pixels: Pixels, landmarks: npt.NDArray[np.floating[Any]], shot: Screenshot) -> tuple[Pixels, Points]:
    """A screenshot of a photo and its landmarks there; 2 ms at 256 x 256, 5 where it is enlarged and stored as JPEG.

    Args:
        pixels: uint8 [h, w, 3]; landmarks: [5, 2] in photo pixels.

    Returns:
        uint8 [zoom * h, zoom * w, 3] and float64 [5, 2].
    """
    height, width = pixels.shape[:2]
    size = (max(8, round(width * shot.zoom)), max(8, round(height * shot.zoom)))
    factors = np.array([size[0] / width, size[1] / height])
    seen = pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=shot.interpolation)
    points = (np.asarray(landmarks, np.float64) + 0.5) * factors - 0.5
    if shot.offset != (0.0, 0.0):
        move = np.column_stack([np.eye(2), shot.offset])
        seen = cv2.warpAffine(seen, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        points = points + shot.offset
    if shot.gains != (1.0, 1.0, 1.0) or shot.gamma != 1.0:
        levels = np.linspace(0, 1, 256)[:, None] ** shot.gamma * 255 * np.array(shot.gains)
        seen = cv2.LUT(seen, np.clip(levels, 0, 255).round().astype(np.uint8)[None])
    seen = np.array(seen, dtype=np.uint8)
    _draw_edge(seen, points, shot)
    if shot.cursor:
        back = inverse_transforms(similarities(points[None], 1, 1.0))[0]
        tip = back[:, :2] @ (np.array(shot.cursor) - 0.5) + back[:, 2]
        arrow = ((_ARROW * _ARROW_LENGTH + tip) * 16).round().astype(np.int32)
        cv2.fillPoly(seen, [arrow], (255, 255, 255), cv2.LINE_AA, 4)
        cv2.polylines(seen, [arrow], True, (0, 0, 0), 1, cv2.LINE_AA, 4)
    if shot.quality:
        done, coded = cv2.imencode(".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, shot.quality])
        assert done
        seen = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1], dtype=np.uint8)
    return seen, points


def _draw_edge(seen: Pixels, points: Points, shot: Screenshot) -> None:
    """Fill what lies behind the window's border, in place."""
    if not shot.edge:
        return
    side, apart = int(shot.edge[0]), shot.edge[1] * float(face_sizes(points[None])[0])
    middle = points.mean(axis=0)[side % 2]
    along = seen if side % 2 else seen.transpose(1, 0, 2)
    if side < 2:
        along[: max(0, round(float(middle - apart)))] = shot.edge_grey
    else:
        along[max(0, round(float(middle + apart))) :] = shot.edge_grey
