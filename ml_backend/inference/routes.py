"""The end points of the founding document."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from cards.limits import MAX_AUDIO_BYTES, MAX_BATCH_BYTES, MAX_BATCH_FILES, MAX_IMAGE_BYTES, MAX_VIDEO_BYTES
from deepscan_client import DeepScanError, Medium, RequestError, UnavailableError, Verdict
from ml_backend.inference.answers import error_body, json_response
from ml_backend.inference.batch import judge_file
from ml_backend.inference.catalogue import catalogue
from ml_backend.inference.events import EVENT_STREAM, VerdictEvents, while_present
from ml_backend.inference.media_client import Film
from ml_backend.inference.middleware import trace_headers
from ml_backend.inference.schemas import BatchAnswer, error_responses, event_stream, form_schema
from ml_backend.inference.stats import memory
from ml_backend.inference.uploads import (
    BatchForm,
    Form,
    PhotoForm,
    RecordingForm,
    VideoForm,
    check_size,
    read_file,
    shown_name,
)
from ml_backend.inference.verdicts import Asked

if TYPE_CHECKING:
    from ml_backend.inference.app import Gateway

router = APIRouter(prefix="/api")
_BATCH_TOGETHER = 4
"""Files of one batch that ask for a place at the same time, so that a batch does not push others out."""


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Whether media would get a verdict now", responses=error_responses(503))
async def health(request: Request) -> Response:
    """200 where every canary got a verdict; 503 while starting, draining, or without Triton."""
    state = _gateway(request).health
    if (not state.ready or state.doubtful) and not state.draining:
        await state.check()
    answer = state.snapshot()
    if state.ready:
        return json_response(answer)
    error = UnavailableError(
        "the gateway is draining" if state.draining else "Triton does not answer",
        remedy="another instance answers" if state.draining else "wait while it starts; else run: deepscan doctor",
    )
    body = {**answer, "error": error_body(error, request.state.request_id)}
    return json_response(body, 503, {"Retry-After": "1"})


@router.get("/models", summary="Models, versions, licences, measurements")
async def models(request: Request) -> Response:
    """From the cards and records of the repository."""
    gateway = _gateway(request)
    rows = await asyncio.to_thread(catalogue, gateway.repository, gateway.verdicts.records.answered)
    return json_response({"count": len(rows), "models": rows})


@router.get("/stats", summary="Counts, latency, errors, cache, memory")
async def stats(request: Request) -> Response:
    """Since the gateway started; percentiles over the latest 2,048 verdicts."""
    gateway = _gateway(request)
    verdicts, cache = gateway.verdicts, gateway.verdicts.cache
    answer = gateway.stats.snapshot() | {
        "memory": await asyncio.to_thread(memory),
        "cache": {
            "hits": cache.hits,
            "misses": cache.misses,
            "entries": len(cache),
            "bytes": cache.bytes,
            "max_bytes": int(gateway.settings.cache_mb * 1e6),
        },
        "load": {
            "in_flight": verdicts.at_work,
            "waiting": verdicts.waiting,
            "shed": verdicts.shed,
            "uploads": gateway.door.open,
        },
    }
    return json_response(answer)


@router.post(
    "/predict/image",
    summary="Detect a deepfake in one photo",
    response_model=Verdict,
    responses=error_responses(400, 401, 413, 422, 429, 500, 503, 504),
    openapi_extra=form_schema("file", many=False),
)
async def predict_image(request: Request) -> Response:
    """The verdict on the photo in the field ``file``."""
    gateway = _gateway(request)
    gateway.health.refuse_when_closing()
    async with gateway.door.form(request, "file", 1, MAX_IMAGE_BYTES) as form:
        data = await read_file(form.files[0], MAX_IMAGE_BYTES)
        verdict = await gateway.verdicts.judge(Medium.IMAGE, data, _asked(request, form))
    return json_response(verdict.to_dict())


@router.post(
    "/predict/audio",
    summary="Detect a deepfake in one recording",
    response_model=Verdict,
    responses=error_responses(400, 401, 413, 422, 429, 500, 503, 504),
    openapi_extra=form_schema("file", many=False, fields=RecordingForm),
)
async def predict_audio(request: Request) -> Response:
    """The verdict on the recording in the field ``file``: a sound file, or a video with sound."""
    gateway = _gateway(request)
    gateway.health.refuse_when_closing()
    async with (
        gateway.door.form(request, "file", 1, MAX_AUDIO_BYTES, RecordingForm) as form,
        gateway.verdicts.room(form.files[0].size or 0),
    ):
        data = await read_file(form.files[0], MAX_AUDIO_BYTES)
        verdict = await gateway.verdicts.judge(Medium.AUDIO, data, _asked(request, form))
    return json_response(verdict.to_dict())


@router.post(
    "/predict/video",
    summary="Detect a deepfake in one video",
    responses={**event_stream(Verdict), **error_responses(400, 401, 413, 422, 429, 500, 503, 504)},
    openapi_extra=form_schema("file", many=False, fields=VideoForm),
)
async def predict_video(request: Request) -> Response:
    """The verdict on the video in the field ``file``. With ``Accept: text/event-stream`` it is told how far it has been
    seen, so that an hour of video does not time out; a caller who goes away ends the work."""
    gateway = _gateway(request)
    gateway.health.refuse_when_closing()
    async with AsyncExitStack() as held:
        form = await held.enter_async_context(gateway.door.form(request, "file", 1, MAX_VIDEO_BYTES, VideoForm))
        check_size(form.files[0], MAX_VIDEO_BYTES)
        return await _told(request, Medium.VIDEO, Film(form.files[0].file), _asked(request, form), held)


@router.post(
    "/predict/multimodal",
    summary="Detect a deepfake in a video and its sound together",
    responses={**event_stream(Verdict), **error_responses(400, 401, 413, 422, 429, 500, 503, 504)},
    openapi_extra=form_schema("file", many=False, fields=VideoForm, beside="audio"),
)
async def predict_multimodal(request: Request) -> Response:
    """One verdict on the video in the field ``file`` and on its sound: the recording in the field ``audio``, or the
    video's own sound track. The part farthest above its own threshold decides. Told as for a video."""
    gateway = _gateway(request)
    gateway.health.refuse_when_closing()
    most = MAX_VIDEO_BYTES + MAX_AUDIO_BYTES
    async with AsyncExitStack() as held:
        form = await held.enter_async_context(gateway.door.form(request, "file", 2, most, VideoForm, beside="audio"))
        if len(form.files) > 1:
            raise RequestError("two files came as 'file'", remedy="send the video as file and the recording as audio")
        check_size(form.files[0], MAX_VIDEO_BYTES)
        if form.beside is not None:
            check_size(form.beside, MAX_AUDIO_BYTES)
        film = Film(form.files[0].file, None if form.beside is None else form.beside.file)
        return await _told(request, Medium.MULTIMODAL, film, _asked(request, form), held)


