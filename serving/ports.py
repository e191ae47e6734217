"""Ports on the loopback address."""

from __future__ import annotations

import argparse
import contextlib
import errno
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


def port_number(text: str) -> int:
    """A port of a command line, for ``argparse``.

    Raises:
        argparse.ArgumentTypeError: no number from 1 to 65535.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now.

    Raises:
        InstallationError: not because of another server, but because of the address or of its rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with contextlib.closing(socket.socket(family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise InstallationError(
            f"nothing can listen on {host}, port {port}: {error.strerror or error}",
            code=ErrorCode.ENVIRONMENT,
            remedy="give --host an address of this machine, for example 127.0.0.1 or 0.0.0.0, and a port above 1023",
        ) from error
    return True


def check(ports: Ports) -> None:
    """Raise where a port is taken, may not be, or was given twice.

    Raises:
        InstallationError: names the port and what to do.
    """
    if len({ports.http, ports.grpc, ports.metrics}) < 3:
        raise InstallationError(
            f"Triton's ports are {ports.http}, {ports.grpc} and {ports.metrics}: one is there twice",
            code=ErrorCode.ENVIRONMENT,
            remedy="give three different ones",
        )
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
