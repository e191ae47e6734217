"""The sound track of a video on the clock of its pictures."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.audio.source import RATE, Samples, decode_audio
from pipelines.audio.track import preferred
from pipelines.video.leaving import checker
from pipelines.video.opening import check_file
from pipelines.video.packets import picture_track


def sound_delay(path: Path | str) -> float:
    """Seconds from the first frame of a video to the first sample of its sound; negative where the sound is first.

    Raises:
        MediaError: it does not open, or has no picture or no sound.
        LimitError: it has too many bytes, or its index would.
    """
    formats = check_file(Path(path), checker(None))
    try:
        with (
            Path(path).open("rb") as handle,
            av.open(
                handle,
                mode="r",
                options={"format_whitelist": formats, "protocol_whitelist": "file"},
                metadata_errors="replace",
            ) as container,
        ):
            pictures = picture_track(container)
            if pictures is None or not container.streams.audio:
                raise MediaError(
                    "the video has no sound track", code=ErrorCode.NO_SOUND, remedy="send a video with sound"
                )
            starts = [
                (stream.start_time or 0) * float(stream.time_base or 0)
                for stream in (pictures, preferred(container.streams.audio))
            ]
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(
            "the video does not open", code=ErrorCode.CORRUPT, remedy="send a file that a player can play"
        ) from error
    return float(starts[1] - starts[0])


def known_delay(delay: float) -> float:
    """What :func:`sound_delay` said, as far as it is believed: more than a minute is cut to a minute."""
    return float(np.clip(delay, -60.0, 60.0))


def on_picture_clock(samples: Samples, delay: float) -> Samples:
    """Samples from the moment of the first frame on: silence is put before, or what comes earlier is cut.

    Args:
        samples: [n], 16 kHz mono; delay: what :func:`sound_delay` said.
    """
    shift = round(known_delay(delay) * RATE)
    if shift >= 0:
        return np.concatenate([np.zeros(shift, np.float32), samples])
    return samples[-shift:]


def sound_of(path: Path | str) -> Samples:
    """The whole sound track of a short clip, 16 kHz mono, from the moment of the first frame on.

    Raises:
        MediaError, LimitError: there is none, it does not decode, or it is too long.
    """
    samples, _ = decode_audio(Path(path).read_bytes())
    return on_picture_clock(samples, sound_delay(path))
