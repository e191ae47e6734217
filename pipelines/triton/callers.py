"""Who asked for the verdict on a video: told of progress, and told again and again that somebody still works on it.

Triton never ends a stream whose stub was killed from outside, so that silence is all that a client can hear of it. A
request that was taken is therefore never silent for long while its stub lives, whether it waits for a worker or is at
work. The beat is the message of progress that was told last, because a client of before knows no other.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import triton_python_backend_utils as pb_utils

from deepscan_client.verdict import Progress
from pipelines.triton.backend import probability_tensor, text_tensor, triton_error

BEAT_SECONDS = 5.0
"""Time between two beats; a client takes a minute of silence for the end."""
_LOOK_SECONDS = 0.1
"""Time between two questions whether the caller is still there; each is a message to another process."""
_LAST = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Caller:
    """Who asked for a verdict.

    Its messages come from a worker and from the heart, so they go out one by one, and none after the last.
    """

    def __init__(self, sender: Any, ending: threading.Event) -> None:
        self._lock = threading.Lock()
        self._sender = sender
        """None after the last message."""
        self._told: tuple[str, float | None] = (Progress(0.0).to_json(), None)
        self._ending = ending
        self._looked = 0.0
        self._left = False

    def left(self) -> bool:
        """Whether the caller cancelled or went away, or the model ends."""
        now = time.monotonic()
        if not self._left and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            with self._lock:
                self._left = self._sender is None or self._ending.is_set() or bool(self._sender.is_cancelled())
        return self._left

    def tell(self, progress: Progress) -> None:
        """Send a message of progress."""
        told = progress.to_json(), progress.fake_probability
        with self._lock:
            self._told = told
            self._say()

    def beat(self) -> bool:
        """Send the last message of progress again; False, and nothing is sent, where the request is answered."""
        with self._lock:
            if self._sender is None:
                return False
            self._say()
            return True

    def answer(self, tensors: list[Any] | None = None) -> None:
        """Send the last message; without tensors only the end, for a caller who went away."""
        if tensors is None:
            self._end()
        else:
            self._end(pb_utils.InferenceResponse(output_tensors=tensors))

    def fail(self, error: Exception) -> None:
        """Send an error as the last message; a request for which not even that works has no beats any more."""
        try:
            self._end(pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error)))
        finally:
            with self._lock:
                self._sender = None

    def _say(self) -> None:
        text, probability = self._told
        message = [
            text_tensor("PROGRESS", text),
            text_tensor("VERDICT", ""),
            text_tensor("LABEL", ""),
            probability_tensor(probability),
        ]
        self._sender.send(pb_utils.InferenceResponse(output_tensors=message))

    def _end(self, *response: Any) -> None:
        with self._lock:
            if self._sender is not None:
                self._sender.send(*response, flags=_LAST)
                self._sender = None


class Heart:
    """Beats for all callers of one instance of a model whose requests were taken and are not answered yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers: set[Caller] = set()

    def add(self, caller: Caller) -> None:
        """Beat for a caller, now and until it is answered."""
        caller.beat()
        with self._lock:
            self._callers.add(caller)

    def beat(self) -> None:
        """One beat for each; those that are answered are forgotten."""
        with self._lock:
            callers = list(self._callers)
        for caller in callers:
            try:
                if not caller.beat():
                    with self._lock:
                        self._callers.discard(caller)
            except Exception as error:  # the next beat may do better, and the others need theirs
                pb_utils.Logger.log_error(f"a caller cannot be told that its video is at work: {error}")

    def run(self, ending: threading.Event) -> None:
        """Beat until the model ends; the body of a thread."""
        while not ending.wait(BEAT_SECONDS):
            self.beat()
