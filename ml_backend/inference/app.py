"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cards import ModelRepository
from deepscan_client import DeepScanError, Medium
from ml_backend.inference import routes
from ml_backend.inference.answers import error_response, from_http_status
from ml_backend.inference.cache import RecordBook
from ml_backend.inference.guard import Guard
from ml_backend.inference.health import Health
from ml_backend.inference.media_client import MediaClient
from ml_backend.inference.middleware import Around
from ml_backend.inference.pages import index
from ml_backend.inference.settings import Settings
from ml_backend.inference.stats import Stats
from ml_backend.inference.uploads import UploadDoor
from ml_backend.inference.verdicts import Verdicts
from serving.canary import canaries


@dataclass(frozen=True)
class Gateway:
    """The parts of one gateway; ``app.state.gateway``."""

    settings: Settings
    repository: ModelRepository
    stats: Stats
    guard: Guard
    verdicts: Verdicts
    health: Health
    door: UploadDoor

    @property
    def busy(self) -> bool:
        """Whether uploads or files are at work."""
        return bool(self.door.open or self.verdicts.at_work or self.verdicts.waiting)


def create_app(
    client: MediaClient,
    settings: Settings | None = None,
    repository: ModelRepository | None = None,
    canary: Mapping[Medium, bytes] | None = None,
) -> FastAPI:
    """The gateway over a client.

    Args:
        client: speaks to Triton; closed when the application ends.
        settings: limits, keys, cache; the defaults where left out.
        repository: cards and records; that of ``settings.models``, else the shipped one.
        canary: what health is judged by; a file of each medium that the repository serves where left out.
    """
    settings = settings or Settings()
    repository = repository or ModelRepository(settings.models)
    stats = Stats()
    verdicts = Verdicts(client, settings, stats, RecordBook(repository.root))
    gateway = Gateway(
        settings=settings,
        repository=repository,
        stats=stats,
        guard=Guard(settings),
        verdicts=verdicts,
        health=Health(verdicts, canaries(repository.names()) if canary is None else canary, settings.canary_seconds),
        door=UploadDoor(settings.uploads, settings.upload_seconds),
    )
    _gauges(gateway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(gateway.health.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await verdicts.close()

    app = FastAPIOffline(
        redoc_url=None,
        title="DeepScan",
        version="1",
        description="Tells whether a photo, a recording or a video was synthesised or manipulated, and shows why. "
        "See docs/rest.md.",
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    app.include_router(_pages(gateway))
    app.include_router(routes.router)
    app.add_exception_handler(DeepScanError, _typed_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _http_error)
    app.add_middleware(Around, guard=gateway.guard, stats=stats, json_log=settings.log == "json")
    return app


def _pages(gateway: Gateway) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def root(request: Request) -> Response:
        return index(request.scope.get("root_path", ""), gateway.guard.asks_for_keys)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(gateway.stats.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _typed_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DeepScanError)
    request.app.state.gateway.stats.error(error)
    return error_response(error, request.state.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such page, wrong method, a parameter of the wrong type."""
    status, detail, headers = 400, str(error), None
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        detail = str(error.detail or HTTPStatus(status).phrase)
    typed = from_http_status(status, detail, request.url.path)
    request.app.state.gateway.stats.error(typed)
    return error_response(typed, request.state.request_id, status, headers)


def _gauges(gateway: Gateway) -> None:
    stats, verdicts = gateway.stats, gateway.verdicts
    stats.gauge("deepscan_ready", "1 where the canaries got a verdict", lambda: float(gateway.health.ready))
    stats.gauge("deepscan_in_flight", "Files that Triton works on", lambda: verdicts.at_work)
    stats.gauge("deepscan_waiting", "Files that wait for their turn", lambda: verdicts.waiting)
    stats.gauge("deepscan_uploads", "Bodies that are being received", lambda: gateway.door.open)
    stats.gauge("deepscan_cache_entries", "Verdicts in the cache", lambda: len(verdicts.cache))
    stats.gauge("deepscan_cache_bytes", "Bytes of the verdict cache", lambda: verdicts.cache.bytes)
    stats.gauge("deepscan_cache_hits", "Verdicts answered from the cache", lambda: verdicts.cache.hits)
    stats.gauge("deepscan_cache_misses", "Verdicts that the cache did not have", lambda: verdicts.cache.misses)
