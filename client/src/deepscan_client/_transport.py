"""The seam between the client and the wire, so that almost everything is tested without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from deepscan_client._cancel import Cancellation
from deepscan_client._config import Deadline, Health, Timeout
from deepscan_client.errors import RequestError

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class CallOptions:
    """What goes with a call beside its tensors."""

    deadline: Deadline | None = None
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent as HTTP headers or gRPC metadata, for example ``traceparent``."""
    cancellation: Cancellation | None = None
    """Cancels from another thread; asyncio transports ignore it, there a task is cancelled."""
    silence: float | None = None
    """Seconds without a message after which a stream that has had one ends; None waits for the deadline."""


class Transport(Protocol):
    """Speaks to a Triton server; safe to use from several threads."""

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),
    ) -> Arrays:
        """Run any model of the server once, without a retry.

        Args:
            model: its name.
            inputs: tensors by name; BYTES are arrays of objects.
            outputs: the tensors that are wanted.
            options: deadline, request id, headers, cancellation.

        Raises:
            DeepScanError: typed by what a caller can do.
        """
        ...

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),
    ) -> Generator[Arrays, None, None]:
        """Run a model that answers with several messages. Closing the generator cancels the call on the server.

        Raises:
            RequestError: this transport cannot stream.
            UnavailableError: it fell silent (``options.silence``).
            DeepScanError: as :meth:`infer`.
        """
        ...

    def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """Whether the server and one of its models can work; never raises for a server that is away."""
        ...

    def close(self) -> None:
        """Give connections back; twice is harmless."""
        ...


class AsyncTransport(Protocol):
    """The same for asyncio. A cancelled task cancels its call on the server."""

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),
    ) -> Arrays:
        """See :meth:`Transport.infer`."""
        ...

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),
    ) -> AsyncGenerator[Arrays, None]:
        """See :meth:`Transport.stream`."""
        ...

    async def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """See :meth:`Transport.health`."""
        ...

    async def close(self) -> None:
        """See :meth:`Transport.close`."""
        ...


@dataclass(frozen=True)
class Address:
    """Where a server is and how it is spoken to."""

    scheme: str
    """``grpc`` or ``http``."""
    target: str
    """``host:port``, over HTTP with a path where there is one."""
    secure: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """From a URL; without a scheme it is gRPC.

        >>> Address.parse("127.0.0.1:8001")
        Address(scheme='grpc', target='127.0.0.1:8001', secure=False)

        Raises:
            ValueError: another scheme than grpc, grpcs, http and https, or no host.
        """
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        known = parts.scheme in ("grpc", "grpcs", "http", "https")
        if not known or not parts.hostname or any(character.isspace() for character in parts.hostname):
            raise ValueError(
                f"not the URL of a DeepScan server: {url!r}; write 127.0.0.1:8001 or http://127.0.0.1:8000"
            )
        kind = parts.scheme.removesuffix("s")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = parts.port
        if port is None:
            port = {"grpc": 8001, "http": 443 if parts.scheme == "https" else 8000}[kind]
        path = parts.path.rstrip("/") if kind == "http" else ""
        return cls(kind, f"{host}:{port}{path}", parts.scheme.endswith("s"))

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        return self.target.startswith(("127.", "localhost:", "[::1]"))

    def __str__(self) -> str:
        return f"{self.scheme}{'s' if self.secure else ''}://{self.target}"


def connect(url: str, timeout: Timeout) -> Transport:
    """A transport for a URL. Nothing is sent yet."""
    address = Address.parse(url)
    if address.scheme == "grpc":
        from deepscan_client._grpc import GrpcTransport

        return GrpcTransport(address)
    from deepscan_client._http import HttpTransport

    return HttpTransport(address, timeout.connect)


def connect_async(url: str) -> AsyncTransport:
    """An asyncio transport for a URL. Nothing is sent yet, and no event loop is needed yet."""
    address = Address.parse(url)
    if address.scheme == "grpc":
        from deepscan_client._grpc import AsyncGrpcTransport

        return AsyncGrpcTransport(address)
    from deepscan_client._http_aio import AsyncHttpTransport

    return AsyncHttpTransport(address)


def metadata(options: CallOptions) -> dict[str, str]:
    """Headers of a call in lower case, as gRPC wants them, with the request id."""
    headers = {key.lower(): value for key, value in options.headers.items()}
    if options.request_id:
        headers.setdefault("x-request-id", options.request_id)
    return headers


def cannot_stream(address: Address, model: str, request_id: str) -> RequestError:
    """The error of a transport over HTTP, which brings one answer only."""
    if model in ("deepfake_video", "deepfake_multimodal"):
        return RequestError(
            f"{address} does not take videos: Triton's HTTP brings one answer only",
            remedy="name the server's gRPC port (host:8001), or send the video to the gateway: "
            f"POST /api/predict/{model.removeprefix('deepfake_')} on port 5000",
            request_id=request_id or None,
        )
    return RequestError(
        f"{address} cannot tell progress: that needs gRPC",
        remedy="name the server's gRPC port (host:8001), or leave on_progress out",
        request_id=request_id or None,
    )


def bytes_tensor(*values: bytes) -> Array:
    """A BYTES tensor, object [n]."""
    tensor = np.empty(len(values), dtype=np.object_)
    tensor[:] = values
    return tensor


def health_of(ready: bool, loaded: bool, model: str) -> Health:
    """Health from Triton's two answers."""
    if not ready:
        return Health(live=True, ready=False, detail="the server is starting or one of its models failed")
    return Health(live=True, ready=loaded, detail="" if loaded else f"the model {model} is not loaded")
