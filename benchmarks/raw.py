"""The floor: the same networks on the same photos in raw ONNX Runtime, in one process, one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import cv2

from cards import ModelRepository
from cards.card import FaceDetection
from pipelines.image.align import align_faces
from pipelines.image.decode import decode_image
from pipelines.image.faces import detector_picture, find_faces
from pipelines.image.probe import probe_image
from pipelines.infer import Array
from pipelines.onnx_infer import OnnxNetwork, load_network


class RawNetworks:
    """The networks of ``image_faces`` with their inputs for each photo made beforehand.

    Args:
        repository: where the networks are.
        photos: encoded photos with a face each.
    """

    def __init__(self, repository: ModelRepository, photos: Sequence[bytes]) -> None:
        cv2.setNumThreads(1)
        names = repository.card("image_faces").calls
        self._networks: dict[str, OnnxNetwork] = {name: load_network(repository, name) for name in names}
        self._outputs = {
            name: [t.name for t in repository.card(name).outputs if t.name not in ("EMBEDDING", "CAM")]
            for name in names
        }
        self._inputs: list[dict[str, Array]] = []
        policy = repository.card("face_detector").face_detection or FaceDetection()
        for photo in photos:
            pixels = decode_image(probe_image(photo).picture)
            detector = self._networks["face_detector"]
            found = find_faces(pixels, lambda batch, d=detector: self._run("face_detector", batch), policy)  # type: ignore[misc]
            inputs: dict[str, Array] = {"face_detector": detector_picture(pixels, policy)[0][None]}
            for name in names:
                preprocessing = repository.card(name).preprocessing
                if preprocessing is not None:
                    inputs[name] = align_faces(pixels, found.landmarks, preprocessing.size, preprocessing.margin)
            self._inputs.append(inputs)

    def _run(self, name: str, batch: Array) -> dict[str, Array]:
        return self._networks[name].run({"IMAGES": batch}, self._outputs[name])

    def measure(self, rounds: int) -> dict[str, float]:
        """Median milliseconds of each network over all photos and rounds, and of their sum."""
        times: dict[str, list[float]] = {name: [] for name in self._networks}
        times["sum"] = []
        for _ in range(rounds):
            for inputs in self._inputs:
                total = 0.0
                for name, batch in inputs.items():
                    start = time.perf_counter()
                    self._run(name, batch)
                    spent = (time.perf_counter() - start) * 1e3
                    times[name].append(spent)
                    total += spent
                times["sum"].append(total)
        return {name: statistics.median(values) for name, values in times.items()}
