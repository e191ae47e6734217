"""The same networks on the same arrays in plain ONNX Runtime: one process, one thread, nothing else.

It is the yardstick of the latency target: what a request costs above it is decoding, faces or windows, fusion and
Triton. It is measured in CPU time of its one thread: on an idle machine that is wall-clock time, and on a busy one a
thread that never sleeps is made to wait longer than a server that does, which would flatter the server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.subjects import IMAGE, Subject
from cards.repository import ModelRepository
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer, load_network


class _Recorder:
    """Runs calls in process and keeps them."""

    def __init__(self, infer: OnnxInfer) -> None:
        self._infer = infer
        self.calls: list[Call] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        self.calls.extend(calls)
        return self._infer.run(calls)


@dataclass(frozen=True)
class Raw:
    """Milliseconds of CPU time for one item, of several rounds over all of them."""

    networks_ms: dict[str, list[float]]
    """Each network alone."""
    sums_ms: list[float]
    """The networks of an item together."""
    whole_ms: list[float]
    """The whole chain in one process, from bytes to verdict, without Triton."""

    def joined(self, other: Raw) -> Raw:
        """Both measurements together."""
        return Raw(
            {name: times + other.networks_ms[name] for name, times in self.networks_ms.items()},
            self.sums_ms + other.sums_ms,
            self.whole_ms + other.whole_ms,
        )


class RawBench:
    """Finds out which arrays the networks get for each photo or recording, and times them.

    Args:
        repository: the networks.
        items: encoded.
        subject: what they are.

    Raises:
        ValueError: an item is none that can be compared: a photo with two faces, a recording without speech.
    """

    def __init__(self, repository: ModelRepository, items: Sequence[bytes], subject: Subject = IMAGE) -> None:
        cv2.setNumThreads(1)
        self._items = list(items)
        recorder = _Recorder(OnnxInfer(repository, threads=1))
        self._judge = subject.judge(repository, recorder)
        self._calls: list[list[Call]] = []
        for place, item in enumerate(self._items):
            recorder.calls.clear()
            verdict = self._judge(item)
            objection = subject.fits(verdict, [call.model for call in recorder.calls])
            if objection:
                raise ValueError(f"{subject.item} {place} {objection}")
            self._calls.append(list(recorder.calls))
        self._networks = {
            name: load_network(repository, name, threads=1)
            for name in dict.fromkeys(call.model for calls in self._calls for call in calls)
        }

    def run(self, rounds: int) -> Raw:
        """Time ``rounds`` passes over all items, after one that is not counted."""
        result = Raw({name: [] for name in self._networks}, [], [])
        for turn in range(rounds + 1):
            for item, calls in zip(self._items, self._calls):
                spent = []
                for call in calls:
                    began = time.thread_time()
                    self._networks[call.model].run(call.inputs, call.outputs)
                    spent.append((time.thread_time() - began) * 1e3)
                began = time.process_time()  # networks that are asked together run in threads of their own
                self._judge(item)
                whole = (time.process_time() - began) * 1e3
                if turn:
                    for call, milliseconds in zip(calls, spent):
                        result.networks_ms[call.model].append(milliseconds)
                    result.sums_ms.append(sum(spent))
                    result.whole_ms.append(whole)
        return result


def median(values: Sequence[float]) -> float:
    """The median as a plain float."""
    return float(np.median(np.asarray(values)))
