"""One file of a batch: what it holds is told from its bytes, and it is judged as that."""

from __future__ import annotations

from starlette.datastructures import UploadFile

from cards.limits import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES
from deepscan_client import ErrorCode, MediaError, Medium, Verdict
from ml_backend.inference.media_client import Film
from ml_backend.inference.uploads import read_file
from ml_backend.inference.verdicts import Asked, Verdicts
from pipelines.media import HEAD, medium_of_bytes


async def judge_file(verdicts: Verdicts, file: UploadFile, asked: Asked) -> Verdict:
    """The verdict on one file. What was taken for a photo and moves is judged as a video: a GIF may tell it only behind
    the bytes that are looked at, and a caller of a batch does not choose the end point.

    Raises:
        DeepScanError: typed by what the caller can do.
    """
    medium = await _medium_of(file)
    if medium is not Medium.VIDEO:
        try:
            async with verdicts.room(file.size or 0, patient=True):
                data = await read_file(file, MAX_AUDIO_BYTES if medium is Medium.AUDIO else MAX_IMAGE_BYTES)
                return await verdicts.judge(medium, data, asked, patient=True)
        except MediaError as error:
            if error.code is not ErrorCode.ANIMATED:
                raise
    return await verdicts.judge(Medium.VIDEO, Film(file.file), asked, patient=True)


async def _medium_of(file: UploadFile) -> Medium:
    """Image, audio or video; what is none of them is for the photo's probe to name."""
    head = await file.read(HEAD)
    await file.seek(0)
    return medium_of_bytes(head, file.filename or "") or Medium.IMAGE
