"""Triton model ``image_probe``: see :mod:`pipelines.image.probe`."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from pipelines.image.probe import probe_image
from pipelines.options import parse_options
from pipelines.triton.backend import answer_each, single_bytes, text_tensor


class TritonPythonModel:
    """IMAGE and OPTIONS to PICTURE and INFO."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Probe each request's picture."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        options = parse_options(single_bytes(request, "OPTIONS"))
        probed = probe_image(single_bytes(request, "IMAGE") or b"", options)
        return [
            pb_utils.Tensor("PICTURE", probed.picture[None]),
            text_tensor("INFO", probed.info.model_dump_json()),
        ]