async def _told(request: Request, medium: Medium, film: Film, asked: Asked, held: AsyncExitStack) -> Response:
    """The verdict on a video, or the events that end with it; a caller who goes away ends the work.

    Args:
        held: what is closed when the answer has been sent.
    """
    gateway = _gateway(request)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        judging = gateway.verdicts.judge(medium, film, asked)
        return json_response((await while_present(request.receive, judging)).to_dict())

    def failed(error: DeepScanError) -> dict[str, Any]:
        gateway.stats.error(error)
        return {"error": error_body(error, asked.request_id)}

    return await VerdictEvents.begin(
        lambda tell: gateway.verdicts.judge(medium, film, asked, tell=tell), failed, held.pop_all()
    )


@router.post(
    "/batch-predict",
    summary="Detect deepfakes in several photos, recordings and videos",
    response_model=BatchAnswer,
    responses=error_responses(400, 401, 413, 429, 503),
    openapi_extra=form_schema("files", many=True, fields=BatchForm),
)
async def batch_predict(request: Request) -> Response:
    """A verdict or an error for each of the repeated fields ``files``, in order. What each holds is told from its
    bytes, and from its name where they leave it open."""
    gateway = _gateway(request)
    gateway.health.refuse_when_closing()
    async with gateway.door.form(request, "files", MAX_BATCH_FILES, MAX_BATCH_BYTES, BatchForm) as form:
        turns = asyncio.Semaphore(_BATCH_TOGETHER)
        results = await asyncio.gather(
            *(_item(gateway, request, form, index, file, turns) for index, file in enumerate(form.files))
        )
    failed = sum("error" in result for result in results)
    answer = {"request_id": request.state.request_id, "count": len(results), "failed": failed, "results": results}
    return json_response(answer)


async def _item(
    gateway: Gateway, request: Request, form: Form, index: int, file: UploadFile, turns: asyncio.Semaphore
) -> dict[str, Any]:
    """One file of a batch: what is wrong with it concerns no other."""
    result: dict[str, Any] = {"index": index, "filename": shown_name(file)}
    asked = _asked(request, form, f".{index}")
    async with turns:
        try:
            result["verdict"] = (await judge_file(gateway.verdicts, file, asked)).to_dict()
        except DeepScanError as error:
            gateway.stats.error(error)
            result["error"] = error_body(error, asked.request_id)
    return result


def _asked(request: Request, form: Form, suffix: str = "") -> Asked:
    return Asked(
        request_id=request.state.request_id[: 128 - len(suffix)] + suffix,
        heatmaps=isinstance(form.options, (PhotoForm, VideoForm)) and form.options.heatmaps,
        analyzers=isinstance(form.options, (RecordingForm, VideoForm)) and form.options.analyzers,
        num_frames=form.options.num_frames if isinstance(form.options, VideoForm) else None,
        fps=form.options.fps if isinstance(form.options, VideoForm) else None,
        confidence_threshold=form.options.confidence_threshold,
        fresh=form.options.fresh,
        headers=trace_headers(request.headers),
    )
