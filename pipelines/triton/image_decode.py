"""Triton model ``image_decode`` of the ``cpu`` profile: OpenCV. On a GPU the DALI backend takes its place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import RequestError
from pipelines.image.decode import decode_image
from pipelines.triton.backend import answer_each, array


class TritonPythonModel:
    """PICTURE to PIXELS."""

    def initialize(self, args: dict[str, str]) -> None:
        """One thread: instances, not threads, share the cores."""
        cv2.setNumThreads(1)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode each request's picture."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        pictures = array(request, "PICTURE")
        if pictures is None or len(pictures) != 1:
            raise RequestError("PICTURE holds one picture", remedy="send shape [1, n]")
        return [pb_utils.Tensor("PIXELS", np.ascontiguousarray(decode_image(pictures[0]))[None])]
