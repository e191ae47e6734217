"""Starts the real Triton server, proves that it works, watches it, and stops it without a trace.

::

    with running_server() as server:
        DeepScanClient(server.grpc_url).detect_image("photo.jpg")
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cards import ModelRepository, Profile
from deepscan_client import DeepScanError
from deepscan_client.codes import ErrorCode, Medium
from deepscan_client.errors import InstallationError, UnavailableError
from serving import backends, canary, runs
from serving.ports import LOOPBACK, Ports, any_free, check

_LOG = logging.getLogger("deepscan.serving")
START_SECONDS = 240.0
EXIT_SECONDS = 20.0
STARTS = 3
"""Times that a server which crashes while it starts is started: its Python backend sometimes aborts with a
``lock_exception`` on a busy machine (triton-inference-server/server, issue 8882)."""
_CRASHES = tuple(128 + number for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS))
_SPOOL = "DEEPSCAN_SPOOL"
"""Names the folder where the models keep videos while these are uploaded and judged (pipelines/video/upload.py); by
default one that ends with the server."""
_LOADED = re.compile(r"successfully loaded '(\w+)'")

Report = Callable[[str], None]


def tree_memory(pid: int) -> int:
    """Bytes that a process and all below it hold (proportional set size: shared pages are counted once)."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


