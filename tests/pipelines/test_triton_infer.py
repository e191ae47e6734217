"""Networks through a Triton server's transport."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import CallOptions, DeepScanClient, UnavailableError
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.infer import Call
from pipelines.triton_infer import TritonInfer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class Doubles:
    """A transport that doubles X once ``together`` calls are in flight."""

    def __init__(self, together: int) -> None:
        self.barrier = threading.Barrier(together)

    def infer(self, model: str, inputs: Mapping[str, Any], outputs: Sequence[str], options: CallOptions) -> Any:
        assert options.deadline is not None
        self.barrier.wait(5)
        if model == "broken":
            raise UnavailableError("broken")
        return dict.fromkeys(outputs, inputs["X"] * 2)


def test_independent_calls_are_in_flight_together_and_answer_in_order() -> None:
    infer = TritonInfer(Doubles(3))  # type: ignore[arg-type]
    answers = infer.run([Call("m", {"X": np.full((1,), value)}, ("Y",)) for value in (1, 2, 3)])
    infer.close()
    assert [int(answer["Y"][0]) for answer in answers] == [2, 4, 6]


def test_the_error_of_a_call_comes_out() -> None:
    infer = TritonInfer(Doubles(2))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        infer.run([Call("m", {"X": np.ones(1)}, ("Y",)), Call("broken", {"X": np.ones(1)}, ("Y",))])
    infer.close()


@pytest.mark.triton
def test_the_analysis_through_triton_says_what_the_ensemble_says(triton_server: Any) -> None:
    repository = ModelRepository()
    data = (SAMPLES / "group.jpg").read_bytes()
    with DeepScanClient(triton_server.grpc_url) as client:
        infer = TritonInfer(client.transport)
        here = analyze_image(data, PhotoAnalyzer(repository, infer), PhotoJudge(repository))
        there = client.detect_image(data)
        infer.close()
    assert here.label == there.label
    assert here.fake_probability == pytest.approx(there.fake_probability, abs=1e-4)
