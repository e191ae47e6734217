"""Which Triton the gateway speaks to: the named one, a healthy one on this machine, or one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deepscan_client import DeepScanClient
from ml_backend.inference.settings import Settings
from serving.supervisor import running_server

DEFAULT = "127.0.0.1:8001"


@contextmanager
def find_triton(settings: Settings, report: Callable[[str], None]) -> Iterator[str]:
    """The address of a Triton's gRPC for the length of a ``with`` block.

    A server that was started here is stopped at its end; any other is left alone. A named server need not
    answer yet: health says so until it does.

    Args:
        settings: ``triton`` and ``models``.
        report: gets progress lines for a person.

    Raises:
        InstallationError: none was found, and none could be started.
        UnavailableError: the one that was started did not become ready.
    """
    if settings.triton:
        yield settings.triton
        return
    with DeepScanClient(DEFAULT) as client:
        found = client.health(1.0).ready
    if found:
        report(f"using the Triton that answers on {DEFAULT}")
        yield DEFAULT
        return
    report("no Triton answers here: starting one")
    with running_server(settings.models, report=report) as server:
        yield server.grpc_url
