"""The options that travel with a request as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cards.limits import MAX_JUDGED_FRAMES, MAX_OPTIONS_BYTES
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
    fps: float | None = Field(default=None, gt=0.0, le=240.0, allow_inf_nan=False)
    """Frames a second of a video to judge instead, as far as the limit of frames allows; not with ``num_frames``."""
    request_id: str = Field(default="", max_length=128)

    @model_validator(mode="after")
    def _one_rate(self) -> Options:
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("give num_frames or fps, not both")
        return self


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
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "options"
        raise RequestError(
            f"{field}: {first['msg']}",
            remedy="options are a JSON object with heatmaps, analyzers, confidence_threshold (0 to 1), request_id, and "
            f"for a video num_frames (1 to {MAX_JUDGED_FRAMES}) or fps",
        ) from error
