"""Clips of one talking face at 720p, made from the samples, and an hour of them.

The sample portrait sways while the sample voices speak: nothing is of data that we do not ship. An hour is one clip
again and again, copied packet by packet without being encoded anew.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings import read_speech, speech_files
from pipelines.audio.source import RATE, Samples

PHOTO = Path(__file__).resolve().parent.parent / "samples" / "astronaut.jpg"
SIZE, FPS = (1280, 720), 25
_FACE, _ZOOM = (225, 120), 2.2
"""Middle of the face in the portrait in pixels; its face is some 230 px wide in the clip."""
_PIECE = RATE // 50
"""Samples of one frame of sound."""


def portrait(place: int, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frame ``place``, UINT8 [720, 1280, 3]."""
    matrix = cv2.getRotationMatrix2D(_FACE, 4 * np.sin(place / 27), _ZOOM)
    shift = np.array([SIZE[0] / 2 - _FACE[0] + 12 * np.sin(place / 19), SIZE[1] / 2 - _FACE[1]])
    matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + shift])
    return np.asarray(cv2.warpAffine(photo, matrix, SIZE, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def write_film(path: Path, seconds: float, sound: bool = True, keys: int = 250) -> None:
    """H.264 at 25 frames a second, with Opus: its frames of 20 ms fill a whole number of seconds.

    Args:
        path: where; seconds: its length.
        sound: whether somebody speaks in it.
        keys: frames from one key frame to the next.
    """
    photo = np.asarray(cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB), dtype=np.uint8)
    voice = read_speech(speech_files(), seconds)[: round(seconds * RATE)] if sound else None
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "26"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.gop_size = keys
        audio: Any = None if voice is None else container.add_stream("libopus", rate=RATE, layout="mono")
        for place in range(round(FPS * seconds)):
            frame = av.VideoFrame.from_ndarray(portrait(place, photo), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if voice is not None:
            _speak(container, audio, voice)


def _speak(container: Any, audio: Any, voice: Samples) -> None:
    for start in range(0, len(voice), _PIECE):
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(voice[None, start : start + _PIECE]), "flt", "mono")
        piece.sample_rate, piece.pts, piece.time_base = RATE, start, Fraction(1, RATE)
        container.mux(audio.encode(piece))
    container.mux(audio.encode(None))


def write_loop(source: Path, target: Path, seconds: float) -> None:
    """A film again and again until it is ``seconds`` long, without a new encoding: memory holds one packet.

    Args:
        source: of :func:`write_film`, a whole number of seconds long.
    """
    with av.open(str(source)) as first:
        length = round((first.duration or 0) / av.time_base)
    with av.open(str(target), "w") as out:
        streams: dict[int, Any] = {}
        for turn in range(max(1, round(seconds / length))):
            with av.open(str(source)) as container:
                for stream in container.streams:
                    if stream.index not in streams:
                        streams[stream.index] = out.add_stream_from_template(stream)
                for packet in container.demux():
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    if packet.pts * packet.time_base > length - Fraction(1, 50) and packet.stream.type == "audio":
                        continue  # what ends the sound would lie over what begins it in the next turn
                    shift = round(turn * length / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
