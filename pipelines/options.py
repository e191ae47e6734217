"""The options that travel with a request as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cards.limits import MAX_JUDGED_FPS, MAX_JUDGED_FRAMES, MAX_OPTIONS_BYTES
from deepscan_client.errors import RequestError


class Options(BaseModel):
    """What a caller may ask for; an unknown option is an error, so that a typing mistake is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heatmaps: bool = False
    """Add a heat map to each face of a photo, or of each frame of a video that is judged. It costs a video one more
    network, about 15 ms of one core for each face and frame."""
    analyzers: bool = False
    """Measure a recording's voice (pitch, jitter, pauses, breaths, speaker drift), or the body of a video's main face
    (blinks, gaze, head, lips, pulse), as well: evidence without weight. It costs about 20 ms for 4 s of sound, and for
    a face some 12 ms of one core for each native frame of at most 20 s."""
    confidence_threshold: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    """``fake`` where ``fake_probability`` is at least this; the record's operating point where left out."""
    num_frames: int | None = Field(default=None, ge=1, le=MAX_JUDGED_FRAMES)
    """Frames of a video to judge, spread evenly over its time; five a second where left out."""
    fps: float | None = Field(default=None, gt=0.0, le=MAX_JUDGED_FPS, allow_inf_nan=False)
    """Frames a second of a video to judge instead, as far as the limit of frames allows; not with ``num_frames``."""
    request_id: str = Field(default="", max_length=128)

    @field_validator("confidence_threshold", "num_frames", "fps", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        if isinstance(value, bool):  # which Pydantic takes for 0 or 1
            raise ValueError("is a number, not true or false")
        return value

    @model_validator(mode="after")
    def _one_rate(self) -> Options:
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("give num_frames or fps, not both")
        return self


RANGES = (
    f"confidence_threshold is a number of 0 to 1, num_frames a whole number of 1 to {MAX_JUDGED_FRAMES} or fps a "
    f"number above 0 to {MAX_JUDGED_FPS:g}, the others are true or false"
)
"""What options may be, for the remedy of an error."""
_NAMES = re.compile(rf"\b({'|'.join(Options.model_fields)})\b")


def parse_options(text: bytes | str | None) -> Options:
    """Options from the JSON of a request; defaults where there is none.

    Raises:
        RequestError: not JSON, an unknown option, or a value outside its range.
    """
    if not text:
        return Options()
    if len(text) > MAX_OPTIONS_BYTES:
        raise RequestError(
            f"the options have {len(text)} bytes, {MAX_OPTIONS_BYTES} are allowed",
            remedy="send only heatmaps, analyzers, confidence_threshold, num_frames, fps and request_id",
        )
    try:
        return Options.model_validate_json(text)
    except ValidationError as error:
        raise refused(error, f"options are a JSON object: {RANGES}; request_id is a text") from error


def refused(
    error: ValidationError, remedy: str = RANGES, whole: str = "options", spelled: Callable[[str], str] = str
) -> RequestError:
    """The first thing that is wrong with options, in words.

    Args:
        error: of :class:`Options`, or of a form that holds some of them.
        remedy: what to do about it.
        whole: what stands for an option's name where several contradict each other; nothing where it is empty.
        spelled: an option's name as the caller writes it.
    """
    first = error.errors()[0]
    place = ".".join(spelled(str(part)) for part in first["loc"])[:60] or whole
    said = _NAMES.sub(lambda name: spelled(name.group()), first["msg"].removeprefix("Value error, "))
    return RequestError(f"{place}: {said}" if place else said, remedy=remedy)
