"""Pictures and sound of one request, judged side by side and joined as :mod:`pipelines.video.multimodal` does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile

from cards.limits import MAX_AUDIO_BYTES
from deepscan_client import Medium, Verdict
from deepscan_client.errors import InputError
from ml_backend.inference.uploads import read_file
from ml_backend.inference.verdicts import Asked
from pipelines.video.multimodal import join

if TYPE_CHECKING:
    from ml_backend.inference.app import Gateway

_TOO_LARGE = "the file is too large to read its sound track from: send the sound in the field audio"


async def judge_together(gateway: Gateway, video: UploadFile, audio: UploadFile | None, asked: Asked) -> Verdict:
    """One verdict on a video and its sound.

    Args:
        gateway: judges the parts.
        video: the file; audio: a recording that belongs to it, the video's own sound track where left out.
        asked: options of both parts.

    Raises:
        DeepScanError: the video, or the recording that was sent, cannot be judged. A sound track that cannot be judged
            is named in the verdict's notes instead.
    """
    if audio is None and (video.size or 0) > MAX_AUDIO_BYTES:
        return join(await gateway.verdicts.judge(Medium.VIDEO, video.file, asked), None, _TOO_LARGE)
    source = video if audio is None else audio
    async with gateway.verdicts.room(source.size or 0, patient=True):
        data = await read_file(source, MAX_AUDIO_BYTES)
        await source.seek(0)
        seen, heard = await asyncio.gather(
            gateway.verdicts.judge(Medium.VIDEO, video.file, asked),
            gateway.verdicts.judge(Medium.AUDIO, data, replace(asked, num_frames=None)),
            return_exceptions=True,  # so that neither part is left at work behind an error of the other
        )
    if isinstance(seen, BaseException):
        raise seen
    if isinstance(heard, InputError) and audio is None:
        return join(seen, None, f"the sound track was not judged: {heard.message}")
    if isinstance(heard, BaseException):
        raise heard
    return join(seen, heard)
