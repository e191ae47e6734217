"""The command line of the gateway, before any server is started."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from ml_backend.inference import api
from ml_backend.inference.settings import Settings

APP = typer.Typer()
APP.command()(api.main)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger("deepscan.access")
    before = (root.handlers[:], root.level, access.handlers[:], access.propagate, access.disabled)
    yield
    root.handlers[:], access.handlers[:] = before[0], before[2]
    root.setLevel(before[1])
    access.propagate, access.disabled = before[3], before[4]


def test_a_taken_port_is_named_before_triton_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a Triton was looked for")

    monkeypatch.setattr(api, "find_triton", never)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(APP, ["--port", str(port)])
    assert result.exit_code == 2
    assert f"port {port}" in result.output


def test_a_wrong_setting_ends_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCAN_RATE_LIMIT", "fast")
    result = CliRunner().invoke(APP, [])
    assert result.exit_code == 2
    assert "DEEPSCAN_RATE_LIMIT" in result.output


@pytest.mark.parametrize(("kind", "line"), [("json", "hello"), ("off", "")])
def test_the_access_log_follows_the_setting(kind: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    api.set_up_logging(Settings.model_validate({"log": kind}))
    logging.getLogger("deepscan.access").info("hello")
    assert capsys.readouterr().err.strip() == line
