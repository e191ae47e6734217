"""Triton model ``image_verdict``: see :mod:`pipelines.image.verdict`."""

from __future__ import annotations

from typing import Any

from pipelines.image.evidence import PhotoEvidence
from pipelines.image.probe import ProbeInfo
from pipelines.image.verdict import PhotoJudge
from pipelines.triton.backend import answer_each, open_repository, parsed, profile_of, verdict_tensors


class TritonPythonModel:
    """INFO and EVIDENCE to VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records."""
        self._judge = PhotoJudge(open_repository(args), profile_of(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Judge each request's evidence."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        info = parsed(request, "INFO", ProbeInfo)
        evidence = parsed(request, "EVIDENCE", PhotoEvidence)
        return verdict_tensors(self._judge.verdict(info, evidence))
