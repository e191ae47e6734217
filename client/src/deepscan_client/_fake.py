"""Transports for tests of code that uses the client: no server, no network, the same errors."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepscan_client._config import Deadline, Health
from deepscan_client._status import deadline_error, silence_error
from deepscan_client._transport import Array, Arrays, CallOptions, bytes_tensor
from deepscan_client._video import UPLOAD_MODEL
from deepscan_client.codes import Label, Medium
from deepscan_client.verdict import DecodeInfo, InputInfo, OperatingPoint, Progress, Verdict


@dataclass(frozen=True)
class FakeCall:
    """One call as the fake server saw it."""

    model: str
    inputs: Mapping[str, Array]
    options: CallOptions

    @property
    def image(self) -> bytes:
        """The bytes of the picture."""
        return bytes(self.inputs["IMAGE"].reshape(-1)[0])

    @property
    def media(self) -> bytes:
        """The bytes of the picture, the video or the recording."""
        return next(
            bytes(self.inputs[name].reshape(-1)[0]) for name in ("IMAGE", "VIDEO", "AUDIO") if name in self.inputs
        )

    @property
    def video(self) -> bytes:
        """The bytes of the video, also where it came in pieces."""
        return bytes(self.inputs["VIDEO"].reshape(-1)[0])

    @property
    def audio(self) -> bytes:
        """The bytes of the recording, also of the one beside a video."""
        return bytes(self.inputs["AUDIO"].reshape(-1)[0])

    @property
    def asked(self) -> dict[str, Any]:
        """The options inside the request: ``request_id``, ``heatmaps``, ``analyzers``, ``confidence_threshold``,
        ``num_frames``, ``fps``."""
        return dict(json.loads(self.inputs["OPTIONS"].reshape(-1)[0]))


Answer = Verdict | Exception
Script = Iterable[Answer] | Callable[[FakeCall], Answer]


def make_verdict(label: Label | str = Label.REAL, fake_probability: float | None = 0.1, **changes: Any) -> Verdict:
    """A complete verdict of a photo, to be changed by name (``medium=Medium.AUDIO`` for a recording)."""
    verdict = Verdict(
        medium=Medium.IMAGE,
        input=InputInfo(hashlib.sha256(b"").hexdigest(), 0, "JPEG", 640, 480),
        label=Label(label),
        fake_probability=fake_probability,
        interval=None,
        reasons=(),
        operating_point=OperatingPoint(0.5, None, "default"),
        evidence=(),
        faces=(),
        decode=DecodeInfo("fake"),
        models=(),
        timing_ms={"total": 1.0},
    )
    return dataclasses.replace(verdict, **changes)


def told(progress: Progress) -> Arrays:
    """The message of a stream that tells progress."""
    return {"PROGRESS": bytes_tensor(progress.to_json().encode()), "VERDICT": bytes_tensor(b"")}


class FakeTransport:
    """Answers from a script and remembers what was asked.

    Args:
        script: verdicts and errors in their order, the last one for ever; or a function of the call.
        ready: what health says.
        delay: seconds that each answer takes; a deadline before that is missed, a cancellation ends it, and after
            progress so long a silence may be too long.
        progress: told before each verdict that is asked for with ``on_progress``.

    >>> from deepscan_client import DeepScanClient
    >>> fake = FakeTransport([make_verdict("fake", 0.97)])
    >>> str(DeepScanClient(transport=fake).detect_image(b"photo").label)
    'fake'
    >>> fake.calls[0].image
    b'photo'
    """

    def __init__(
        self, script: Script = (), *, ready: bool = True, delay: float = 0.0, progress: Sequence[Progress] = ()
    ) -> None:
        self._script = script if callable(script) else list(script) or [make_verdict()]
        self.progress = tuple(progress)
        self._lock = threading.Lock()
        self.ready = ready
        self.delay = delay
        self.calls: list[FakeCall] = []
        self.closed = False
        self._uploads: dict[bytes, bytes] = {}

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Arrays:
        """The next answer of the script."""
        if model == UPLOAD_MODEL:
            return self.keep(inputs)
        call = self.record(model, inputs, options)
        wait = self.pause(options)
        if options.cancellation is not None:
            options.cancellation.wait(wait)
            options.cancellation.raise_if_cancelled(options.request_id)
        else:
            time.sleep(wait)
        return self.answer(call)

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Generator[Arrays, None, None]:
        """The progress that it was made with, then the next answer of the script."""
        for progress in self.progress:
            yield told(progress)
        self.listen(options)
        yield self.infer(model, inputs, outputs, options)

    def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """As it was made."""
        return Health(live=self.ready, ready=self.ready, detail="" if self.ready else "the fake server is not ready")

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def keep(self, piece: Mapping[str, Array]) -> Arrays:
        """A piece of a video, which is no call: the call that names its upload sees the whole."""
        name = bytes(piece["UPLOAD"][0])
        with self._lock:
            self._uploads[name] = self._uploads.get(name, b"") + piece["CHUNK"][0]
            return {"RECEIVED": np.array([len(self._uploads[name])], dtype=np.int64)}

    def record(self, model: str, inputs: Mapping[str, Array], options: CallOptions) -> FakeCall:
        """Remember a call."""
        for by_id, name in (("UPLOAD", "VIDEO"), ("AUDIO_UPLOAD", "AUDIO")):
            if by_id in inputs:
                with self._lock:
                    whole = bytes_tensor(self._uploads.pop(bytes(inputs[by_id][0]), b""))
                inputs = {name: whole, **{each: value for each, value in inputs.items() if each != by_id}}
        call = FakeCall(model, inputs, options)
        with self._lock:
            self.calls.append(call)
        return call

    def pause(self, options: CallOptions) -> float:
        """How long this call may last.

        Raises:
            DeadlineError: the answer would come too late.
        """
        if options.deadline is not None and options.deadline.remaining() <= self.delay:
            raise deadline_error(options.request_id)
        return self.delay

    def listen(self, options: CallOptions) -> None:
        """Wait for the answer after progress.

        Raises:
            UnavailableError: the answer would come after a longer silence than the caller takes.
        """
        if self.progress and options.silence is not None and options.silence < self.delay:
            raise silence_error(options.request_id)

    def answer(self, call: FakeCall) -> Arrays:
        """The answer to a call, or its error raised."""
        if callable(self._script):
            answer = self._script(call)
        else:
            with self._lock:
                answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(answer, Exception):
            raise answer
        return {"VERDICT": bytes_tensor(answer.to_json().encode())}


class AsyncFakeTransport:
    """The asyncio face of a :class:`FakeTransport`; takes the same arguments.

    ``calls`` are shared, and ``most_at_once`` says how many were in flight together.
    """

    def __init__(
        self, script: Script = (), *, ready: bool = True, delay: float = 0.0, progress: Sequence[Progress] = ()
    ) -> None:
        self.fake = FakeTransport(script, ready=ready, delay=delay, progress=progress)
        self.cancelled = 0
        self.most_at_once = 0
        self._now = 0

    @property
    def calls(self) -> list[FakeCall]:
        """What was asked, in order."""
        return self.fake.calls

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Arrays:
        """The next answer of the script."""
        if model == UPLOAD_MODEL:
            return self.fake.keep(inputs)
        call = self.fake.record(model, inputs, options)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await asyncio.sleep(self.fake.pause(options))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._now -= 1
        return self.fake.answer(call)

    async def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> AsyncGenerator[Arrays, None]:
        """The progress that it was made with, then the next answer of the script."""
        for progress in self.fake.progress:
            yield told(progress)
        self.fake.listen(options)
        yield await self.infer(model, inputs, outputs, options)

    async def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """As it was made."""
        return self.fake.health(model, deadline)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.fake.close()
