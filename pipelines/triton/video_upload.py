"""Triton model ``video_upload``: see :mod:`pipelines.video.upload`."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from cards.limits import UPLOAD_IDLE_SECONDS
from deepscan_client.errors import RequestError
from pipelines.triton.backend import answer_each, array, single_bytes
from pipelines.video.upload import Spool

_SWEEPS = 12
"""Looks for abandoned uploads in the time after which one expires."""


class TritonPythonModel:
    """UPLOAD, OFFSET, LAST and CHUNK to RECEIVED."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the folder, and look again and again for what was abandoned."""
        self._spool = Spool()
        self._ended = threading.Event()
        threading.Thread(target=self._sweep, name="sweep", daemon=True).start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Keep each request's piece."""
        return answer_each(requests, self._answer)

    def finalize(self) -> None:
        """End the thread."""
        self._ended.set()

    def _answer(self, request: Any) -> list[Any]:
        upload_id = (single_bytes(request, "UPLOAD") or b"").decode("utf-8", "replace")
        offset, last = _number(request, "OFFSET"), _number(request, "LAST")
        received = self._spool.append(upload_id, offset, single_bytes(request, "CHUNK") or b"", bool(last))
        return [pb_utils.Tensor("RECEIVED", np.array([received], dtype=np.int64))]

    def _sweep(self) -> None:
        while not self._ended.wait(UPLOAD_IDLE_SECONDS / _SWEEPS):
            try:
                self._spool.sweep()
            except OSError as error:  # the next look may do better
                pb_utils.Logger.log_error(f"uploads cannot be looked through: {error}")


def _number(request: Any, name: str) -> int:
    values = array(request, name)
    if values is None or values.size != 1:
        raise RequestError(f"{name} is one number", remedy=f"send {name} with shape [1]")
    return int(values.reshape(-1)[0])
