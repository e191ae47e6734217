"""The commands as a whole: quick help, schema, models, other rooms, the choice of a server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import deepscan_client
from cards import ModelRepository
from deepscan import service
from deepscan.cli import Exit, app
from deepscan.commands import run_room
from deepscan.inputs import medium_of
from deepscan.safe import plain, words
from deepscan.schema import scan_line_schema, schema_file, schema_text
from deepscan_client import Health, InstallationError, Medium, UnavailableError, make_verdict

HEAVY = ("numpy", "cv2", "matplotlib", "tritonclient", "grpc", "pydantic", "torch", "onnxruntime", "fastapi", "PIL")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, typer.testing, deepscan.cli as c; r = typer.testing.CliRunner().invoke(c.app, ['--help']);"
        f"assert r.exit_code == 0, r.output; print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    for name in ("scan", "evaluate", "models", "schema", "serve", "doctor", "train", "export", "bench"):
        assert f"  {name} " in text
    for name in ("scan", "evaluate", "models", "schema"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == Exit.DONE


def test_the_published_schema_is_up_to_date() -> None:
    assert schema_file().read_text(encoding="utf-8") == schema_text(), "run: deepscan schema --write"
    assert CliRunner().invoke(app, ["schema"]).stdout == schema_text()


def test_the_schema_names_every_field_of_a_verdict() -> None:
    schema = scan_line_schema()
    fields = schema["$defs"]["Verdict"]["properties"]
    assert {"path", *make_verdict().to_dict()} == set(fields)
    assert set(schema["$defs"]["Face"]["required"]) == set(schema["$defs"]["Face"]["properties"])
    assert "no_face" in schema["$defs"]["Reason"]["enum"]
    assert "truncated" in schema["$defs"]["Failure"]["properties"]["error"]["properties"]["code"]["enum"]
    wanted = {ref["$ref"].rsplit("/", 1)[1] for ref in _references(schema)}
    assert wanted <= set(schema["$defs"])


def _references(part: Any) -> Iterator[dict[str, str]]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def test_models_lists_the_repository() -> None:
    outcome = CliRunner().invoke(app, ["models"])
    assert outcome.exit_code == Exit.DONE
    assert [line.split()[0] for line in outcome.stdout.splitlines()[1:]] == ModelRepository().names()
    assert CliRunner().invoke(app, ["models", "--models", "/no/such"]).exit_code == Exit.FAILED


def test_another_room_gets_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    room = types.ModuleType("a_room")
    seen: list[tuple[str, list[str]]] = []

    def main(arguments: list[str]) -> int:
        seen.append((sys.argv[0], arguments))
        return 7

    room.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_room", room)
    monkeypatch.setitem(sys.modules, "serving.doctor", room)
    before = sys.argv[0]
    assert CliRunner().invoke(app, ["doctor", "--json", "-x", "y", "--help"]).exit_code == 7
    assert run_room("name", "a_room", []) == 7
    assert seen == [("deepscan doctor", ["--json", "-x", "y", "--help"]), ("deepscan name", [])]
    assert sys.argv[0] == before


def test_a_room_whose_package_is_missing_says_how_to_install_it() -> None:
    with pytest.raises(InstallationError) as caught:
        run_room("name", "no_such_package.module", [])
    assert "no_such_package" in caught.value.message
    assert "pip install" in caught.value.remedy


class _Client:
    """Health by URL."""

    ready: set[str] = set()
    asked: list[str] = []

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def health(self, deadline: float) -> Health:
        self.asked.append(self.url)
        return Health(self.url in self.ready, self.url in self.ready, "away")

    def is_ready(self, deadline: float) -> bool:
        return self.health(deadline).ready


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No server at all; one can be started, which is remembered."""
    started: list[str] = []
    supervisor = types.ModuleType("serving.supervisor")

    @contextlib.contextmanager
    def running_server(**options: Any) -> Iterator[Any]:
        maps = " with heat maps" if options["heatmaps"] else ""
        media = "" if options["media"] is None else f" for {sorted(map(str, options['media']))}"
        started.append(f"started{media}{maps}")
        yield types.SimpleNamespace(grpc_url="own:1")
        started.append("stopped")

    supervisor.running_server = running_server  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "serving.supervisor", supervisor)
    monkeypatch.setattr(service, "DeepScanClient", _Client)
    monkeypatch.delenv(service.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(_Client, "ready", set())
    monkeypatch.setattr(_Client, "asked", [])
    return started


def test_the_named_server_comes_first(servers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _Client.ready |= {"named:1", "environment:1", service.LOOPBACK}
    monkeypatch.setenv(service.ENVIRONMENT_VARIABLE, "environment:1")
    with service.service("named:1") as url:
        assert url == "named:1"
    with service.service() as url:
        assert url == "environment:1"
    monkeypatch.delenv(service.ENVIRONMENT_VARIABLE)
    with service.service() as url:
        assert url == service.LOOPBACK
    assert servers == []


def test_a_named_server_that_is_not_ready_is_never_replaced(servers: list[str]) -> None:
    _Client.ready |= {service.LOOPBACK}
    with pytest.raises(UnavailableError), service.service("named:1"):
        pass
    assert servers == []


def test_without_any_server_one_is_started_and_stopped(servers: list[str]) -> None:
    with service.service() as url:
        assert (url, servers) == ("own:1", ["started"])
    assert servers == ["started", "stopped"]


def test_a_server_of_our_own_loads_what_is_asked_about(servers: list[str]) -> None:
    with service.service(media={Medium.VIDEO, Medium.IMAGE}):
        pass
    assert servers == ["started for ['image', 'video']", "stopped"]
    assert _Client.asked == [service.LOOPBACK]
    with service.service(media={Medium.VIDEO}, heatmaps=True):
        pass
    assert servers[2:] == ["started for ['video'] with heat maps", "stopped"]


def test_a_name_helps_where_bytes_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.JPEG").write_bytes(b"")
    assert medium_of(str(tmp_path / "a.JPEG")) == "image"
    assert medium_of(str(tmp_path / "lost.jpg")) is None
    assert medium_of("zero\0byte.jpg") in (None, "image")


def test_safe_text() -> None:
    assert plain("a\tb\x9bc\ud800") == "a\\tb\\x9bc\\ud800"
    assert words("[red]x[/red]").plain == "[red]x[/red]"
    assert plain("naïve ☃") == "naïve ☃"


def test_versions_agree() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "client" / "pyproject.toml").read_text()
    assert f'version = "{deepscan_client.__version__}"' in text
    assert json.loads(schema_text())["version"] == make_verdict().schema_version
