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
from pipelines.image.decode import decode_image
from pipelines.image.evidence import FaceEvidence, PhotoEvidence
from pipelines.image.faces import Faces, find_faces
from pipelines.image.heat import geometry, unit_square_to_picture
from pipelines.image.panel import Asked, Panel
from pipelines.image.probe import ProbeInfo, probe_image
from pipelines.image.verdict import PhotoJudge
from pipelines.infer import Arrays, Batch, Infer, digest_hex, run_batches, run_in_batches
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
        cards = [repository.card(name) for name in calls if name != "face_detector"]
        self._panel = Panel(cards, repository.card("image_faces").tight if networks is None else None)
        self._policy = self._detector.face_detection or FaceDetection()
        # The first network of a face tells how far it is from what was trained on.
        firsts = {card.name for card in (*self._panel.usual[:1], *self._panel.close[:1])}
        self._novelty = {name: NoveltyBook(repository, name) for name in firsts}

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
        asked = self._panel.crops(pixels, found)
        aligned = time.monotonic_ns()
        answers = self._ask(asked, info.options.heatmaps) if asked else {}
        for name, answer in answers.items():
            weights[name] = digest_hex(answer["RECORD"][0])
        done = time.monotonic_ns()
        return PhotoEvidence(
            faces=self._faces(found, asked, answers, info.options.heatmaps),
            cut=len(found) >= self._policy.max_faces,
            weights=weights,
            decode_ms=max(0.0, (start - info.started_ns) / 1e6 - info.probe_ms),
            detect_ms=(detected - start) / 1e6,
            align_ms=(aligned - detected) / 1e6,
            networks_ms=(done - aligned) / 1e6,
        )

    def _ask(self, asked: dict[str, Asked], heatmaps: bool) -> dict[str, Arrays]:
        """Every network on all its crops: independent calls go in together."""
        batches = []
        for name, each in asked.items():
            outputs: tuple[str, ...] = ("LOGIT", "RECORD")
            if heatmaps and each.card is self._panel.draws:
                outputs = (*outputs, "CAM")
            if name in self._novelty and self._novelty[name].known:
                outputs = (*outputs, "EMBEDDING")
            batches.append(Batch(name, {"IMAGES": each.crops}, outputs, each.card.max_batch_size))
        return run_batches(self._infer, batches)

    def _faces(
        self, found: Faces, asked: dict[str, Asked], answers: dict[str, Arrays], heatmaps: bool
    ) -> tuple[FaceEvidence, ...]:
        if not answers:
            return ()
        draws = self._panel.draws
        assert draws is not None  # there are networks, or there would be no answers
        to_photo = unit_square_to_picture(found.landmarks, *geometry(draws)) if heatmaps else None
        logits: list[dict[str, float]] = [{} for _ in range(len(found))]
        far: list[float | None] = [None] * len(found)
        rows = dict(zip(asked[draws.name].places.tolist(), range(len(found))))
        for name, answer in answers.items():
            ratios = self._novelty[name].ratios(answer) if name in self._novelty else None
            for row, place in enumerate(asked[name].places.tolist()):
                logits[place][name] = float(answer["LOGIT"][row, 0])
                if ratios is not None:
                    far[place] = float(ratios[row])
        drawn = asked[draws.name].crops
        return tuple(
            FaceEvidence(
                box=tuple(found.boxes[i].tolist()),
                score=float(found.scores[i]),
                landmarks=tuple((float(x), float(y)) for x, y in found.landmarks[i]),
                sharpness=_sharpness(drawn[rows[i]]),  # min_sharpness was set on this geometry
                logits=logits[i],
                novelty=far[i],
                heatmap=answers[draws.name]["CAM"][rows[i]].tolist() if heatmaps else None,
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
