"""The :class:`~pipelines.infer.Infer` through a Triton server: the client's transport."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from deepscan_client import CallOptions, Deadline, Transport
from pipelines.infer import Arrays, Call


class TritonInfer:
    """Runs networks on a server. Independent calls are in flight together.

    Args:
        transport: of a ``DeepScanClient`` (its ``transport``), or a fake one; must be safe for threads.
        timeout: seconds for one ``run``; None waits for ever.
        together: most calls in flight.
    """

    def __init__(self, transport: Transport, timeout: float | None = 60.0, together: int = 8) -> None:
        self._transport = transport
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(together, thread_name_prefix="triton-infer")

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        """Run the calls and answer in order.

        Raises:
            deepscan_client.DeepScanError: the error of the first call that failed.
        """
        options = CallOptions(deadline=Deadline.of(None, self._timeout))

        def ask(call: Call) -> Arrays:
            inputs = {name: np.ascontiguousarray(value) for name, value in call.inputs.items()}
            return self._transport.infer(call.model, inputs, call.outputs, options)

        if len(calls) == 1:
            return [ask(calls[0])]
        return list(self._pool.map(ask, calls))

    def close(self) -> None:
        """End the threads; the transport stays its owner's."""
        self._pool.shutdown(wait=False, cancel_futures=True)
