"""Triton model ``video_decode`` of the ``cpu`` profile: PyAV. On a GPU the DALI backend takes its place."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from deepscan_client.errors import RequestError
from pipelines.triton.backend import answer_each, array
from pipelines.video.decode import decode_frames


class TritonPythonModel:
    """VIDEO and FRAMES to PIXELS."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode each request's piece."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        pieces, frames = array(request, "VIDEO"), array(request, "FRAMES")
        if pieces is None or frames is None or len(pieces) != 1 or len(frames) != 1 or not frames.size:
            raise RequestError("VIDEO holds one piece, FRAMES its numbers", remedy="send shapes [1, n] and [1, f]")
        return [pb_utils.Tensor("PIXELS", decode_frames(pieces[0].tobytes(), frames[0])[None])]
