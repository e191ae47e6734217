"""The inference engine: verdicts in this process, without Triton and without torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cards import ModelRepository, find_repository
from cards.limits import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES, MAX_VIDEO_BYTES
from deepscan_client import ErrorCode, InstallationError, LimitError, Progress, Verdict
from deepscan_client._media import File, Recording, Source, read_recording, read_source
from ml_backend.inference.engine_verdict import EngineVerdict
from pipelines.audio.analyze import STAGE, VoiceAnalyzer, analyze_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options, refused
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.multimodal import Watchers, analyze_multimodal
from pipelines.video.verdict import MODEL as VIDEO
from pipelines.video.verdict import VideoJudge

DEFAULT_MODEL_DIR = "./trained_models"


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
        self._video: tuple[VideoAnalyzer, VideoJudge] | None = None
        if VIDEO in self._repository.names():
            self._video = VideoAnalyzer(self._repository, self._infer), VideoJudge(self._repository)

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

    def _watching(self) -> tuple[VideoAnalyzer, VideoJudge]:
        """Those that judge videos; raises InstallationError where the folder holds no models for them."""
        if self._video is None:
            raise InstallationError(
                f"{self.model_dir} holds no models for videos",
                code=ErrorCode.MODEL_MISSING,
                remedy=f"name a repository with {VIDEO}, or leave model_dir at {DEFAULT_MODEL_DIR!r}",
            )
        return self._video

    def predict_video(
        self,
        video: File,
        *,
        confidence_threshold: float | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> EngineVerdict:
        """The verdict on one video, a second or an hour long.

        Args:
            video: a path, or the bytes of a file.
            confidence_threshold: as for a photo.
            num_frames: frames to judge, spread evenly over the time; ``fps``: frames a second to judge. Five a second
                where neither is given, and in no case more than 300.
            heatmaps: add a heat map of each face in each frame that is judged to its track.
            analyzers: measure the main face's body as well (blinks, gaze, head, lips, pulse), as evidence without
                weight.
            on_progress: called after each stretch of frames with what was seen so far.
            stopped: asked between frames; the work ends with an error once it returns True.

        Raises:
            OSError: the file cannot be read.
            InputError: it is no video that can be judged.
            RequestError: an argument is out of its range.
            CancelledError: ``stopped`` returned True.
            InstallationError: a network is missing or damaged, or the folder holds no models for videos.
        """
        options = _options(
            confidence_threshold=confidence_threshold,
            num_frames=num_frames,
            fps=fps,
            heatmaps=heatmaps,
            analyzers=analyzers,
        )
        watching = self._watching()
        with _as_file(video) as path:
            return self._told(analyze_video(path, *watching, options, on_progress, stopped))

    def predict_multimodal(
        self,
        video: File,
        audio: Recording | None = None,
        *,
        confidence_threshold: float | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> EngineVerdict:
        """The verdict on the pictures and the sound of a video together; whether they are in step is evidence.

        Args:
            video: a path, or the bytes of a file.
            audio: a recording that begins with the video (as for ``predict_audio``), instead of its own sound track.
            confidence_threshold, num_frames, fps, heatmaps, on_progress, stopped: as for a video.
            analyzers: measure the main face's body and the voice as well, as evidence without weight.

        Raises:
            OSError: a file cannot be read.
            InputError: the video, or the recording that was given, cannot be judged.
            RequestError: an argument is out of its range.
            CancelledError: ``stopped`` returned True.
            InstallationError: a network is missing or damaged, or the folder holds no models for videos.
        """
        asked = {"confidence_threshold": confidence_threshold, "num_frames": num_frames, "fps": fps}
        options = _options(**asked, heatmaps=heatmaps, analyzers=analyzers)
        watching = self._watching()
        if audio is not None and not isinstance(audio, tuple):
            _check_size(audio, MAX_AUDIO_BYTES)
        recording = None if audio is None else read_recording(audio)
        watchers = Watchers(watching, self._voice)
        with _as_file(video) as path:
            return self._told(analyze_multimodal(path, watchers, recording, options, on_progress, stopped))

    def close(self) -> None:
        """End the engine's threads."""
        self._infer.close()

    def __enter__(self) -> DeepfakeInferenceEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _as_file(video: File) -> Iterator[Path]:
    """The path of a video; bytes lie in a file for as long as they are judged.

    Raises:
        OSError: there is no such file.
        LimitError: more bytes than are allowed.
        TypeError: neither a path nor bytes.
    """
    if isinstance(video, (str, os.PathLike)):
        _check_size(video, MAX_VIDEO_BYTES)
        yield Path(video)
        return
    if not isinstance(video, (bytes, bytearray, memoryview)):
        raise TypeError(f"give a path or the bytes of a file, not {type(video).__name__}")
    if len(video) > MAX_VIDEO_BYTES:
        raise LimitError(
            f"the video has {len(video):,} bytes, {MAX_VIDEO_BYTES:,} are allowed", remedy="give a smaller one"
        )
    with tempfile.NamedTemporaryFile(prefix="deepscan-") as spooled:
        spooled.write(video)
        spooled.flush()
        yield Path(spooled.name)


def _options(**asked: Any) -> Options:
    """
    Raises:
        RequestError: a value is out of its range.
    """
    try:
        return Options(**asked)
    except ValidationError as error:
        raise refused(error) from error


def _check_size(source: object, limit: int) -> None:
    """
    Raises:
        LimitError: a path names a file that is too large to be read at all.
    """
    if isinstance(source, (str, os.PathLike)) and (size := Path(source).stat().st_size) > limit:
        raise LimitError(f"{source} has {size:,} bytes, {limit:,} are allowed", remedy="give a smaller one")
