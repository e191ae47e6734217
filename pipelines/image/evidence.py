"""What the stages before the verdict found in a photo; crosses from one Triton model to the next as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FaceEvidence(BaseModel):
    """One face: where it is, how well it can be seen, and the raw logit of each network."""

    model_config = ConfigDict(frozen=True)

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the decoded photo."""
    score: float
    landmarks: tuple[tuple[float, float], ...]
    sharpness: float
    logits: dict[str, float]
    novelty: float | None = None
    """Distance of the embedding over its record's threshold: above 1 the face is out of distribution."""
    heatmap: list[list[float]] | None = None
    to_photo: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


class PhotoEvidence(BaseModel):
    """All faces of a photo, largest first, and which weights spoke."""

    model_config = ConfigDict(frozen=True)

    faces: tuple[FaceEvidence, ...]
    cut: bool = False
    """True where more faces were found than are judged."""
    weights: dict[str, str] = {}
    """Network: sha256 of the weights that ran, from its RECORD output."""
    decode_ms: float = 0.0
    """From the end of the probe to the start of this stage."""
    detect_ms: float = 0.0
    align_ms: float = 0.0
    networks_ms: float = 0.0
