"""The command line over a fake transport: no server, the same code above it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Outcome

import deepscan.service
import deepscan_client._aio
from deepscan.cli import app
from deepscan_client import AsyncFakeTransport, FakeCall, InputInfo, MediaError, Medium, Progress, Verdict, make_verdict

RECORDING = InputInfo("0" * 64, 20, "wav", duration_s=12.34)


@dataclass
class Line:
    """A command line and the fake server behind it."""

    transport: AsyncFakeTransport
    answer: Callable[[FakeCall], Verdict | Exception]
    media: object = None
    """What a server of its own would load for."""

    def __call__(self, *arguments: object) -> Outcome:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def judge(call: FakeCall) -> Verdict | Exception:
    """What the fake server says: the bytes of a photo are its label and its probability, those of a WAV file too."""
    said = call.media.decode(errors="replace").removeprefix("RIFF____WAVE ").split()
    if len(said) == 2 and said[0] in ("real", "fake"):
        if call.model.startswith("deepfake_audio"):
            return make_verdict(said[0], float(said[1]), medium=Medium.AUDIO, input=RECORDING, suspicious=((1.5, 3.0),))
        return make_verdict(said[0], float(said[1]))
    if said == ["noface"]:
        return make_verdict("inconclusive", None, reasons=("no_face",))
    return MediaError("this is not a picture", remedy="send a picture")


@pytest.fixture
def deepscan_line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line: Any = Line(AsyncFakeTransport(lambda call: line.answer(call), progress=[Progress(6.0, 12.0)]), judge)

    @contextlib.contextmanager
    def service(
        triton: str | None = None, report: object = None, media: object = None, heatmaps: bool = False
    ) -> Iterator[str]:
        line.media = media
        yield triton or "fake:1"

    monkeypatch.setattr(deepscan.service, "service", service)
    monkeypatch.setattr(deepscan_client._aio, "connect_async", lambda url: line.transport)
    return line  # type: ignore[no-any-return]
