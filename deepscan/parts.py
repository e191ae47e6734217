"""Which part of a verdict on pictures and sound together decided."""

from __future__ import annotations

from deepscan_client import Medium, Verdict


def deciding_part(verdict: Verdict) -> str | None:
    """``pictures`` or ``sound``, whose probability and timeline are those of the whole; None where there was no
    sound or nothing could be scored, and of other media."""
    if verdict.medium is not Medium.MULTIMODAL:
        return None
    parts = (item for item in verdict.evidence if item.unit == "probability")
    return next((item.name for item in parts if item.score == verdict.fake_probability), None)
