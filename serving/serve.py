"""``deepscan serve``: Triton and the gateway until Ctrl-C or SIGTERM, then both are drained and ended in order."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from deepscan_client.errors import DeepScanError
from serving.gateway import Gateway, check_gateway_port
from serving.ports import LOOPBACK, Ports, port_number
from serving.supervisor import Server, running_server

CRASHES, CRASH_SECONDS = 3, 600.0
"""A server that crashed is started again so often within so long; then something is wrong that a person must see."""


def parser() -> argparse.ArgumentParser:
    """The options of ``deepscan serve``."""
    made = argparse.ArgumentParser(description="Run Triton and the gateway until Ctrl-C.")
    made.add_argument("--models", metavar="DIR", help="model repository (default: the shipped one)")
    made.add_argument("--host", default=LOOPBACK, help="address of the gateway (default: %(default)s)")
    made.add_argument("--port", type=port_number, default=5000, help="port of the gateway (default: %(default)s)")
    made.add_argument("--no-gateway", action="store_true", help="Triton alone")
    made.add_argument("--profile", choices=("cpu", "onnx", "tensorrt"), default="cpu", help="default: %(default)s")
    for name, port in (("http", Ports.http), ("grpc", Ports.grpc), ("metrics", Ports.metrics)):
        made.add_argument(
            f"--{name}-port", type=port_number, default=port, metavar="N", help=f"Triton's (default: {port})"
        )
    return made


class _Stopped(BaseException):
    """A signal asked for the end. Not an Exception: nothing on the way may take it for an error."""


def _stop(number: int, frame: FrameType | None) -> None:
    _catch_no_more()
    raise _Stopped


def _catch_no_more() -> None:
    """From now on a signal ends this process at once, and the launchers end what it started."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal.

    Returns:
        0 after a signal; 1 where something could not start or ended by itself.
    """
    options = parser().parse_args(arguments)
    console = Console(stderr=True)
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _serve(options, console)
    except _Stopped:
        console.print("stopped")
        return 0
    except DeepScanError as error:
        console.print(f"{error.code}: {error.message}", style="red", markup=False)
        if error.remedy:
            console.print(f"what to do: {error.remedy}", markup=False)
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 1


def _serve(options: argparse.Namespace, console: Console) -> None:
    """Start, print the addresses, wait; the stack ends the gateway before Triton."""
    ports = Ports(options.http_port, options.grpc_port, options.metrics_port)
    if not options.no_gateway:
        check_gateway_port(options.host, options.port)
    with contextlib.ExitStack() as stack:
        status = console.status("starting") if console.is_terminal else contextlib.nullcontext()
        live = stack.enter_context(contextlib.ExitStack())
        spinner = live.enter_context(status)

        def report(line: str) -> None:
            if spinner is not None and not started:
                spinner.update(line)
            else:
                console.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, highlight=False)

        started = False
        models: Path | str | None = options.models
        server = stack.enter_context(running_server(models, ports=ports, profile=options.profile, report=report))
        gateway = None
        if not options.no_gateway:
            gateway = Gateway(server.grpc_url, server.repository.root, options.host, options.port)
            stack.callback(_drain, gateway, console)
            stack.callback(_catch_no_more)
            report("starting the gateway")
            gateway.start()
        started = True
        live.close()
        _print_addresses(server, gateway, console)
        crashes: list[float] = []
        while True:
            _wait(server, gateway)
            crashes = [moment for moment in crashes if time.monotonic() - moment < CRASH_SECONDS]
            if server.running or not server.crashed or len(crashes) >= CRASHES:
                break
            crashes.append(time.monotonic())
            report("Triton crashed; it is started again, requests get 'unavailable' until then")
            server.restart()
        ended = "the gateway" if server.running else f"Triton:\n{server.log_tail()}\n"
        console.print(f"ended by itself: {ended}", style="red", markup=False)


def _drain(gateway: Gateway, console: Console) -> None:
    console.print("stopping: the gateway finishes its work, then Triton ends")
    gateway.stop()


def _print_addresses(server: Server, gateway: Gateway | None, console: Console) -> None:
    lines = [
        ("Triton gRPC", server.grpc_url),
        ("Triton HTTP", server.http_url),
        ("Triton metrics", server.metrics_url),
    ]
    if gateway is not None:
        lines = [("web page and REST", gateway.url), ("REST reference", f"{gateway.url}/docs"), *lines]
    for name, url in lines:
        console.print(f"{name:<18}{url}", markup=False, highlight=False)
    console.print(f"{'Triton log':<18}{server.log_path}", markup=False, highlight=False, soft_wrap=True)
    console.print("ready; Ctrl-C stops")


def _wait(server: Server, gateway: Gateway | None) -> None:
    """Return when a process has ended by itself; a signal raises out of the sleep."""
    while server.running and (gateway is None or gateway.running):
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
