"""What OpenAPI says of bodies that are read and written by hand."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from cards.limits import MAX_BATCH_FILES, MAX_JUDGED_FRAMES
from deepscan_client import Verdict
from ml_backend.inference.uploads import MediaForm, PhotoForm
from pipelines.options import Options


class ErrorInfo(BaseModel):
    """What went wrong, why, and what to do."""

    code: str
    message: str
    remedy: str
    request_id: str | None


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorInfo


class BatchItem(BaseModel):
    """One file of a batch: a verdict or an error."""

    index: int
    filename: str
    verdict: Verdict | None = None
    error: ErrorInfo | None = None


class BatchAnswer(BaseModel):
    """Every file of a batch, in the order in which it was sent."""

    request_id: str
    count: int
    failed: int
    results: list[BatchItem]


_OPTIONS: dict[str, Any] = {
    "confidence_threshold": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "fake where the probability is at least this; left out: the record's operating point",
    },
    "heatmaps": {"type": "boolean", "default": False, "description": "add a heat map to each face"},
    "analyzers": {
        "type": "boolean",
        "default": False,
        "description": "measure a recording's voice, or a video's main face, as well: evidence without weight",
    },
    "num_frames": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_JUDGED_FRAMES,
        "description": "frames of a video to judge, spread evenly over its time; left out: five a second",
    },
    "fps": {
        **Options.model_json_schema()["properties"]["fps"]["anyOf"][0],
        "description": "frames a second of a video to judge instead of num_frames, as far as "
        f"{MAX_JUDGED_FRAMES} frames allow",
    },
    "fresh": {"type": "boolean", "default": False, "description": "ask the models even where the verdict is cached"},
}
_FILE = {"type": "string", "format": "binary"}


def form_schema(
    field: str, many: bool, fields: type[MediaForm] = PhotoForm, beside: str | None = None
) -> dict[str, Any]:
    """``openapi_extra`` of an end point that takes a form; ``beside`` names a second file that may be sent."""
    options = {name: _OPTIONS[name] for name in _OPTIONS if name in fields.model_fields}
    file = {"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAX_BATCH_FILES} if many else _FILE
    second = {} if beside is None else {beside: _FILE}
    schema = {"type": "object", "required": [field], "properties": {field: file, **second, **options}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def event_stream(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    """``responses`` of an end point that answers with JSON, or with events where the caller accepts them."""
    told = (
        "with Accept: text/event-stream: events named progress (deepscan_client.Progress as JSON), then one verdict "
        "(the same JSON as without events) or error (the same body as every error)"
    )
    return {
        200: {"model": model, "content": {"text/event-stream": {"schema": {"type": "string", "description": told}}}}
    }


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` for these statuses, all with the same body."""
    return {status: {"model": ErrorAnswer} for status in statuses}
