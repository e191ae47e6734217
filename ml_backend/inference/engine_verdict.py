"""What the inference engine answers: a verdict that also says where its models came from."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deepscan_client import Medium, Verdict


@dataclass(frozen=True)
class EngineVerdict(Verdict):
    """A verdict of the engine: also where its models came from. Prints as a summary."""

    model_dir: str = ""
    """The model repository that was used."""
    notes: tuple[str, ...] = ()
    """What the engine decided by itself: that the shipped models were used."""

    def canonical_json(self) -> str:
        """The same bytes as for Triton's verdict on the same photo, up to the rounding of its networks."""
        return Verdict(**{each.name: getattr(self, each.name) for each in fields(Verdict)}).canonical_json()

    def __str__(self) -> str:
        probability = "none" if self.fake_probability is None else f"{self.fake_probability:.4f}"
        if self.interval is not None:
            probability += f" ({self.interval.low:.4f} to {self.interval.high:.4f})"
        weighed = [item for item in self.evidence if item.weight is not None]
        rows = {
            "label": str(self.label),
            "fake_probability": probability,
            "threshold": f"{self.operating_point.threshold:.4f} ({self.operating_point.source})",
            "reasons": ", ".join(map(str, self.reasons)) or "none",
            **self._found(),
            "evidence": ", ".join(f"{item.name} {item.score:+.3f} {item.unit}" for item in weighed) or "none",
            "models": ", ".join(f"{model.name} v{model.version} ({model.record})" for model in self.models),
            "total_ms": f"{self.timing_ms.get('total', 0.0):.1f}",
            "model_dir": self.model_dir,
        }
        if self.notes:
            rows["notes"] = "; ".join(self.notes)
        return "\n".join(f"{name + ':':<18}{value}" for name, value in rows.items())

    def _found(self) -> dict[str, str]:
        """What was there to be judged."""
        if self.medium is Medium.VIDEO:
            seen = ", ".join(f"{track.start_s:.1f} to {track.end_s:.1f} s" for track in self.tracks)
            return {"duration": f"{self.input.duration_s or 0.0:.1f} s", "faces": seen or "none"}
        if self.medium is not Medium.AUDIO:
            return {"faces": str(len(self.faces))}
        spans = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in self.suspicious)
        return {"duration": f"{self.input.duration_s or 0.0:.1f} s", "suspicious": spans or "none"}
