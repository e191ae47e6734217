"""A photo's pixels to evidence, over any :class:`~pipelines.infer.Infer`.

Zero, one and fifty faces are the same code: all crops of a photo go to each network in one call, cut at
the network's largest batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from cards.card import FaceDetection
from cards.repository import ModelRepository
from deepscan_client.verdict import Verdict
from pipelines.image.align import align_each
from pipelines.image.decode import decode_image
from pipelines.image.evidence import FaceEvidence, PhotoEvidence
from pipelines.image.faces import Faces, find_faces
from pipelines.image.heat import finest, geometry, unit_square_to_picture
from pipelines.image.probe import ProbeInfo, probe_image
from pipelines.image.verdict import PhotoJudge
from pipelines.infer import Array, Arrays, Batch, Infer, digest_hex, run_batches, run_in_batches
from pipelines.novelty import NoveltyBook
from pipelines.options import Options

DETECTOR_OUTPUTS = ("HEATMAP", "SCALE", "OFFSET", "LANDMARKS", "RECORD")


class PhotoAnalyzer:
    """Finds faces and asks the networks about each.

    Args:
        repository: cards say how faces are detected and cropped.
        infer: runs the networks.
        networks: face crop networks to ask; those that the card of ``image_faces`` names by default.
    """

    def __init__(self, repository: ModelRepository, infer: Infer, networks: tuple[str, ...] | None = None) -> None:
        self._infer = infer
        self._detector = repository.card("face_detector")
        calls = repository.card("image_faces").calls if networks is None else networks
        self._networks = [repository.card(name) for name in calls if name != "face_detector"]
        self._policy = self._detector.face_detection or FaceDetection()
        self._novelty = NoveltyBook(repository, self._networks[0].name) if self._networks else None
        self._draws = finest(self._networks)

    def evidence(self, pixels: NDArray[np.uint8], info: ProbeInfo) -> PhotoEvidence:
        """Evidence of one photo.

        Args:
            pixels: UINT8 [height, width, 3] RGB.
            info: of the probe; its options say whether heat maps are wanted.
        """
        start = time.monotonic_ns()
        weights: dict[str, str] = {}

        def detect(pictures: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
            answer = run_in_batches(
                self._infer,
                "face_detector",
                "IMAGES",
                pictures,
                DETECTOR_OUTPUTS,
                self._detector.max_batch_size,
            )
            weights["face_detector"] = digest_hex(answer["RECORD"][0])
            return answer

        found = find_faces(pixels, detect, self._policy)
        detected = time.monotonic_ns()
        crops = self._crops(pixels, found)
        aligned = time.monotonic_ns()
        answers = self._ask(crops, info.options.heatmaps) if len(found) else {}
        for name, answer in answers.items():
            weights[name] = digest_hex(answer["RECORD"][0])
        done = time.monotonic_ns()
        return PhotoEvidence(
            faces=self._faces(found, crops, answers, info.options.heatmaps),
            cut=len(found) >= self._policy.max_faces,
            weights=weights,
            decode_ms=max(0.0, (start - info.started_ns) / 1e6 - info.probe_ms),
            detect_ms=(detected - start) / 1e6,
            align_ms=(aligned - detected) / 1e6,
            networks_ms=(done - aligned) / 1e6,
        )

    def _crops(self, pixels: NDArray[np.uint8], found: Faces) -> dict[str, NDArray[np.uint8]]:
        """Aligned crops for each network; networks with one preprocessing share them."""
        made = align_each(pixels, found.landmarks, map(geometry, self._networks))
        return {card.name: made[geometry(card)] for card in self._networks}

    def _ask(self, crops: dict[str, NDArray[np.uint8]], heatmaps: bool) -> dict[str, Arrays]:
        """Every network on all crops: independent calls go in together."""
        batches = []
        for place, card in enumerate(self._networks):
            outputs: tuple[str, ...] = ("LOGIT", "RECORD")
            if heatmaps and card is self._draws:
                outputs = (*outputs, "CAM")
            if place == 0 and self._novelty is not None and self._novelty.known:
                outputs = (*outputs, "EMBEDDING")
            batches.append(Batch(card.name, {"IMAGES": crops[card.name]}, outputs, card.max_batch_size))
        return run_batches(self._infer, batches)

    def _faces(
        self, found: Faces, crops: dict[str, NDArray[np.uint8]], answers: dict[str, Arrays], heatmaps: bool
    ) -> tuple[FaceEvidence, ...]:
        if not len(found):
            return ()
        first, draws = self._networks[0], self._draws
        assert draws is not None  # there are networks, or there would be no answers
        maps: Array | None = answers[draws.name]["CAM"] if heatmaps else None
        to_photo = unit_square_to_picture(found.landmarks, *geometry(draws)) if heatmaps else None
        far = None if self._novelty is None else self._novelty.ratios(answers[first.name])
        return tuple(
            FaceEvidence(
                box=tuple(found.boxes[i].tolist()),
                score=float(found.scores[i]),
                landmarks=tuple((float(x), float(y)) for x, y in found.landmarks[i]),
                sharpness=_sharpness(crops[draws.name][i]),  # min_sharpness was set on this geometry
                logits={name: float(answer["LOGIT"][i, 0]) for name, answer in answers.items()},
                novelty=None if far is None else float(far[i]),
                heatmap=None if maps is None else maps[i].tolist(),
                to_photo=None if to_photo is None else to_photo[i].tolist(),
            )
            for i in range(len(found))
        )


def _sharpness(crop: NDArray[np.uint8]) -> float:
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def analyze_image(data: bytes, analyzer: PhotoAnalyzer, judge: PhotoJudge, options: Options | None = None) -> Verdict:
    """Encoded bytes to a verdict in one process: the same stages as the ensemble ``deepfake_image``.

    Raises:
        deepscan_client.errors.InputError: the bytes cannot be judged.
    """
    probed = probe_image(data, options)
    pixels = decode_image(probed.picture)
    return judge.verdict(probed.info, analyzer.evidence(pixels, probed.info))
