"""The inference engine: verdicts in this process, without Triton and without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from cards import ModelRepository, find_repository
from cards.limits import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES
from deepscan_client import ErrorCode, InstallationError, LimitError, MediaError, Medium, RequestError, Verdict
from deepscan_client._media import Recording, Source, read_recording, read_source
from pipelines.audio.analyze import STAGE, VoiceAnalyzer, analyze_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options

DEFAULT_MODEL_DIR = "./trained_models"


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
        if self.medium is not Medium.AUDIO:
            return {"faces": str(len(self.faces))}
        spans = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in self.suspicious)
        return {"duration": f"{self.input.duration_s or 0.0:.1f} s", "suspicious": spans or "none"}


class DeepfakeInferenceEngine:
    """Judges media in this process, with the same stages and networks as the server.

    Same label and reasons as Triton, probability within 1e-4. Networks load at the first file; the engine
    may be used from several threads.

    Args:
        model_dir: a model repository. Where the default ``./trained_models`` does not exist, the shipped
            models are used, and the result's ``notes`` say so.
        threads: networks that run side by side.

    Raises:
        InstallationError: the folder is missing (any but the default) or holds no models.
    """

    def __init__(self, model_dir: str | Path = DEFAULT_MODEL_DIR, *, threads: int = 2) -> None:
        self.notes: tuple[str, ...] = ()
        self.model_dir = self._choose(Path(model_dir))
        self._repository = ModelRepository(self.model_dir)
        if "image_faces" not in self._repository.names():
            raise InstallationError(
                f"{self.model_dir} holds no models for photos",
                code=ErrorCode.MODEL_MISSING,
                remedy="name a model repository, with card.yaml in the folder of each model",
            )
        self._infer = OnnxInfer(self._repository, threads)
        self._analyzer = PhotoAnalyzer(self._repository, self._infer)
        self._judge = PhotoJudge(self._repository)
        self._voice: tuple[VoiceAnalyzer, VoiceJudge] | None = None
        if STAGE in self._repository.names():
            self._voice = VoiceAnalyzer(self._repository, self._infer), VoiceJudge(self._repository)

    def _choose(self, asked: Path) -> Path:
        if asked.is_dir():
            return asked.resolve()
        if asked != Path(DEFAULT_MODEL_DIR):
            raise InstallationError(
                f"there is no folder {asked}",
                code=ErrorCode.MODEL_MISSING,
                remedy=f"name a model repository, or leave model_dir at {DEFAULT_MODEL_DIR!r} for the shipped models",
            )
        shipped = find_repository()
        self.notes = (f"{DEFAULT_MODEL_DIR} does not exist: the shipped models were used",)
        return shipped

    def predict_image(
        self, image: Source, *, confidence_threshold: float | None = None, heatmaps: bool = False
    ) -> EngineVerdict:
        """The verdict on one photo.

        Args:
            image: a path, the bytes of a file, or pixels as UINT8 [height, width, 3] RGB.
            confidence_threshold: 0 to 1, ``fake`` where the probability is at least this; the record's
                operating point where left out.
            heatmaps: add a class-activation map to each face.

        Raises:
            OSError: the file cannot be read.
            InputError: it is no photo that can be judged.
            RequestError: an argument is out of its range.
            InstallationError: a network is missing or damaged.
        """
        options = _options(heatmaps=heatmaps, confidence_threshold=confidence_threshold)
        _check_size(image, MAX_IMAGE_BYTES)
        return self._told(analyze_image(read_source(image), self._analyzer, self._judge, options))

    def predict_audio(
        self, audio: Recording, *, confidence_threshold: float | None = None, analyzers: bool = False
    ) -> EngineVerdict:
        """The verdict on one recording, a second or an hour long.

        Args:
            audio: a path, the bytes of a file (sound alone, or a video with sound), or (samples, rate): float32 of -1
                to 1 or int16, [n] or [n, channels], and hertz.
            confidence_threshold: as for a photo.
            analyzers: measure the voice as well (pitch, jitter, pauses, breaths, speaker drift), as evidence without
                weight.

        Raises:
            OSError: the file cannot be read.
            InputError: it is no recording that can be judged.
            RequestError: an argument is out of its range.
            InstallationError: a network is missing or damaged, or the folder holds no models for recordings.
        """
        options = _options(confidence_threshold=confidence_threshold, analyzers=analyzers)
        if self._voice is None:
            raise InstallationError(
                f"{self.model_dir} holds no models for recordings",
                code=ErrorCode.MODEL_MISSING,
                remedy="name a repository with audio_voice, or train one: deepscan train DATA --family audio",
            )
        if not isinstance(audio, tuple):
            _check_size(audio, MAX_AUDIO_BYTES)
        return self._told(analyze_audio(read_recording(audio), *self._voice, options))

    def _told(self, verdict: Verdict) -> EngineVerdict:
        same: Mapping[str, Any] = {each.name: getattr(verdict, each.name) for each in fields(Verdict)}
        return EngineVerdict(**same, model_dir=str(self.model_dir), notes=self.notes)

    def predict_video(self, video: Source) -> NoReturn:
        """Not in this release.

        Raises:
            MediaError: always, with what to do instead.
        """
        raise _not_in_this_release("video")

    def predict_multimodal(self, video: Source, audio: Source | None = None) -> NoReturn:
        """Not in this release.

        Raises:
            MediaError: always, with what to do instead.
        """
        raise _not_in_this_release("multimodal")

    def close(self) -> None:
        """End the engine's threads."""
        self._infer.close()

    def __enter__(self) -> DeepfakeInferenceEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _options(**asked: Any) -> Options:
    """
    Raises:
        RequestError: a value is out of its range.
    """
    try:
        return Options(**asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"{first['loc'][0]}: {first['msg']}", remedy="confidence_threshold is a number from 0 to 1"
        ) from error


def _check_size(source: object, limit: int) -> None:
    """
    Raises:
        LimitError: a path names a file that is too large to be read at all.
    """
    if isinstance(source, (str, os.PathLike)) and (size := Path(source).stat().st_size) > limit:
        raise LimitError(f"{source} has {size:,} bytes, {limit:,} are allowed", remedy="give a smaller one")


def _not_in_this_release(medium: str) -> MediaError:
    return MediaError(
        f"this release of DeepScan judges photos and recordings, not {medium}",
        code=ErrorCode.UNSUPPORTED,
        remedy="use predict_image, and predict_audio for sound and for the sound track of a video",
    )
