"""A real photo, recording and video through the public models prove that the whole chain answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deepscan_client import DeepScanClient, DeepScanError, Medium, RetryPolicy, Timeout

PHOTO = Path(__file__).with_name("canary.jpg")
RECORDING = Path(__file__).with_name("canary.flac")
VIDEO = Path(__file__).with_name("canary.mp4")
VIDEO_FRAMES = 2
"""Frames of the video that are judged: the models take requests for so few past the long ones."""
PUBLIC: dict[Medium, tuple[str, ...]] = {
    Medium.IMAGE: ("deepfake_image",),
    Medium.AUDIO: ("deepfake_audio", "deepfake_audio_stream"),
    Medium.VIDEO: ("deepfake_video", "video_upload"),
    Medium.MULTIMODAL: ("deepfake_multimodal", "video_upload"),
}
"""The models that a client asks about each medium; a canary goes to the first."""
_FILES = {Medium.IMAGE: PHOTO, Medium.AUDIO: RECORDING, Medium.VIDEO: VIDEO}


def canaries(models: Iterable[str]) -> dict[Medium, bytes]:
    """The canary of each medium whose public model is among these."""
    names = set(models)
    return {medium: path.read_bytes() for medium, path in _FILES.items() if PUBLIC[medium][0] in names}


def sing(grpc_url: str, seconds: float, media: Iterable[Medium] = (Medium.IMAGE,)) -> None:
    """One canary request for each medium. Only a verdict on a face, on a voice and on a face in a video is a good
    answer, because only then did every model run.

    Raises:
        DeepScanError: there was none.
    """
    timeout = Timeout(request=seconds, recording=seconds, video=seconds)
    with DeepScanClient(grpc_url, timeout=timeout, retry=RetryPolicy(attempts=1)) as client:
        for medium in media:
            if medium is Medium.AUDIO:
                found = client.detect_audio(RECORDING, request_id="canary").fake_probability is not None
            elif medium is Medium.VIDEO:
                found = bool(client.detect_video(VIDEO, num_frames=VIDEO_FRAMES, request_id="canary").tracks)
            else:
                found = bool(client.detect_image(PHOTO, request_id="canary").faces)
            if not found:
                what = {Medium.AUDIO: "voice", Medium.VIDEO: "face in the video"}.get(medium, "face")
                raise DeepScanError(f"the {what} of the canary was not found", remedy="run: deepscan doctor")
