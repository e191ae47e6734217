"""A gateway over the client's own fake transport: real application, real client, no server and no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deepscan_client import AsyncDeepScanClient, AsyncFakeTransport, Medium, RetryPolicy, Timeout
from ml_backend.inference.app import Gateway, create_app
from ml_backend.inference.settings import Settings, read_settings


@dataclass
class Running:
    """A gateway that answers through ``http``."""

    app: FastAPI
    http: httpx.AsyncClient
    transport: AsyncFakeTransport

    @property
    def gateway(self) -> Gateway:
        found: Gateway = self.app.state.gateway
        return found

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Options of the requests that reached the fake Triton, without the canary's."""
        return [call.asked for call in self.transport.calls if call.asked["request_id"] != "canary"]

    async def photo(self, content: bytes = b"photo", **form: Any) -> httpx.Response:
        return await self.http.post("/api/predict/image", files={"file": ("a.jpg", content)}, data=form)

    async def batch(self, *contents: bytes, **form: Any) -> httpx.Response:
        files = [("files", (f"{index}.jpg", content)) for index, content in enumerate(contents)]
        return await self.http.post("/api/batch-predict", files=files, data=form)

    @staticmethod
    def error(response: httpx.Response, status: int) -> dict[str, Any]:
        """The standard error body of an answer, whose shape is checked on the way."""
        assert response.status_code == status, response.text
        body = response.json()
        assert "error" in body
        assert set(body["error"]) == {"code", "message", "remedy", "request_id"}
        assert body["error"]["request_id"] == response.headers["x-request-id"]
        assert body["error"]["message"]
        assert body["error"]["remedy"]
        found: dict[str, Any] = body["error"]
        return found


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts gateways: ``await start(script, delay=..., ready=..., **settings)``."""
    async with AsyncExitStack() as stack:

        async def begin(
            script: Any = (),
            *,
            delay: float = 0.0,
            headers: Any = None,
            canary: Any = None,
            timeout: Timeout | None = None,
            **settings: Any,
        ) -> Running:
            transport = AsyncFakeTransport(script, delay=delay)
            client = AsyncDeepScanClient(transport=transport, timeout=timeout, retry=RetryPolicy.never())
            made: Settings = read_settings({}, log="off", **settings)
            app = create_app(client, made, canary=canary or {Medium.IMAGE: b"canary"})
            await stack.enter_async_context(app.router.lifespan_context(app))
            while app.state.gateway.health.snapshot()["triton"] == "unknown":  # the first canary
                await asyncio.sleep(0.001)
            asgi = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            http = httpx.AsyncClient(transport=asgi, base_url="http://gateway", headers=headers)
            await stack.enter_async_context(http)
            return Running(app, http, transport)

        yield begin
