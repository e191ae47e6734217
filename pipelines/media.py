"""What a file holds, told from its bytes and, where they leave it open, from its name. Nothing is decoded."""

from __future__ import annotations

import re
from pathlib import PurePath

from deepscan_client.codes import Medium

HEAD = 4096
"""First bytes that :func:`sniff` needs of most files."""
_EXTENSIONS = {
    Medium.IMAGE: "jpg jpeg jpe jfif png webp avif heic heif tif tiff bmp dib gif mpo",
    Medium.VIDEO: "mp4 m4v mov mkv webm avi mpg mpeg ts flv wmv 3gp",
    Medium.AUDIO: "wav w64 flac mp3 ogg oga opus m4a m4b aac amr aif aiff au caf weba mka wma",
}
_BY_EXTENSION = {f".{name}": medium for medium, names in _EXTENSIONS.items() for name in names.split()}
_PICTURE_BRANDS = (b"avif", b"heic", b"heix", b"heif", b"mif1")
_MOVING_BRANDS = (b"avis", b"msf1", b"hevc", b"hevx")
"""AVIF and HEIF whose pictures are a track (ISO/IEC 23008-12): the still beside it is the first of them."""
_SOUND_HEADS = (b"OggS", b"fLaC", b"ID3", b"#!AMR", b".snd", b"caff", b"riff\x2e\x91\xcf\x11")
_TRACK = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
"""ISO/IEC 14496-12: the handler of a track."""
_CODEC = re.compile(rb"\x86[\x80-\xff]([AV])_[A-Z0-9]")
"""Matroska's CodecID with its length: A_OPUS, V_VP9, …"""


def medium_by_name(name: str) -> Medium | None:
    """What the end of a name says."""
    return _BY_EXTENSION.get(PurePath(name).suffix.lower())


def medium_of_bytes(data: bytes, name: str = "") -> Medium | None:
    """What a file holds.

    Args:
        data: the whole file, or its first :data:`HEAD` bytes.
        name: decides where the bytes say nothing, and whether a container of video holds sound alone.
    """
    found, named = sniff(data), medium_by_name(name)
    if found is Medium.VIDEO and named is Medium.AUDIO:
        return Medium.AUDIO
    return found or named


def sniff(head: bytes) -> Medium | None:
    """The medium of a file by its first bytes; more of them tell sound in a container of video from video. A picture
    that moves is a video."""
    if _moves(head):
        return Medium.VIDEO
    if head[:3] == b"\xff\xd8\xff" or head[:8] == b"\x89PNG\r\n\x1a\n" or head[:6] in (b"GIF87a", b"GIF89a"):
        return Medium.IMAGE
    if head[:4] in (b"II*\0", b"MM\0*") or (head[:2] == b"BM" and head[6:10] == bytes(4)):
        return Medium.IMAGE
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return {b"WEBP": Medium.IMAGE, b"AVI ": Medium.VIDEO, b"WAVE": Medium.AUDIO}.get(head[8:12])
    if head[:4] == b"FORM":
        return Medium.AUDIO if head[8:12] in (b"AIFF", b"AIFC") else None
    if head[4:8] == b"ftyp":
        return _boxes(head)
    if head[:4] == b"\x1aE\xdf\xa3":
        kinds = set(_CODEC.findall(head))
        return Medium.AUDIO if kinds == {b"A"} else Medium.VIDEO
    if head.startswith(_SOUND_HEADS):
        return Medium.AUDIO
    return Medium.AUDIO if _mpeg_frame(head) else None


def begins_like_video(head: bytes) -> bool:
    """Whether a file begins as MP4, MOV, MKV, WebM or AVI do, whatever comes after; 12 bytes are enough."""
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def _moves(head: bytes) -> bool:
    """Whether a WebP, a PNG, a GIF or an AVIF says that it is animated.

    WebP: the flag of its extended header. PNG: the chunk acTL before the first picture. AVIF: its brand. GIF: how often
    it is repeated, how long its first picture is shown, or a second picture.
    """
    if head[4:8] == b"ftyp":
        return head[8:12] in _MOVING_BRANDS
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return bool(head[20:21] and head[20] & 2)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return b"acTL" in head.partition(b"IDAT")[0]
    if head[:6] not in (b"GIF87a", b"GIF89a"):
        return False
    start = head[:HEAD]
    shown = start.partition(b"\x21\xf9\x04")[2][1:3]  # graphic control: flags, then hundredths of a second
    timed = b"NETSCAPE2.0" in start or b"ANIMEXTS1.0" in start or any(shown)
    return (head[:6] == b"GIF89a" and timed) or _second_picture(head)


def _second_picture(gif: bytes) -> bool:
    """Whether a GIF, as far as it is given, begins a second picture. Its blocks are walked, nothing is decoded."""

    def number(place: int) -> int:
        return gif[place] if place < len(gif) else 0

    def colours(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 128 else 0

    place, pictures = 13 + colours(number(10)), 0
    while place < len(gif):
        if gif[place] == 0x2C:
            pictures += 1
            if pictures == 2:
                return True
            place += 11 + colours(number(place + 9))
        elif gif[place] == 0x21:
            place += 2
        else:
            return False
        while number(place):
            place += number(place) + 1
        place += 1
    return False


def _boxes(head: bytes) -> Medium:
    if head[8:12] in _PICTURE_BRANDS:
        return Medium.IMAGE
    if head[8:12] in (b"M4A ", b"M4B "):
        return Medium.AUDIO
    place = head.find(b"moov")
    size = int.from_bytes(head[place - 4 : place], "big") if place >= 4 else 0
    if not 8 < size <= len(head) - place + 4:
        return Medium.VIDEO  # its index is not in these bytes
    tracks = set(_TRACK.findall(head[place : place + size]))
    return Medium.AUDIO if tracks == {b"soun"} else Medium.VIDEO


def matroska_end(head: bytes) -> int | None:
    """The byte behind the segment of an MKV or WebM file, by its first bytes: a shorter file is cut off.

    None where it is no such file, or its length is not told, as of a live recording (RFC 8794, section 6; RFC 9559).
    """
    place = 0
    while place + 12 <= len(head):
        name = 9 - head[place].bit_length()
        size = 9 - head[min(place + name, len(head) - 1)].bit_length()
        start = place + name + size
        if name > 4 or size > 8 or start > len(head):
            return None
        bits = 7 * size
        length = int.from_bytes(head[place + name : start], "big") & ((1 << bits) - 1)
        if head[place : place + name] == b"\x18\x53\x80\x67":
            return None if length == (1 << bits) - 1 else start + length
        place = start + length
    return None


def _mpeg_frame(head: bytes) -> bool:
    """An MPEG audio or AAC frame: eleven set bits, and a version, layer, bit rate and sampling rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    if head[1] & 0xF6 == 0xF0:  # ADTS
        return head[2] >> 2 & 15 < 13
    return head[1] & 0x18 != 0x08 and head[1] & 0x06 != 0 and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C
