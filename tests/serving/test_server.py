"""The real server is started, proven, repaired and stopped without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from cards import ModelRepository
from deepscan_client import DeepScanClient, ErrorCode, InstallationError, Medium, UnavailableError, Verdict
from serving.ports import Ports, any_free
from serving.stubs import QUIET_SECONDS, stub_processes
from serving.supervisor import Server, running_server

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "samples" / "astronaut.jpg"
SHM = Path("/dev/shm")


def regions(owner: int) -> list[Path]:
    """Shared-memory regions of the servers that a process started."""
    return list(SHM.glob(f"deepscan_{owner}_*"))


def tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return what()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.triton
@pytest.mark.slow
def test_two_servers_side_by_side_and_a_killed_stub_is_repaired() -> None:
    """Every process of a network is killed; the watcher notices, repairs, and the answers are as before.

    Nobody watches the other server: one that is busy may repair itself, and its processes are counted here.
    """
    said: list[str] = []
    with running_server(media=[Medium.IMAGE], watch=False) as first, running_server(report=said.append) as second:
        assert second.ports != first.ports
        with DeepScanClient(first.grpc_url) as one, DeepScanClient(second.grpc_url) as two:
            before = two.detect_image(PHOTO)
            assert one.detect_image(PHOTO).canonical_json() == before.canonical_json()
            untouched = set(stub_processes(first.pid))
            for pid, model in stub_processes(second.pid).items():
                if model == "face_detector":
                    os.kill(pid, signal.SIGKILL)
            watcher = second.watcher
            assert watcher is not None
            assert wait_until(lambda: watcher.repairs > 0 and watcher.healthy, 60), said
            assert two.detect_image(PHOTO).canonical_json() == before.canonical_json()
        assert set(stub_processes(first.pid)) == untouched
        processes = tree(second.pid)
        folder = second.folder
        name = second._name
        assert list(SHM.glob(f"{name}*"))
    assert any("face_detector" in line and "repairing" in line for line in said)
    assert not alive(processes)
    assert not list(SHM.glob(f"{name}*"))
    assert not folder.exists()


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_leaves_no_process_and_no_shared_memory(
    tiny_repository: Path, number: signal.Signals, serve_process: Callable[..., Any]
) -> None:
    """Also SIGKILL, which nobody can catch: the launcher notices that the supervisor is gone."""
    with serve_process("--no-gateway", "--models", str(tiny_repository)) as (process, ports):
        with DeepScanClient(f"127.0.0.1:{ports.grpc}") as client:
            assert client.detect_image(PHOTO).fake_probability == 0.25
        processes = tree(process.pid)
        assert len(processes) >= 5  # supervisor, launcher, server, two stubs
        assert regions(process.pid)
        process.send_signal(number)
        assert process.wait(40) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        assert wait_until(lambda: not alive(processes), 40), alive(processes)
        assert wait_until(lambda: not regions(process.pid), 5)


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL], ids=lambda number: number.name)
def test_serve_starts_a_crashed_server_again_on_its_ports(
    tiny_repository: Path, number: signal.Signals, serve_process: Callable[..., Any]
) -> None:
    """Or one that the system killed, for want of memory."""
    with serve_process("--no-gateway", "--models", str(tiny_repository)) as (process, ports):
        first = next(p for p in tree(process.pid) if "tritonserver" in p.name())
        first.send_signal(number)
        assert wait_until(lambda: not alive([first]), 20)

        def answers() -> bool:
            with DeepScanClient(f"127.0.0.1:{ports.grpc}") as client:
                return client.is_ready(2.0) and client.detect_image(PHOTO).fake_probability == 0.25

        assert wait_until(answers, 60)
        assert process.poll() is None


@pytest.mark.triton
@pytest.mark.slow
def test_one_of_two_stubs_killed_is_noticed_by_the_process_table(tiny_repository: Path) -> None:
    """With two instances half of the canaries would still be answered."""
    with running_server(tiny_repository) as server:
        first, *others = stub_processes(server.pid)
        assert len(others) == 1
        os.kill(first, signal.SIGKILL)
        watcher = server.watcher
        assert watcher is not None
        assert wait_until(lambda: watcher.repairs == 1 and watcher.healthy, 40)
        with DeepScanClient(server.grpc_url) as client:
            assert {client.detect_image(PHOTO).label.value for _ in range(10)} == {"real"}
        # The other old one has no work left, and is ended when it has been quiet for a while.
        assert wait_until(lambda: len(stub_processes(server.pid)) == 2, QUIET_SECONDS + 30)


@pytest.mark.triton
@pytest.mark.slow
def test_a_repair_takes_no_answer_from_a_stub_that_still_works(tiny_repository: Path, tmp_path: Path) -> None:
    """Its sibling is killed, so that Triton will never end it; it must be left until its request is answered."""
    begun, finish = tmp_path / "begun", tmp_path / "finish"
    model = tiny_repository / "deepfake_image" / "1" / "model.py"
    works = f"""
        if requests[0].request_id() == "long":
            Path({str(begun)!r}).write_text(f"{{__import__('os').getpid()}} ")
            while not Path({str(finish)!r}).exists():
                pass
        tensors = ["""
    model.write_text(model.read_text().replace("\n        tensors = [", works))
    answers: list[Verdict] = []

    def ask(url: str) -> None:
        with DeepScanClient(url) as client:
            answers.append(client.detect_image(PHOTO, request_id="long", deadline=300.0))

    with running_server(tiny_repository) as server:
        asking = threading.Thread(target=ask, args=[server.grpc_url])
        asking.start()
        assert wait_until(lambda: begun.exists() and begun.read_text().endswith(" "), 20)
        busy = int(begun.read_text())
        (idle,) = set(stub_processes(server.pid)) - {busy}
        os.kill(idle, signal.SIGKILL)
        watcher = server.watcher
        assert watcher is not None
        assert wait_until(lambda: watcher.repairs == 1 and watcher.healthy, 40)
        assert busy in watcher.old
        assert not wait_until(lambda: busy not in stub_processes(server.pid), QUIET_SECONDS + 5)
        finish.touch()
        asking.join(30)
        assert [answer.label.value for answer in answers] == ["real"]
        assert wait_until(lambda: busy not in stub_processes(server.pid), QUIET_SECONDS + 30)


@pytest.mark.triton
@pytest.mark.slow
def test_without_a_network_it_starts_and_answers(tmp_path: Path) -> None:
    """Nothing needs a network after set-up: a namespace has the loopback device alone."""
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no network namespace to this user")
    script = 'ip link set lo up && ! ip route get 192.0.2.1 && exec "$0" -m deepscan.cli scan "$1" --jsonl "$2"'
    out = tmp_path / "verdicts.jsonl"
    command = ["unshare", "-rn", "bash", "-c", script, sys.executable, str(PHOTO), str(out)]
    environment = {key: value for key, value in os.environ.items() if key != "DEEPSCAN_TRITON"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert '"label"' in out.read_text()


def test_a_weight_file_changed_by_one_byte_is_refused_by_name(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "model_repository", models, ignore=shutil.ignore_patterns("__pycache__"))
    weights = models / "face_detector" / "1" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with (
        pytest.raises(InstallationError, match=r"face_detector/1/weights\.safetensors") as caught,
        running_server(models),
    ):
        pass
    assert caught.value.code is ErrorCode.HASH_MISMATCH


def test_a_port_in_use_is_named_with_the_remedy(tiny_repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = any_free()
        with (
            pytest.raises(InstallationError, match=str(port)) as caught,
            running_server(tiny_repository, ports=Ports(free.http, port, free.metrics)),
        ):
            pass
    assert "--grpc-port" in caught.value.remedy


@pytest.mark.triton
def test_a_model_that_does_not_load_is_shown_with_its_own_words(tiny_repository: Path) -> None:
    model = tiny_repository / "deepfake_image" / "1" / "model.py"
    model.write_text("raise RuntimeError('the dog ate it')\n")
    server = Server(tiny_repository)
    try:
        with pytest.raises(InstallationError, match="the dog ate it"):
            server.start()
    finally:
        server.stop()
    assert not list(SHM.glob(f"{server._name}*"))
    with pytest.raises(UnavailableError, match="not started"):
        _ = Server(tiny_repository).pid


def server_process(server: Server) -> psutil.Process | None:
    """The tritonserver below a launcher, once it runs."""
    if not server.running:
        return None
    with contextlib.suppress(psutil.Error):
        return next((p for p in psutil.Process(server.pid).children() if "tritonserver" in p.name()), None)
    return None


@pytest.mark.triton
@pytest.mark.slow
def test_a_crash_while_starting_is_told_and_the_server_is_started_again(tiny_repository: Path) -> None:
    told: list[str] = []
    server = Server(tiny_repository, report=told.append)

    def crash_once() -> None:
        assert wait_until(lambda: server_process(server) is not None, 30)
        process = server_process(server)
        assert process is not None
        process.send_signal(signal.SIGABRT)

    killer = threading.Thread(target=crash_once)
    try:
        killer.start()
        server.start()
        killer.join()
        assert any("crashed while starting" in line for line in told)
        with DeepScanClient(server.grpc_url) as client:
            assert client.detect_image(PHOTO).fake_probability == 0.25
        process = server_process(server)
        assert process is not None
        process.send_signal(signal.SIGSEGV)
        assert wait_until(lambda: server.crashed, 30)
        server.restart()
        with DeepScanClient(server.grpc_url) as client:
            assert client.detect_image(PHOTO).fake_probability == 0.25
    finally:
        server.stop()
    assert not regions(os.getpid()) or not [r for r in regions(os.getpid()) if server._name in r.name]


def test_the_launcher_passes_the_status_on_and_ends_with_its_pipe() -> None:
    launcher = [sys.executable, "-I", str(ROOT / "serving" / "launch.py")]
    read, write = os.pipe()
    done = subprocess.run([*launcher, str(read), "5", "-", "sh", "-c", "exit 7"], pass_fds=(read,), check=False)
    assert done.returncode == 7
    stubborn = "trap '' TERM; sleep 60 & wait; sleep 60"
    process = subprocess.Popen(
        [*launcher, str(read), "0.3", "-", "bash", "-c", stubborn], pass_fds=(read,), start_new_session=True
    )
    assert wait_until(lambda: len(tree(process.pid)) >= 3, 10)
    processes = tree(process.pid)
    os.close(read)
    os.close(write)
    assert process.wait(10) != 0
    assert wait_until(lambda: not alive(processes), 5)


def test_a_server_for_photos_loads_what_photos_need() -> None:
    with running_server(watch=False, media={Medium.IMAGE}) as server, DeepScanClient(server.grpc_url) as client:
        assert client.detect_image(PHOTO).faces
        loaded = set(stub_processes(server.pid).values())
    assert "photo_cnn" in loaded
    assert not any(name.startswith(("voice", "audio", "deepfake_video")) for name in loaded)


def test_networks_that_only_wait_to_be_asked_are_not_loaded_at_the_start(tmp_path: Path) -> None:
    waiting = {name for name in ModelRepository().names() if ModelRepository().card(name).on_request}
    assert {"deepscan_cnn", "hybrid", "sequence_rnn"} <= waiting
    names = set(Server()._names)
    assert names == set(ModelRepository().names()) - waiting
    assert set(Server(media={Medium.IMAGE})._names) < names
    # On a GPU host the models of videos decode with a stage that nobody asks here.
    assert set(Server(profile="onnx")._names) == names | {"video_decode"}
    # A verdict that asks one of them, as a user's own repository may, has it loaded.
    models = tmp_path / "models"
    shutil.copytree(ModelRepository().root, models, ignore=shutil.ignore_patterns("*.onnx", "*.safetensors"))
    stage = models / "image_faces" / "card.yaml"
    stage.write_text(stage.read_text().replace("calls: [", "calls: [deepscan_cnn, "))
    assert set(Server(models)._names) == names | {"deepscan_cnn"}
