"""What was heard in a recording, before anything is concluded; crosses from one Triton model to the next as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from deepscan_client.verdict import Evidence
from pipelines.audio.quality import SoundQuality


class VoiceEvidence(BaseModel):
    """The windows of a recording in their order, what each network said of them, and how the sound is.

    Columns instead of a list of windows, because an hour has some 1,200 of them. ``start_s``, ``speech_s`` and every
    list in ``logits`` have one entry for each window.
    """

    model_config = ConfigDict(frozen=True)

    start_s: tuple[float, ...]
    """Begin of each window, seconds."""
    speech_s: tuple[float, ...]
    """Seconds of speech in each window: how much it counts."""
    logits: dict[str, tuple[float, ...]]
    """Network: its raw logit of each window."""
    novelty: tuple[float, ...] | None = None
    """Distance of each window's embedding over its record's threshold; above 1 the window is out of distribution."""
    step_s: float = 0.0
    """Seconds from one local value to the next."""
    local: dict[str, tuple[float | None, ...]] = {}
    """Network: its raw local log-odds, the n-th for the step that begins at ``n * step_s``; None where nobody speaks
    or no window lies. Windows that overlap are averaged."""
    quality: SoundQuality
    consistency: tuple[Evidence, ...] = ()
    """What the voice-consistency analyzer measured, without a weight."""
    weights: dict[str, str] = {}
    """Network: sha256 of the weights that ran, from its RECORD output."""
    decode_ms: float = 0.0
    speech_ms: float = 0.0
    """Voice activity and the measures of the sound."""
    networks_ms: float = 0.0
    consistency_ms: float = 0.0
