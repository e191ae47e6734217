"""What the gateway needs of a client of Triton, and how media are handed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from deepscan_client import Progress, Verdict

Tell = Callable[[Progress], None]
"""Gets the progress of a video."""


@dataclass(frozen=True)
class Film:
    """A video, and the recording that belongs to it where one was sent: files that can be read twice, and are never in
    memory as a whole."""

    video: BinaryIO
    audio: BinaryIO | None = None


Media = bytes | Film
"""Photos and recordings are bytes."""


class MediaClient(Protocol):
    """What the gateway needs of :class:`deepscan_client.AsyncDeepScanClient`."""

    async def detect_image(
        self,
        image: bytes,
        *,
        heatmaps: bool = False,
        confidence_threshold: float | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one photo."""
        ...

    async def detect_audio(
        self,
        audio: bytes,
        *,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one recording."""
        ...

    async def detect_video(
        self,
        video: BinaryIO,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one video."""
        ...

    async def detect_multimodal(
        self,
        video: BinaryIO,
        audio: BinaryIO | None = None,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge the pictures and the sound of one video together."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...
