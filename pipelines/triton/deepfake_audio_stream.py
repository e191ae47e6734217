"""Triton model ``deepfake_audio_stream``: a long recording with progress, then its verdict.

Decoupled: each block of the recording is a message with PROGRESS, and the last message is the verdict. It ends the
request by itself, because not every client is told of Triton's own end of a stream.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from deepscan_client.verdict import Progress
from pipelines.audio.analyze import VoiceAnalyzer
from pipelines.audio.staged import open_sound
from pipelines.audio.verdict import VoiceJudge
from pipelines.options import parse_options
from pipelines.triton.backend import (
    open_repository,
    probability_tensor,
    profile_of,
    single_bytes,
    text_tensor,
    triton_error,
    verdict_tensors,
)
from pipelines.triton.bls import BlsInfer


class TritonPythonModel:
    """AUDIO and OPTIONS to messages of PROGRESS, and one of VERDICT, FAKE_PROBABILITY and LABEL."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read cards and records; the networks are other models of this server."""
        repository = open_repository(args)
        self._infer = BlsInfer()
        self._profile = profile_of(args)
        self._analyzer = VoiceAnalyzer(repository, self._infer)
        self._judge = VoiceJudge(repository, self._profile)

    def execute(self, requests: list[Any]) -> None:
        """Answer each request; an error is the answer of its request and of no other."""
        for request in requests:
            sender = request.get_response_sender()
            last = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            try:
                tensors = self._hear(request, sender)
                if tensors is None:
                    sender.send(flags=last)
                else:
                    sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=last)
            except Exception as error:
                sender.send(pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error)), flags=last)

    def _hear(self, request: Any, sender: Any) -> list[Any] | None:
        """The tensors of the last message, or None where the caller went away."""
        options = parse_options(single_bytes(request, "OPTIONS"))
        source = open_sound(single_bytes(request, "AUDIO") or b"", options, self._infer, self._profile)
        steps = self._analyzer.listen(source)
        while True:
            try:
                hearing = next(steps)
            except StopIteration as end:
                return [text_tensor("PROGRESS", ""), *verdict_tensors(self._judge.verdict(source.info, end.value))]
            if sender.is_cancelled():
                return None
            told = Progress(
                hearing.seconds,
                max(source.info.duration_s, hearing.seconds) or None,
                self._judge.probability(hearing.evidence()),
            )
            message = [
                text_tensor("PROGRESS", told.to_json()),
                text_tensor("VERDICT", ""),
                text_tensor("LABEL", ""),
                probability_tensor(told.fake_probability),
            ]
            sender.send(pb_utils.InferenceResponse(output_tensors=message))
