"""Which Triton answers: the one that was named, a healthy one on loopback, or one of our own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from deepscan_client import DeepScanClient, Medium, UnavailableError

ENVIRONMENT_VARIABLE = "DEEPSCAN_TRITON"
LOOPBACK = "127.0.0.1:8001"


@contextmanager
def service(
    triton: str | None = None,
    report: Callable[[str], None] = lambda line: None,
    media: Collection[Medium] | None = None,
    heatmaps: bool = False,
) -> Iterator[str]:
    """The URL of a server that is ready, for the length of a ``with`` block.

    Args:
        triton: what was named on the command line; else ``DEEPSCAN_TRITON``.
        report: gets a line for a person while a server starts.
        media: what will be asked: a server of our own loads no more than that.
        heatmaps: of videos will be asked for.

    Raises:
        UnavailableError: the named server is not ready.
        InstallationError: none is running and none can be started.
    """
    named = triton or os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        with DeepScanClient(named) as client:
            health = client.health(deadline=5.0)
        if not health.ready:
            raise UnavailableError(
                f"the server at {named} is not ready: {health.detail}",
                remedy="start it with: deepscan serve; or leave --triton and DEEPSCAN_TRITON out",
            )
        yield named
        return
    with DeepScanClient(LOOPBACK) as client:
        ready = client.is_ready(deadline=1.0)
    if ready:
        yield LOOPBACK
        return
    from serving.supervisor import running_server

    with running_server(report=report, watch=False, media=media, heatmaps=heatmaps) as server:
        yield server.grpc_url
