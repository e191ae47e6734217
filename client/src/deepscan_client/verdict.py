"""The one result type of DeepScan, for every medium.

All classes are frozen dataclasses of plain values, so that a verdict compares, prints and serialises.
``docs/verdict.schema.json`` is generated from them.
"""

from __future__ import annotations

import base64
import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar

from deepscan_client.codes import Label, Medium, Reason

SCHEMA_VERSION = "1.4"

_T = TypeVar("_T")
_REASONS = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True)
class InputInfo:
    """What was judged. ``sha256`` is of the bytes that the caller sent."""

    sha256: str
    bytes: int
    format: str
    width: int | None = None
    """Pixels, after orientation was applied."""
    height: int | None = None
    duration_s: float | None = None
    """Seconds of a recording as they were decoded; of a video as its frames' time stamps say."""
    codec: str | None = None
    """Of a recording or of a video's pictures, for example ``mp3``, ``pcm_s16le`` or ``h264``."""
    sample_rate: int | None = None
    """Of a recording as it was sent, in hertz."""
    channels: int | None = None
    fps: float | None = None
    """Frames a second of a video, on average."""
    frames: int | None = None
    """Frames of a video that are there."""


@dataclass(frozen=True)
class DecodeInfo:
    """Which decoder ran and what it had to change: a fallback is never silent."""

    decoder: str
    """Who turned the bytes into pixels or samples, for example ``opencv``, ``pillow+opencv`` or ``pyav``."""
    orientation: int = 1
    """EXIF orientation that was applied, 1 to 8."""
    notes: tuple[str, ...] = ()
    """What was changed on the way: colour space, depth, transparency; channels mixed, a damaged end left out."""


@dataclass(frozen=True)
class Interval:
    """The 90 % range of the calibrated probability over the record's bootstrap refits."""

    low: float
    high: float


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold that the label was taken at."""

    threshold: float
    """``fake`` where ``fake_probability >= threshold``."""
    target_fpr: float | None = None
    """The share of real inputs that it flags on the data it was fitted on; None for a caller's own."""
    source: str = "record"
    """``record``, ``request`` or ``default`` (no record says one)."""


@dataclass(frozen=True)
class Evidence:
    """One detector's or analyzer's contribution."""

    name: str
    score: float
    unit: str = "logit"
    weight: float | None = None
    """Its weight in the fused log-odds; None for evidence that carries no weight."""
    note: str = ""
    confidence: float | None = None
    """How well a measurement stands, 0 to 1; None where it is a network's score."""


@dataclass(frozen=True)
class HeatMap:
    """A class-activation map over the aligned face crop, row by row from the top.

    Values are the log-odds that each cell adds (positive: towards fake). ``to_photo`` is the 2 x 3
    affine matrix from crop coordinates (0 to 1 in x and y) to pixels of the photo.
    """

    values: tuple[tuple[float, ...], ...]
    to_photo: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Face:
    """One face of a photo."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the decoded photo."""
    score: float
    """Confidence of the face detector, 0 to 1."""
    landmarks: tuple[tuple[float, float], ...]
    """Left eye, right eye, nose, left and right mouth corner as seen, in pixels."""
    fake_probability: float | None
    scores: dict[str, float] = field(default_factory=dict)
    """Raw logit of each network by name."""
    sharpness: float | None = None
    """Variance of the Laplacian of the aligned crop's luminance (0 to 255 scale)."""
    heatmap: HeatMap | None = None


@dataclass(frozen=True)
class TrackBox:
    """Where the face of a track is in one frame."""

    time: float
    """Seconds from the first frame."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the upright frame."""


@dataclass(frozen=True)
class TrackHeatMap:
    """The heat map of a track's face in one frame, as bytes: a video has up to some thousands of them."""

    time: float
    """Seconds from the first frame."""
    columns: int
    """Cells in a row."""
    cells: str
    """Base64 of one byte for each cell, row by row from the top: (byte - 128) / 16 are the log-odds of the cell."""
    to_frame: tuple[tuple[float, float, float], tuple[float, float, float]]
    """As ``to_photo`` of a :class:`HeatMap`, to pixels of the upright frame."""

    def unpacked(self) -> HeatMap:
        """The map as a photo's face has it.

        Raises:
            ValueError: the cells are no base64, or no whole rows.
        """
        cells = base64.b64decode(self.cells, validate=True)
        if self.columns < 1 or not cells or len(cells) % self.columns:
            raise ValueError(f"{len(cells)} cells are no rows of {self.columns}")
        rows = (cells[start : start + self.columns] for start in range(0, len(cells), self.columns))
        return HeatMap(tuple(tuple((cell - 128) / 16 for cell in row) for row in rows), self.to_frame)


