"""Starts the real Triton server, proves that it works, watches it, and stops it without a trace.

::

    with running_server() as server:
        DeepScanClient(server.grpc_url).detect_image("photo.jpg")
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cards import ModelRepository, Profile
from deepscan_client import DeepScanError
from deepscan_client.codes import ErrorCode, Medium
from deepscan_client.errors import InstallationError, UnavailableError
from serving import backends, canary, runs
from serving.child import Child, tree_memory
from serving.ports import LOOPBACK, Ports, any_free, check
from serving.triton_log import loaded_models, tail
from serving.watcher import Watcher

_LOG = logging.getLogger("deepscan.serving")
START_SECONDS = 240.0
EXIT_SECONDS = 20.0
STARTS = 3
"""Times that a server which crashes while it starts is started: its Python backend sometimes aborts with a
``lock_exception`` on a busy machine (triton-inference-server/server, issue 8882)."""
_SPOOL = "DEEPSCAN_SPOOL"
"""Names the folder where the models keep videos while these are uploaded and judged (pipelines/video/upload.py); by
default one that ends with the server."""
Report = Callable[[str], None]


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

    Raises:
        InstallationError: there is no repository, or it holds no models.
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
        if not known:
            raise InstallationError(
                f"{self.repository.root} holds no models",
                code=ErrorCode.MODEL_MISSING,
                remedy="name a model repository, with card.yaml in the folder of each model",
            )
        wanted = canary.PUBLIC if media is None else media
        public = {name for medium in wanted for name in canary.PUBLIC[medium]} & set(known)
        self._names = self.repository.needed_by(public, heatmaps)
        if media is None:
            cards = [self.repository.card(name) for name in known]
            # A stage that waits is one that GPU hosts decode with: there the models of videos call it.
            waiting = {card.name for card in cards if card.on_request and (profile == "cpu" or card.kind == "network")}
            waiting -= set(self._names)
            self._names = [name for name in known if name not in waiting]
        self.ports = ports or any_free()
        self.profile = profile
        self._report: Report = report or _LOG.info
        self._watch = watch
        self._media = tuple(canary.canaries(self._names))
        self._name = runs.region_prefix(secrets.token_hex(3))
        self._child: Child | None = None
        self.watcher: Watcher | None = None
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
        pid = None if self._child is None else self._child.pid
        if pid is None:
            raise UnavailableError("the server was not started", remedy="use running_server()")
        return pid

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
            urls = (self.grpc_url, self.metrics_url)
            self.watcher = Watcher(*urls, self.pid, self.repository, self._report, self._media)
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
        if self._child is not None:
            self._child.end()
        for region in runs.SHM.glob(f"{self._name}*"):
            region.unlink(missing_ok=True)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._child is not None and self._child.running

    @property
    def crashed(self) -> bool:
        """Whether its process was ended by a signal that nobody here sent; see :attr:`Child.crashed`."""
        return self._child is not None and self._child.crashed

    def memory(self) -> int:
        """Bytes that the whole server tree holds; see :func:`tree_memory`."""
        return tree_memory(self.pid)

    def _launch(self) -> None:
        root = self.repository.root
        command = backends.server_command(root, self._names, self.ports, self.profile, self._name, EXIT_SECONDS)
        self._child = Child(command, EXIT_SECONDS, self._name)
        environment = {_SPOOL: str(self.folder / "uploads"), **backends.server_environment()}
        with self.log_path.open("wb") as log:
            self._child.start(log, environment, self.folder)

    def _wait_until_ready(self, end: float) -> None:
        said = -1
        while time.monotonic() < end:
            self._raise_if_ended()
            loaded = loaded_models(self.log_path)
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
        if not self.running:
            raise InstallationError(
                f"Triton ended while starting:\n{self.log_tail()}",
                code=ErrorCode.ENVIRONMENT,
                remedy="run deepscan doctor, which names what is wrong with the installation",
            )

    def log_tail(self) -> str:
        """The lines of Triton's log that matter to a person."""
        return tail(self.log_path)


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
