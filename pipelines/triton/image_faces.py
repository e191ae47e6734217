"""Triton model ``image_faces``: see :mod:`pipelines.image.analyze`."""

from __future__ import annotations

from typing import Any

import cv2

from deepscan_client.errors import RequestError
from pipelines.image.analyze import PhotoAnalyzer
from pipelines.image.probe import ProbeInfo
from pipelines.triton.backend import answer_each, array, open_repository, parsed, text_tensor
from pipelines.triton.bls import BlsInfer


class TritonPythonModel:
    """PIXELS and INFO to EVIDENCE."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the cards; the networks are other models of this server."""
        cv2.setNumThreads(1)
        self._analyzer = PhotoAnalyzer(open_repository(args), BlsInfer())

    def execute(self, requests: list[Any]) -> list[Any]:
        """Analyse each request's photo."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        pixels = array(request, "PIXELS")
        assert pixels is not None  # Triton refuses a request without a required input
        if pixels.ndim != 4 or len(pixels) != 1 or not pixels.size:
            raise RequestError(
                f"PIXELS has the shape {list(pixels.shape)}, one photo with at least one pixel is expected",
                remedy="ask deepfake_image, which decodes a photo itself",
            )
        info = parsed(request, "INFO", ProbeInfo)
        return [text_tensor("EVIDENCE", self._analyzer.evidence(pixels[0], info).model_dump_json())]
