"""The REST gateway as a child process, which never outlives this one."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError, UnavailableError
from serving.child import Child
from serving.ports import is_free

START_SECONDS = 60.0
DRAIN_SECONDS = 45.0


class Gateway:
    """``python -m ml_backend.inference.api`` beside a Triton. It is started by name: this room imports no other.

    Args:
        triton: ``host:port`` of Triton's gRPC.
        models: the model repository whose cards it shows.
        host: address to listen on.
        port: port to listen on.
    """

    def __init__(self, triton: str, models: Path, host: str, port: int) -> None:
        arguments = ["--host", host, "--port", str(port), "--triton", triton, "--models", str(models)]
        self.host, self.port = host, port
        command = [sys.executable, "-m", "ml_backend.inference.api", *arguments]
        self._child = Child(command, DRAIN_SECONDS)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._child.running

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start it, and return when ``/api/health`` answers 200. Its log goes to standard error.

        Raises:
            InstallationError: its port is in use, or it ended while starting.
            UnavailableError: it was not healthy in time.
        """
        check_gateway_port(self.host, self.port)
        self._child.start()
        end = time.monotonic() + seconds
        while not self._healthy():
            if not self.running:
                raise InstallationError(
                    "the gateway ended while starting; its own message stands above",
                    code=ErrorCode.ENVIRONMENT,
                    remedy="run: deepscan doctor",
                )
            if time.monotonic() > end:
                raise UnavailableError(f"the gateway was not healthy in {seconds:.0f} s", remedy="run: deepscan doctor")
            time.sleep(0.1)

    def stop(self) -> None:
        """Let it drain: no new photos, those at work are finished, then it ends."""
        self._child.end()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def check_gateway_port(host: str, port: int) -> None:
    """Raise where the gateway's port is taken.

    Raises:
        InstallationError: names the port and what to do.
    """
    if not is_free(port, host):
        raise InstallationError(
            f"port {port} for the gateway is in use",
            code=ErrorCode.ENVIRONMENT,
            remedy="stop what listens there, or choose another, for example --port 5100",
        )
