"""Frames that a file holds and does not show, so that nobody judges them.

An MP4 says in tables of their own where each frame lies (stsz), how long it is shown (stts) and which stretches are
played (elst, the edit list). Where they leave frames out, FFmpeg does too, as players should; but not every player
reads edit lists, and none agrees with another on tables that contradict each other. So a forger could show one film to
a viewer and another to DeepScan. The film that a correct player shows is the one that is judged, on its clock; what
lies beside it is counted here and told.

An edit list is ordinary: it sets off the delay of reordered frames and hides none, or it cuts a film elsewhere than at
a key frame, and the frames from there to the cut stay in the file because they are needed to decode the rest. Such a
cut is noted where it hides more than a moment, and is a reason only where more is hidden than shown.

The index of an AVI can leave frames out too: FFmpeg goes by it where it finds the file badly mixed, and others go from
chunk to chunk. A second picture track is noted: which one is shown is a choice of the player, and there are ordinary
reasons for one, such as a second camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.video.avi import Chunks
from pipelines.video.packets import Listed, is_cover

SPARED = 12
"""Frames, half a second or less: editors end the pictures with the sound, which hides a few at the end."""
_MOST_AT_ONCE = 100
"""One frame in so many may have the time of another: programs that record screens stamp some twice."""
_UNSEEN = "they were not judged, and another player may show them"


@dataclass(frozen=True)
class Hidden:
    """``notes`` say how many frames are not shown and why; ``told``: whether that is more than a cut leaves behind."""

    notes: tuple[str, ...] = ()
    told: bool = False


def hidden_frames(there: Listed, whole: VideoStream | None, chunks: Chunks | None, path: Path) -> Hidden:
    """What a file holds beside the frames that it shows.

    Args:
        there: its packets.
        whole: the same track, opened without regard to the edit list; None where the container has none.
        chunks: those of an AVI.
        path: the file, whose length is asked.
    """
    shown = len(there.stamps)
    at_once = there.shown - shown
    left_out = placeless = 0
    if whole is not None:
        size = path.stat().st_size
        # What lies behind the end of a file that is cut off is missing, not hidden.
        places = np.fromiter((entry.pos for entry in whole.index_entries), np.int64)
        left_out = len(np.setdiff1d(places[places < size], there.places))
        placeless = max(0, whole.frames - len(whole.index_entries))
    unlisted = max(0, chunks.frames - there.packets) if chunks else 0
    hidden = left_out + at_once + placeless + unlisted
    few = min(SPARED, shown)
    if hidden <= few:
        return Hidden()
    every = shown + hidden
    causes = (
        (left_out, f"its edit list leaves out {left_out:,} of {every:,} frames"),
        (at_once, f"{at_once:,} of {every:,} frames have the time of another"),
        (placeless, f"{placeless:,} of {every:,} frames that its tables count have no place in the file"),
        (unlisted, f"its index leaves out {unlisted:,} of {every:,} frames"),
    )
    notes = tuple(f"{cause}: {_UNSEEN}" for count, cause in causes if count)
    ordinary = min(left_out, there.led_in) + min(at_once, shown // _MOST_AT_ONCE)
    return Hidden(notes, told=hidden - ordinary > few or hidden > shown)


def other_tracks(container: InputContainer, judged: VideoStream) -> str:
    """That a file has more picture tracks than the one that is judged; empty where it has none.

    Covers do not count, nor does an MP4's track of one frame, such as the still of an animated AVIF.
    """
    stills = container.format.name.startswith("mov")
    others = sum(
        track.index != judged.index and not is_cover(track) and not (stills and track.frames == 1)
        for track in container.streams.video
    )
    if others == 1:
        return "one more picture track is in the file: it was not judged, and another player may show it"
    return f"{others} more picture tracks are in the file: {_UNSEEN}" if others else ""
