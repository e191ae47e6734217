"""The FP16 and INT8 graphs that engines are built from, and how far they lie from FP32 on real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from cards.card import FaceDetection, ModelCard, Precision
from cards.repository import ModelRepository
from deepscan_client.errors import InputError, InstallationError
from export.engine_manifest import Comparison, Difference
from export.graph import expanded
from export.half import cast_first, rounded_like_half, to_half
from export.quantize import quantize, session
from pipelines.image.align import align_faces
from pipelines.image.decode import decode_image
from pipelines.image.faces import detector_picture, find_faces
from pipelines.image.probe import probe_image
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer

Pixels = NDArray[np.uint8]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".avif", ".heic", ".tif", ".tiff"}
SIDE = 320
"""Side of the detector's pictures for ranges and comparison; the rest is black, as in serving."""


@dataclass(frozen=True)
class Graph:
    """A graph of one precision."""

    content: bytes
    """What TensorRT is given."""
    checked: bytes
    """What ONNX Runtime runs in its place for the comparison."""
    calibration: str
    how: str


def read_photos(folder: Path, limit: int = 64) -> list[Pixels]:
    """The photos of a folder and of those below it, in the order of their names.

    Raises:
        InstallationError: there is none.
    """
    photos: list[Pixels] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())[:limit]:
        try:
            photos.append(decode_image(probe_image(path.read_bytes()).picture))
        except InputError:
            continue
    if not photos:
        raise InstallationError(f"no photo in {folder}", remedy="name a folder of photos with --calibration")
    return photos


def pictures_for(repository: ModelRepository, model: str, photos: Sequence[Pixels]) -> list[Pixels]:
    """Batches as the network sees them in serving, UINT8 [n, h, w, 3], from whole photos.

    Raises:
        InstallationError: the network takes face crops and no photo shows a face.
    """
    card = repository.card(model)
    if card.face_detection is not None:
        # All pictures of one size: the quantiser stacks what it has seen.
        return [_square(detector_picture(photo, card.face_detection)[0])[None] for photo in photos]
    if card.preprocessing is None:
        raise InstallationError(f"the card of {model} says neither face_detection nor preprocessing")
    infer = OnnxInfer(repository)
    names = tuple(tensor.name for tensor in repository.card("face_detector").outputs)
    policy = repository.card("face_detector").face_detection or FaceDetection()
    crops: list[Pixels] = []
    for photo in photos:
        found = find_faces(photo, lambda batch: infer.run([Call("face_detector", {"IMAGES": batch}, names)])[0], policy)
        crops.extend(align_faces(photo, found.landmarks, card.preprocessing.size, card.preprocessing.margin))
    infer.close()
    if not crops:
        raise InstallationError("no face in the calibration photos", remedy="name other photos with --calibration")
    return [np.stack(crops[start : start + 8]) for start in range(0, len(crops), 8)]


def _square(picture: Pixels) -> Pixels:
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    height, width = min(SIDE, picture.shape[0]), min(SIDE, picture.shape[1])
    square[:height, :width] = picture[:height, :width]
    return square


def make_graph(
    repository: ModelRepository, model: str, version: int, precision: Precision, pictures: Sequence[Pixels], work: Path
) -> Graph:
    """The graph of one precision.

    INT8 keeps in FP32 what is not quantised. Where the version folder has an INT8 file (its export measured it on
    held-out photos), that one is taken; else ranges come from ``pictures``.

    Args:
        pictures: batches for the ranges; work: folder for passing files.
    """
    folder = repository.folder(model, version)
    full = cast_first(expanded(onnx.load(folder / "model.onnx")))
    if precision == "fp32":
        return Graph(_bytes(full), _bytes(full), "", "the graph itself")
    if precision == "fp16":
        how = "each intermediate value rounded to FP16's 11 bits, sums in FP32"
        return Graph(_bytes(to_half(full)), _bytes(rounded_like_half(full)), "", how)
    shipped = folder / "model.int8.onnx"
    if shipped.is_file():
        content = _bytes(cast_first(onnx.load(shipped)))
        return Graph(content, content, f"{shipped.name} of the version, calibrated at its export", "the graph itself")
    source, target = work / f"{model}.cast_first.onnx", work / f"{model}.int8.onnx"
    onnx.save(full, source)
    quantize(source, target, pictures, excluded=last_convolutions(full))
    count = sum(map(len, pictures))
    return Graph(target.read_bytes(), target.read_bytes(), f"{count} pictures of --calibration", "the graph itself")


def last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions from which an output is reached without another one: INT8 leaves them in float."""
    producers = {name: node for node in model.graph.node for name in node.output}
    waiting = [value.name for value in model.graph.output]
    found: set[str] = set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None:
            continue
        if node.op_type in ("Conv", "ConvTranspose"):
            found.add(node.name)
        else:
            waiting.extend(node.input)
    return sorted(found)


def _bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def compare(card: ModelCard, full: Path, graph: Graph, pictures: Sequence[Pixels], work: Path) -> Comparison:
    """Run both by ONNX Runtime on one thread and compare every output.

    Raises:
        InstallationError: an output is not finite, or RECORD differs.
    """
    other = work / f"{card.name}.compared.onnx"
    other.write_bytes(graph.checked)
    first, second = session(full), session(other)
    names = [tensor.name for tensor in card.outputs]
    answers: list[tuple[Arrays, Arrays]] = [
        (
            dict(zip(names, first.run(names, {"IMAGES": batch}))),
            dict(zip(names, second.run(names, {"IMAGES": batch}))),
        )
        for batch in pictures
    ]
    outputs: dict[str, Difference] = {}
    for name in names:
        before = np.concatenate([a[name].ravel() for a, _ in answers]).astype(np.float64)
        after = np.concatenate([b[name].ravel() for _, b in answers]).astype(np.float64)
        gap = np.abs(before - after)
        if not np.isfinite(after).all() or (name == "RECORD" and gap.any()):
            raise InstallationError(f"{card.name}: output {name} is lost in this precision")
        outputs[name] = Difference(
            max_abs=float(gap.max()), mean_abs=float(gap.mean()), largest_value=float(np.abs(before).max())
        )
    flips = sum(_flips(card, a, b) for a, b in answers)
    return Comparison(pictures=sum(map(len, pictures)), outputs=outputs, flips=flips, how=graph.how)


def _flips(card: ModelCard, before: Arrays, after: Arrays) -> int:
    if "LOGIT" in before:
        return int(((before["LOGIT"] >= 0) != (after["LOGIT"] >= 0)).sum())
    if "HEATMAP" in before:
        limit = (card.face_detection or FaceDetection()).threshold
        peaks = [
            answer["HEATMAP"].reshape(len(answer["HEATMAP"]), -1).max(axis=1) > limit for answer in (before, after)
        ]
        return int((peaks[0] != peaks[1]).sum())
    return 0