@dataclass(frozen=True)
class Track:
    """One face of a video, followed through its frames."""

    id: int
    """Counts from 0 in the order of appearance."""
    start_s: float
    end_s: float
    """Seconds of the first and of the last frame that was judged; the face may have been away between."""
    frames: int
    """Frames that were judged."""
    fake_probability: float | None
    """Of this face alone."""
    score: float
    """Mean confidence of the face detector, 0 to 1."""
    quality: float
    """How well the face can be judged, 0 to 1: size, sharpness and pose of its better frames."""
    boxes: tuple[TrackBox, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    """Raw logit of each network by name, pooled over the frames."""
    face_px: float = 0.0
    """Median of the longer side of its boxes, in pixels."""
    reasons: tuple[Reason, ...] = ()
    """Why this face does not count towards the verdict; empty where it does."""
    heatmaps: tuple[TrackHeatMap, ...] = ()
    """Where heat maps were asked for: one for each of ``boxes``, in order."""


@dataclass(frozen=True)
class ModelInfo:
    """A model version that took part."""

    name: str
    version: str
    record: str
    """First 12 hex digits of the sha256 of its ``record.json``."""
    precision: str = "fp32"
    """``none`` for a model that is rules and fusion, not a network."""


@dataclass(frozen=True)
class Verdict:
    """What DeepScan says of one input.

    ``fake_probability`` is calibrated (0 to 1) and None only where nothing could be scored.
    """

    medium: Medium
    input: InputInfo
    label: Label
    fake_probability: float | None
    interval: Interval | None
    reasons: tuple[Reason, ...]
    operating_point: OperatingPoint
    evidence: tuple[Evidence, ...]
    faces: tuple[Face, ...]
    decode: DecodeInfo
    models: tuple[ModelInfo, ...]
    timing_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage, and ``total``."""
    request_id: str = ""
    timeline: tuple[tuple[float, float, float], ...] = ()
    """Start, end (seconds) and probability of stretches of a recording or video; empty for a photo. Stretches without
    speech, or without a face, are left out."""
    suspicious: tuple[tuple[float, float], ...] = ()
    """Start and end (seconds) of the stretches of a recording that sound synthetic by themselves."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the file says of its own origin (camera, software); never trusted, only reported."""
    cached: bool = False
    """True where the gateway answered from its verdict cache."""
    tracks: tuple[Track, ...] = ()
    """Faces of a video, the one that decides first; empty for other media."""
    part_points: dict[str, OperatingPoint] = field(default_factory=dict)
    """Where two parts were joined, the operating point of each: ``pictures``, at which a face is a fake by itself, and
    ``sound``. ``operating_point`` is that of the part that decides."""
    schema_version: str = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON types."""
        return _plain(asdict(self))  # type: ignore[no-any-return]

    def to_json(self) -> str:
        """The verdict as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    def canonical_json(self) -> str:
        """JSON without times, request id and cache mark, rounded to 4 decimals, keys in order.

        The same input with the same models gives the same bytes.
        """
        data = self.to_dict()
        for key in ("timing_ms", "request_id", "cached"):
            del data[key]
        return json.dumps(_rounded(data), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """Rebuild a verdict. Unknown fields and reasons are left out, so that an older client reads a newer server.

        Raises:
            ValueError: a field is missing or has another type than it should.
        """
        try:
            return _build(cls, data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a verdict: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Verdict:
        """Rebuild a verdict from what ``to_json`` wrote."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not a verdict: not a JSON object")
        return cls.from_dict(data)


@dataclass(frozen=True)
class Progress:
    """How far a long recording has been heard, or a video been seen."""

    seconds: float
    """Heard or seen so far."""
    duration_s: float | None = None
    """Of the whole recording as its header says, None where it does not."""
    fake_probability: float | None = None
    """Of what was heard or seen so far; the verdict may say otherwise."""
    tracks: tuple[Track, ...] = ()
    """Faces of a video so far, without their boxes."""
    timeline: tuple[tuple[float, float, float], ...] = ()
    """Of a video so far, as in a verdict."""

    @property
    def share(self) -> float | None:
        """Done so far, 0 to 1; None where the length is not known."""
        return min(1.0, self.seconds / self.duration_s) if self.duration_s else None

    def to_json(self) -> str:
        """One line of JSON, as a server sends it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Progress:
        """Rebuild what ``to_json`` wrote; unknown fields are ignored.

        Raises:
            ValueError: it is something else.
        """
        data = json.loads(text)
        try:
            return _build(cls, data)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not progress: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) + 0.0  # + 0.0 turns -0.0 into 0.0
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _build(cls: type[_T], data: dict[str, Any]) -> _T:
    """A dataclass from plain JSON types, by its type hints."""
    hints = typing.get_type_hints(cls)
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: _convert(hints[key], value) for key, value in data.items() if key in known})


def _convert(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"a list expected, {type(value).__name__} found")
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        if arguments[0] is Reason:
            value = [reason for reason in value if reason in _REASONS or not isinstance(reason, str)]
        if not repeated and len(value) != len(arguments):
            raise TypeError(f"{len(arguments)} values expected, {len(value)} found")
        item_hints = [arguments[0]] * len(value) if repeated else arguments
        return tuple(_convert(h, v) for h, v in zip(item_hints, value))
    if is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"a number expected, {type(value).__name__} found")
        return float(value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"an object expected, {type(value).__name__} found")
        return {str(key): _convert(arguments[1], item) for key, item in value.items()}
    if hint in (str, int, bool) and type(value) is not hint:
        raise TypeError(f"{hint.__name__} expected, {type(value).__name__} found")
    return value
