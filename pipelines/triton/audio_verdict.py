"""Triton model ``audio_verdict``: see :mod:`pipelines.audio.verdict`."""

from __future__ import annotations

from typing import Any

from pipelines.audio.evidence import VoiceEvidence
from pipelines.audio.source import AudioInfo
from pipelines.audio.verdict import VoiceJudge
from pipelines.triton.backend import answer_each, open_repository, parsed, profile_of, verdict_tensors


class TritonPythonModel:
    """INFO and EVIDENCE to VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records."""
        self._judge = VoiceJudge(open_repository(args), profile_of(args))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Judge each request's evidence."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        info = parsed(request, "INFO", AudioInfo)
        evidence = parsed(request, "EVIDENCE", VoiceEvidence)
        return verdict_tensors(self._judge.verdict(info, evidence))
