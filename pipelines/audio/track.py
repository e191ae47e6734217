"""The sound track of a file: opened by the reader that was recognised, chosen, and with a codec from a closed list.

FFmpeg is told to open nothing else: no other file, no address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from cards.limits import MAX_AUDIO_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.audio.container import READS, Container
from pipelines.mp4_index import check_index

_LOSSLESS = ("flac", "alac", "wavpack", "wmalossless")
_LOSSY = (
    *("mp1", "mp2", "mp3", "aac", "aac_latm", "opus", "vorbis", "speex", "ac3", "eac3", "dts"),
    *("amr_nb", "amr_wb", "gsm", "gsm_ms", "ilbc", "g723_1", "g729", "adpcm_g722", "adpcm_g726", "adpcm_g726le"),
    *("wmav1", "wmav2", "wmapro", "wmavoice", "nellymoser", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"),
    *("pcm_mulaw", "pcm_alaw"),
)


def is_lossy(codec: str) -> bool:
    """Whether a codec, by FFmpeg's canonical name, loses something of the sound."""
    return codec in _LOSSY


def _is_read(name: str) -> bool:
    return name in _LOSSY or name in _LOSSLESS or name.startswith("pcm_")


def _all_decoders() -> Iterator[str]:
    for name in sorted(av.codec.codecs_available):
        try:
            codec = av.codec.Codec(name, "r")
        except ValueError:  # writes only
            continue
        if codec.type == "audio" and _is_read(codec.canonical_name):
            yield name


_OPTIONS = {
    # A reader that wants another file or an address finds no protocol to open it with.
    "protocol_whitelist": "none",
    # Pictures of a video are never decoded, not even to look at them.
    "codec_whitelist": ",".join(_all_decoders()),
}
_PIECE = 1 << 24
_NO_LOOK_INSIDE = {"probesize": "4096"}
"""FFmpeg searches megabytes of 16-bit WAV for DTS and Dolby inside, which takes longer than decoding it: 3.5 ms each
time that 64 kB are looked through, 0.2 ms for these."""


def open_container(file: Any, kind: Container) -> InputContainer:
    """Open a recording with the reader of its kind; the caller closes it.

    Args:
        file: what reads it: ``io.BytesIO``, an open file, or anything with their ``read``, ``seek`` and ``tell``.

    Raises:
        MediaError: corrupt, or cut off before its index.
        LimitError: the index that FFmpeg would make of an MP4 takes too much memory.
    """
    if kind.reader == "mov":
        check_index(file)
        file.seek(0)
    try:
        opened: InputContainer = av.open(
            file,
            mode="r",
            format=kind.reader,
            options=_OPTIONS | (_NO_LOOK_INSIDE if kind.reader in ("wav", "w64") else {}),
            metadata_errors="replace",
        )
        return opened
    except Exception as error:  # a hostile header can raise anything inside
        said = getattr(error, "strerror", None) or str(error)  # without FFmpeg's number and the name that bytes lack
        cut = kind.reader == "mov" and not _has_index(file)
        raise MediaError(
            f"the {kind.name} file " + ("is cut off before its index" if cut else f"cannot be opened: {said[:160]}"),
            code=ErrorCode.TRUNCATED if cut else ErrorCode.CORRUPT,
            remedy="send the whole file" if cut else "open it in a sound program and save it again",
        ) from error


def _has_index(file: Any) -> bool:
    """Whether the box that an MP4 is read by stands anywhere in it; a piece is in memory at a time."""
    file.seek(0)
    end = b""
    while piece := file.read(_PIECE):
        if b"moov" in end + piece:
            return True
        end = piece[-3:]
    return False


def preferred(tracks: Sequence[AudioStream]) -> AudioStream:
    """The sound track that a player plays: the one marked as default, else the first; there is at least one."""
    marked = [track for track in tracks if track.disposition & av.stream.Disposition.default]
    return (marked or list(tracks))[0]


def choose_track(container: InputContainer, kind: Container, notes: list[str]) -> AudioStream:
    """The sound track to judge: the one marked as default, else the first.

    Args:
        container: of the ``kind`` that was recognised.
        notes: gets a line where there are several tracks.

    Raises:
        MediaError: no track, a codec that is not read, or a rate or a number of channels out of range.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise MediaError(
            f"the {kind.name} file has no sound track", code=ErrorCode.NO_SOUND, remedy="send a recording with sound"
        )
    stream = preferred(tracks)
    if len(tracks) > 1:
        notes.append(f"track {tracks.index(stream) + 1} of {len(tracks)} sound tracks")
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else "an unknown codec"
    if context is None or not _is_read(name):
        raise MediaError(f"sound in {name} is not read", code=ErrorCode.UNSUPPORTED, remedy=f"send {READS}")
    if not MIN_SAMPLE_RATE <= context.sample_rate <= MAX_SAMPLE_RATE:
        raise MediaError(
            f"{context.sample_rate:,} samples a second; {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,} are read",
            code=ErrorCode.UNSUPPORTED if context.sample_rate else ErrorCode.CORRUPT,
            remedy="save it again at 16 to 48 kHz",
        )
    if not 1 <= context.channels <= MAX_AUDIO_CHANNELS:
        raise MediaError(
            f"{context.channels} channels; 1 to {MAX_AUDIO_CHANNELS} are read",
            code=ErrorCode.UNSUPPORTED if context.channels else ErrorCode.CORRUPT,
            remedy="save it again in mono or stereo",
        )
    return stream


def declared_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length as the header says, 0 where it does not."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / 1e6)
