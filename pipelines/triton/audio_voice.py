"""Triton model ``audio_voice``: see :mod:`pipelines.audio.analyze`."""

from __future__ import annotations

from typing import Any

from pipelines.audio.analyze import VoiceAnalyzer
from pipelines.audio.staged import open_sound
from pipelines.options import parse_options
from pipelines.triton.backend import answer_each, open_repository, profile_of, single_bytes, text_tensor
from pipelines.triton.bls import BlsInfer


class TritonPythonModel:
    """AUDIO and OPTIONS to INFO and EVIDENCE."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the cards; the networks are other models of this server."""
        self._infer = BlsInfer()
        self._profile = profile_of(args)
        self._analyzer = VoiceAnalyzer(open_repository(args), self._infer)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Hear each request's recording."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Any) -> list[Any]:
        options = parse_options(single_bytes(request, "OPTIONS"))
        source = open_sound(single_bytes(request, "AUDIO") or b"", options, self._infer, self._profile)
        evidence = self._analyzer.evidence(source)
        return [text_tensor("INFO", source.info.model_dump_json()), text_tensor("EVIDENCE", evidence.model_dump_json())]
