"""Triton model ``audio_decode`` of the ``cpu`` profile: PyAV. On a GPU host the DALI backend takes its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import RequestError
from pipelines.audio.decode import decode_whole
from pipelines.audio.source import RATE
from pipelines.triton.backend import answer_each, array


class TritonPythonModel:
    """AUDIO to SAMPLES and RATE."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode each request's recording."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        files = array(request, "AUDIO")
        if files is None or len(files) != 1:
            raise RequestError("AUDIO holds one recording", remedy="send shape [1, n]")
        samples, _ = decode_whole(files[0].tobytes())
        rate = np.array([[RATE]], dtype=np.float32)
        return [pb_utils.Tensor("SAMPLES", samples[None]), pb_utils.Tensor("RATE", rate)]
