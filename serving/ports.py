"""Ports on the loopback address."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Triton's three ports."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def check(ports: Ports) -> None:
    """Raise where a port is taken.

    Raises:
        InstallationError: names the port and what to do.
    """
    for name, port in (("HTTP", ports.http), ("gRPC", ports.grpc), ("metrics", ports.metrics)):
        if not is_free(port):
            raise InstallationError(
                f"port {port} for Triton's {name} is in use",
                code=ErrorCode.ENVIRONMENT,
                remedy="stop what listens there, or choose others, for example --http-port 8100 --grpc-port 8101 "
                "--metrics-port 8102",
            )


def any_free() -> Ports:
    """Three ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(3)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        http, grpc, metrics = (each.getsockname()[1] for each in sockets)
    return Ports(http, grpc, metrics)
