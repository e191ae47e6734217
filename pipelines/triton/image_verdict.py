"""Triton model ``image_verdict``: see :mod:`pipelines.image.verdict`."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from pipelines.image.evidence import PhotoEvidence
from pipelines.image.probe import ProbeInfo
from pipelines.image.verdict import PhotoJudge
from pipelines.triton.backend import answer_each, open_repository, profile_of, single_bytes, text_tensor


class TritonPythonModel:
    """INFO and EVIDENCE to VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records."""
        self._judge = PhotoJudge(open_repository(args), profile_of(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Judge each request's evidence."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        info = ProbeInfo.model_validate_json(single_bytes(request, "INFO") or b"")
        evidence = PhotoEvidence.model_validate_json(single_bytes(request, "EVIDENCE") or b"")
        verdict = self._judge.verdict(info, evidence)
        probability = np.nan if verdict.fake_probability is None else verdict.fake_probability
        return [
            text_tensor("VERDICT", verdict.to_json()),
            pb_utils.Tensor("FAKE_PROBABILITY", np.array([probability], dtype=np.float32)),
            text_tensor("LABEL", str(verdict.label)),
        ]
