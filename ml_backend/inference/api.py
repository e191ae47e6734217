"""Starts the REST gateway: ``python -m ml_backend.inference.api``, then http://localhost:5000.

Ctrl-C or SIGTERM drains it: health says 503, new photos are refused after ``DEEPSCAN_DRAIN_SECONDS``, those at
work are finished, then it ends. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from deepscan_client import AsyncDeepScanClient, DeepScanError, Timeout
from ml_backend.inference.app import Gateway, create_app
from ml_backend.inference.settings import Settings, read_settings
from ml_backend.inference.triton import find_triton
from serving.gateway import check_gateway_port

_KEEP_ALIVE_SECONDS = 15
_log = logging.getLogger("deepscan.gateway")


class DrainingServer(uvicorn.Server):
    """Uvicorn that keeps listening while it drains, so that health can say so.

    Args:
        config: Uvicorn's.
        gateway: knows what is at work.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._since: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end."""
        if self._since is None:
            self._since = time.monotonic()
            self._gateway.health.draining = True
        else:
            self.should_exit = True
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: look whether draining is done."""
        if self._since is not None and not self.should_exit:
            waited = time.monotonic() - self._since
            settings = self._gateway.settings
            if waited >= settings.drain_seconds:
                self._gateway.health.closing = True
                late = waited > settings.drain_seconds + settings.deadline
                self.should_exit = late or not self._gateway.busy
        return await super().on_tick(counter)


async def serve(settings: Settings, triton: str) -> None:
    """Run the gateway until a signal.

    Args:
        settings: where to listen, limits.
        triton: ``host:port`` of its gRPC.
    """
    client = AsyncDeepScanClient(triton, timeout=Timeout(request=settings.deadline))
    app = create_app(client, settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        server_header=False,
        log_config=None,
    )
    server = DrainingServer(config, app.state.gateway)
    listening = asyncio.create_task(_say_when_listening(server, settings, triton))
    try:
        await server.serve()
    finally:
        listening.cancel()


async def _say_when_listening(server: uvicorn.Server, settings: Settings, triton: str) -> None:
    while not server.started:
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    _log.info("the gateway listens on http://%s:%s (Triton: %s)", settings.host, port, triton)


def set_up_logging(settings: Settings) -> None:
    """Gateway messages to stderr; the access log as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    access = logging.getLogger("deepscan.access")
    access.disabled = settings.log == "off"
    if settings.log == "json":
        bare = logging.StreamHandler(sys.stderr)
        bare.setFormatter(logging.Formatter("%(message)s"))
        access.handlers, access.propagate = [bare], False


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(
    host: Annotated[str | None, typer.Option(help="Address to listen on [DEEPSCAN_HOST, 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port [DEEPSCAN_PORT, 5000].")] = None,
    triton: Annotated[str | None, typer.Option(help="host:port of Triton's gRPC [DEEPSCAN_TRITON].")] = None,
    models: Annotated[str | None, typer.Option(help="The model repository [DEEPSCAN_MODELS].")] = None,
) -> None:
    """Start the REST gateway."""
    try:
        settings = read_settings(host=host, port=port, triton=triton, models=models)
        set_up_logging(settings)
        check_gateway_port(settings.host, settings.port)  # before a Triton is started for nothing
        # While Triton starts: end in order, so that it leaves nothing behind. Uvicorn has its own handler later.
        signal.signal(signal.SIGTERM, _end)
        with find_triton(settings, _log.info) as address:
            asyncio.run(serve(settings, address))
    except DeepScanError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
