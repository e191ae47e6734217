"""The gateway's settings and the environment variables that they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from deepscan_client._transport import Address
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError

PREFIX = "DEEPSCAN_"
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|second|m|minute|h|hour)")
_SECONDS = {"s": 1.0, "second": 1.0, "m": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}


class RateLimit(BaseModel):
    """So many requests in so many seconds, for each caller."""

    model_config = ConfigDict(frozen=True)

    requests: float = Field(ge=1)
    seconds: float = Field(gt=0)


class Settings(BaseModel):
    """Everything an operator can turn. Each field is the variable ``DEEPSCAN_<FIELD>`` in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; only this machine by default."""
    port: int = Field(default=5000, ge=0, le=65535)
    triton: str | None = None
    """``host:port`` of Triton's gRPC; left out: a healthy one on 127.0.0.1:8001, else one is started."""
    models: str | None = None
    """The model repository whose cards and records ``/api/models`` shows."""
    api_keys: tuple[str, ...] = ()
    """Keys that callers must show, separated by commas; none: no key is asked for."""
    rate_limit: RateLimit | None = None
    """For example ``60/minute``, for each key or address; none: no limit."""
    deadline: float = Field(default=30.0, gt=0, le=600, allow_inf_nan=False)
    """Seconds that one photo may take, waiting included."""
    recording_deadline: float = Field(default=300.0, gt=0, le=7200, allow_inf_nan=False)
    """Seconds that one recording may take, waiting included; an hour of sound is about a minute of work."""
    video_deadline: float = Field(default=1800.0, gt=0, le=14_400, allow_inf_nan=False)
    """Seconds that one video may take, waiting included."""
    in_flight: int = Field(default=8, ge=1, le=1024)
    """Photos that Triton works on at the same time."""
    recordings: int = Field(default=4, ge=1, le=1024)
    """Recordings that Triton works on at the same time, of which one may be large."""
    videos: int = Field(default=4, ge=1, le=1024)
    """Videos that Triton works on at the same time."""
    queue: int = Field(default=32, ge=0, le=100_000)
    """Photos, recordings, and videos, that may wait for their turn; the next is answered 429."""
    uploads: int = Field(default=64, ge=1, le=10_000)
    """Request bodies that are being received at the same time; the next is answered 429."""
    upload_seconds: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Seconds that a body may take to arrive."""
    cache_mb: float = Field(default=32.0, ge=0, le=65536, allow_inf_nan=False)
    """Size of the verdict cache; 0 switches it off."""
    cache_seconds: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    """How long a verdict is kept."""
    canary_seconds: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Time between two canary photos."""
    drain_seconds: float = Field(default=0.0, ge=0, le=600, allow_inf_nan=False)
    """After SIGTERM, how long photos are still taken while health already says 503."""
    log: Literal["text", "json", "off"] = "text"
    """How the access log is written."""

    @field_validator("triton")
    @classmethod
    def _speaks_grpc(cls, value: str | None) -> str | None:
        if value and Address.parse(value).scheme != "grpc":
            raise ValueError("videos and progress need Triton's gRPC: write host:8001")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(key.strip() for key in value.split(",") if key.strip())
        if any(len(key) < 8 for key in value):
            raise ValueError("a key needs 8 characters or more")
        return value

    @field_validator("rate_limit", mode="before")
    @classmethod
    def _parse_rate(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _RATE.fullmatch(value.strip())
        if match is None:
            raise ValueError("write it as 10/second, 60/minute or 500/hour")
        return RateLimit(requests=float(match[1]), seconds=_SECONDS[match[2]])


def read_settings(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Settings from the environment; what is ``given`` and not None goes before it.

    Raises:
        InstallationError: a value is wrong; the message names its variable.
    """
    source = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        text = source.get(PREFIX + name.upper(), "").strip()
        if text:
            values[name] = text
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "settings"
        # The value is left out of the message: it may be a key.
        raise InstallationError(
            f"{PREFIX}{field.upper()}: {first['msg']}",
            code=ErrorCode.ENVIRONMENT,
            remedy="docs/rest.md lists the variables and their values",
        ) from None
