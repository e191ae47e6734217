"""The :class:`~pipelines.infer.Infer` inside Triton: business logic scripting calls to other models."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import UnavailableError, find_error
from pipelines.infer import Arrays, Call


class BlsInfer:
    """Calls models of the same server. Independent calls run side by side.

    Triton's ``async_exec`` is ``exec`` in the thread pool of a running event loop. One pool that stays does the same
    and saves a photo the making and joining of a loop and its threads.

    Args:
        together: most calls in flight.
    """

    def __init__(self, together: int = 4) -> None:
        self._pool = ThreadPoolExecutor(together, thread_name_prefix="bls")

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        """Run the calls and answer in order.

        Raises:
            DeepScanError: the error of the first call that failed.
        """
        requests = [_request(call) for call in calls]
        rest = [self._pool.submit(request.exec) for request in requests[1:]]
        responses = [requests[0].exec(), *(future.result() for future in rest)]
        return [_arrays(call, response) for call, response in zip(calls, responses, strict=True)]


def _request(call: Call) -> Any:
    return pb_utils.InferenceRequest(
        model_name=call.model,
        requested_output_names=list(call.outputs),
        inputs=[pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in call.inputs.items()],
        # CPU memory whichever device answers: the policy around the networks is NumPy code.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )


def _arrays(call: Call, response: Any) -> Arrays:
    if response.has_error():
        message = response.error().message()
        raise find_error(message) or UnavailableError(
            f"{call.model} did not answer: {message[:200]}", remedy="try again; the server repairs itself"
        )
    return {name: np.asarray(pb_utils.get_output_tensor_by_name(response, name).as_numpy()) for name in call.outputs}