class Server:
    """One tritonserver with its stubs. Use :func:`running_server`, which also stops it.

    Args:
        models: the model repository; the shipped one by default.
        ports: Triton's ports on loopback; three free ones where left out.
        profile: which configuration of each model is loaded.
        report: gets progress lines for a person.
        watch: let a thread send canaries and repair killed stubs.
        media: load only what these need, for a server that answers one command; where left out, every model but those
            that no public one needs and whose card says ``on_request``: 70 MB each, for whoever asks for them.
        heatmaps: of videos may be asked for: a network more, where only videos are.
    """

    def __init__(
        self,
        models: str | Path | None = None,
        *,
        ports: Ports | None = None,
        profile: Profile = "cpu",
        report: Report | None = None,
        watch: bool = True,
        media: Collection[Medium] | None = None,
        heatmaps: bool = True,
    ) -> None:
        self.repository = ModelRepository(models)
        known = self.repository.names()
        wanted = canary.PUBLIC if media is None else media
        public = {name for medium in wanted for name in canary.PUBLIC[medium]} & set(known)
        self._names = self.repository.needed_by(public, heatmaps)
        if media is None:
            waiting = {name for name in known if self.repository.card(name).on_request} - set(self._names)
            self._names = [name for name in known if name not in waiting]
        self.ports = ports or any_free()
        self.profile = profile
        self._report: Report = report or _LOG.info
        self._watch = watch
        self._media = tuple(canary.canaries(self._names))
        self._name = runs.region_prefix(secrets.token_hex(3))
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.watcher: canary.Watcher | None = None
        self.folder = runs.new_folder()
        self.log_path = self.folder / "triton.log"

    @property
    def grpc_url(self) -> str:
        """``host:port`` for gRPC clients."""
        return f"{LOOPBACK}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """URL of Triton's HTTP end point."""
        return f"http://{LOOPBACK}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        """URL of Triton's Prometheus metrics."""
        return f"http://{LOOPBACK}:{self.ports.metrics}/metrics"

    @property
    def pid(self) -> int:
        """Process id of the launcher; tritonserver and its stubs are below it."""
        if self._process is None:
            raise UnavailableError("the server was not started", remedy="use running_server()")
        return self._process.pid

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start, and return when a canary has been answered.

        Raises:
            InstallationError: a weight file was changed, a port is taken, or a model does not load.
            UnavailableError: it was not ready in time.
        """
        check(self.ports)
        self._report("checking the models' hashes")
        for name in self._names:
            if self.repository.card(name).kind == "network":
                self.repository.verify(name)
        end = time.monotonic() + seconds
        for left in reversed(range(STARTS)):
            self._launch()
            try:
                self._wait_until_ready(end)
                self._report("waiting for the canary")
                self._wait_for_canary(end)
                break
            except InstallationError:
                if not left or not self.crashed:
                    raise
                self._report("Triton crashed while starting; it is started again")
                self._end()
        if self._watch:
            self.watcher = canary.Watcher(self.grpc_url, self.pid, self.repository.root, self._report, self._media)
            self.watcher.start()

    def restart(self) -> None:
        """Start again after a crash, on the same ports; raises as :meth:`start` does."""
        self._end()
        self.start()

    def stop(self) -> None:
        """Stop watching, let the server finish, end its process group, remove its shared memory and files."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            try:
                self._process.wait(EXIT_SECONDS + 10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            # Its launcher ended the group; were the launcher itself killed, stubs could be left.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for region in runs.SHM.glob(f"{self._name}*"):
            region.unlink(missing_ok=True)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether its process was ended by a fault of its own: an abort or a bad memory access."""
        return self._process is not None and self._process.poll() in _CRASHES

    def memory(self) -> int:
        """Bytes that the whole server tree holds; see :func:`tree_memory`."""
        return tree_memory(self.pid)

    def _launch(self) -> None:
        read, self._pipe = os.pipe()
        command = [str(backends.server_binary()), *self._flags()]
        launcher = [
            sys.executable,
            "-I",
            str(Path(__file__).with_name("launch.py")),
            str(read),
            str(EXIT_SECONDS),
            self._name,
        ]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={_SPOOL: str(self.folder / "uploads"), **backends.server_environment()},
                pass_fds=(read,),
                start_new_session=True,
                cwd=self.folder,
            )
        os.close(read)

    def _flags(self) -> list[str]:
        folder = backends.backends_folder()
        profile = [] if self.profile == "cpu" else [f"--model-config-name={self.profile}"]
        return [
            f"--model-repository={self.repository.root}",
            f"--backend-directory={folder}",
            f"--cache-directory={backends.wheel_folder() / 'caches'}",
            f"--backend-config=python,shm-region-prefix-name={self._name}",
            f"--http-address={LOOPBACK}",
            f"--grpc-address={LOOPBACK}",
            f"--metrics-address={LOOPBACK}",
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            "--model-control-mode=explicit",
            *[f"--load-model={name}" for name in self._names],
            "--exit-on-error=true",
            # The generated configurations are complete; asking every model for its own would start each stub twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={int(EXIT_SECONDS)}",
            "--metrics-config=summary_latencies=true",
            *profile,
        ]

    def _wait_until_ready(self, end: float) -> None:
        said = -1
        while time.monotonic() < end:
            self._raise_if_ended()
            loaded = len(set(_LOADED.findall(self.log_path.read_text(errors="replace"))))
            if loaded != said:
                self._report(f"starting Triton: {loaded} of {len(self._names)} models loaded")
                said = loaded
            try:
                with urllib.request.urlopen(f"{self.http_url}/v2/health/ready", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise UnavailableError("Triton was not ready in time", remedy=f"look at the end of its log:\n{self.log_tail()}")

    def _wait_for_canary(self, end: float) -> None:
        while True:
            self._raise_if_ended()
            try:
                canary.sing(self.grpc_url, 30.0, self._media)
                return
            except DeepScanError as error:
                if time.monotonic() > end or isinstance(error, InstallationError):
                    raise
                time.sleep(0.2)

    def _raise_if_ended(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise InstallationError(
                f"Triton ended while starting:\n{self.log_tail()}",
                code=ErrorCode.ENVIRONMENT,
                remedy="run deepscan doctor, which names what is wrong with the installation",
            )

    def log_tail(self) -> str:
        """The lines of the log that matter to a person: errors, without Triton's prefixes, each once."""
        text = self.log_path.read_text(errors="replace")
        lines = [line for line in text.splitlines() if re.match(r"E\d{4} |error:|.*UNAVAILABLE: ", line)]
        useful = [line for line in lines if "CudaDriverHelper" not in line and "CUDA driver" not in line]
        chosen = useful[-6:] or text.splitlines()[-6:]
        return "\n".join(line[:400] for line in chosen)


@contextmanager
def running_server(
    models: str | Path | None = None,
    *,
    ports: Ports | None = None,
    profile: Profile = "cpu",
    report: Report | None = None,
    watch: bool = True,
    media: Collection[Medium] | None = None,
    heatmaps: bool = True,
) -> Iterator[Server]:
    """A server for the length of a ``with`` block; see :class:`Server` for the arguments.

    When this process dies, in whatever way, the server ends with it.
    """
    server = Server(models, ports=ports, profile=profile, report=report, watch=watch, media=media, heatmaps=heatmaps)
    try:
        server.start()
        yield server
    finally:
        server.stop()
