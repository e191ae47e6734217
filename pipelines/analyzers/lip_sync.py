"""Sound and picture: how far a voice lies from the mouth that speaks it, and how surely, for each second.

The network ``av_sync`` puts every frame of lips and every 40 ms of sound into one space, where those that belong
together lie close. Two seconds of lips are laid against the sound at 31 offsets; the best one is the offset, and how
far it stands above the middle one is the confidence. A dubbed or re-timed face fits nowhere; a generator that was
taught by such a network fits well, so a good fit proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepscan_client.verdict import Evidence
from pipelines.audio.mel import BANDS, log_mel
from pipelines.audio.source import RATE as SAMPLE_RATE
from pipelines.audio.source import Samples
from pipelines.audio.speech import CELL
from pipelines.infer import Call, Infer, digest_hex
from pipelines.video.lips import RATE, Lips

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

NETWORK = "av_sync"
STRETCH = 64
"""Frames of one item of the network."""
_HOP = 48
REACH = 15
"""Greatest offset that is looked for, in frames of 40 ms."""
WINDOW = 2 * RATE
"""Frames that are laid against the sound together."""
LEAST_SPEECH, LEAST_SEEN = 0.5, 0.9
"""Shares of a window in which somebody must speak, and in which the face must be seen."""
MOST_CALLS = 8
"""Items of one call."""
MEL_PER_FRAME = 4
_SAMPLES = SAMPLE_RATE // RATE


@dataclass(frozen=True)
class Second:
    """What was measured around one second.

    Attributes:
        start: seconds from the video's first frame.
        offset: frames of 40 ms by which the sound comes after the mouth; negative where it comes before.
        confidence: agreement at that offset above the median over all offsets, 0 to 2.
    """

    start: float
    offset: int
    confidence: float


@dataclass(frozen=True)
class Sync:
    """Lip-sync of one face: ``offset`` and ``confidence`` of all measured time together (see :class:`Second`)."""

    offset: int
    confidence: float
    seconds: tuple[Second, ...]
    record: str
    """sha256 of the weights that ran."""

    def rows(self) -> tuple[Evidence, ...]:
        """As evidence without weight."""
        told = ", ".join(f"{each.start:.0f} s {each.offset:+d} ({each.confidence:.2f})" for each in self.seconds[:30])
        more = f" and {len(self.seconds) - 30} more" if len(self.seconds) > 30 else ""
        surely = float(np.clip(self.confidence / 0.5, 0.0, 1.0))
        return (
            Evidence(
                "lip_sync_offset",
                float(self.offset),
                "frames of 40 ms",
                note=f"sound after mouth; by seconds with speech, confidence in brackets: {told}{more}",
                confidence=surely,
            ),
            Evidence(
                "lip_sync_confidence",
                self.confidence,
                "cosine",
                note="agreement of mouth and sound at the best offset above the median of all within 0.6 s",
                confidence=float(np.clip(len(self.seconds) / 4, 0.0, 1.0)),
            ),
        )


def lip_sync(lips: Lips, samples: Samples, speech: Floats, infer: Infer, start: float = 0.0) -> Sync | None:
    """Measure one face against the sound; None where no two seconds have speech and a face.

    Args:
        lips: at 25 a second.
        samples: 16 kHz mono; speech: its probability in cells of 512 samples.
        infer: runs ``av_sync``.
        start: seconds from the video's first frame to the first sample, at most ``lips.start``.

    Raises:
        deepscan_client.errors.DeepScanError: the network did not answer.
    """
    first = round((lips.start - start) * SAMPLE_RATE)
    heard = samples[first:]
    count = min(len(lips), len(heard) // _SAMPLES)
    if count < WINDOW // 2:
        return None
    mouth, sound, record = embed(lips.measures[:count], log_mel(heard)[: count * MEL_PER_FRAME], infer)
    agreement = agreement_by_offset(mouth, sound)
    spoken, seen = speech_by_frame(speech, first, count), lips.seen[:count]
    length = min(WINDOW, count)
    seconds: list[Second] = []
    kept: list[Floats] = []
    for whole in range(max(1, count // RATE)):
        start = int(np.clip(whole * RATE - (WINDOW - RATE) // 2, 0, count - length))
        part = slice(start, start + length)
        if spoken[part].mean() < LEAST_SPEECH or seen[part].mean() < LEAST_SEEN:
            continue
        curve = window_curves(agreement[part], length, length)[1][0]
        kept.append(curve)
        seconds.append(Second(lips.start + whole, *peak(curve)))
    if not seconds:
        return None
    return Sync(*peak(np.mean(kept, axis=0)), tuple(seconds), record)


def embed(lips: Floats, mel: Floats, infer: Infer) -> tuple[Floats, Floats, str]:
    """Embeddings of mouth and sound, float32 [t, d] each of length one, and the sha256 of the weights.

    Args:
        lips: [t, 14], t >= 1; mel: [4 t, 40].
    """
    count = len(lips)
    longer = max(count, STRETCH)
    lips = np.pad(lips, ((0, longer - count), (0, 0)), mode="edge")
    mel = np.pad(mel, ((0, MEL_PER_FRAME * longer - len(mel)), (0, 0)))
    starts = [*range(0, longer - STRETCH, _HOP), longer - STRETCH]
    sums: list[Floats] = []
    record = ""
    for place in range(0, len(starts), MOST_CALLS):
        some = starts[place : place + MOST_CALLS]
        inputs = {
            "LIPS": np.stack([lips[start : start + STRETCH] for start in some]),
            "MEL": np.stack([mel[MEL_PER_FRAME * s : MEL_PER_FRAME * (s + STRETCH)] for s in some]).reshape(
                len(some), MEL_PER_FRAME * STRETCH, BANDS
            ),
        }
        (answer,) = infer.run([Call(NETWORK, inputs, ("MOUTH", "SOUND", "RECORD"))])
        record = digest_hex(answer["RECORD"][0])
        if not sums:
            sums = [np.zeros((longer, answer[name].shape[2]), np.float32) for name in ("MOUTH", "SOUND")]
        for row, start in enumerate(some):
            for total, name in zip(sums, ("MOUTH", "SOUND")):
                total[start : start + STRETCH] += answer[name][row]
    mouth, sound = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6) for total in sums)
    return mouth[:count], sound[:count], record


def speech_by_frame(speech: Floats, first: int, count: int) -> Floats:
    """Mean probability of speech in each frame of 40 ms, [count]; ``first`` is the sample where the frames begin."""
    cells = np.repeat(np.asarray(speech, np.float32), CELL)[first : first + count * _SAMPLES]
    cells = np.pad(cells, (0, count * _SAMPLES - len(cells)))
    return np.asarray(cells.reshape(count, _SAMPLES).mean(axis=1))


def agreement_by_offset(mouth: Floats, sound: Floats, reach: int = REACH) -> Floats:
    """Agreement of each frame with the sound at each offset, [t, 2 reach + 1]; NaN where there is no sound."""
    found = np.full((len(mouth), 2 * reach + 1), np.nan, np.float32)
    for place, offset in enumerate(range(-reach, reach + 1)):
        low, high = max(0, -offset), min(len(mouth), len(sound) - offset)
        if high > low:
            found[low:high, place] = (mouth[low:high] * sound[low + offset : high + offset]).sum(axis=1)
    return found


def window_curves(agreement: Floats, length: int, hop: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """First frames of windows, and the mean agreement at each offset in each, [w, offsets].

    Offsets for which less than half of a window has sound are -inf.
    """
    starts = np.arange(0, len(agreement) - length + 1, hop)
    known = np.isfinite(agreement)
    zero = np.zeros((1, agreement.shape[1]))
    total = np.concatenate([zero, np.cumsum(np.where(known, agreement, 0), axis=0, dtype=np.float64)])
    counts = np.concatenate([zero, np.cumsum(known, axis=0)])
    many = counts[starts + length] - counts[starts]
    mean = (total[starts + length] - total[starts]) / np.maximum(many, 1)
    return starts, np.where(many >= 0.5 * length, mean, -np.inf).astype(np.float32)


def peak(curve: Floats) -> tuple[int, float]:
    """The best offset in frames, and how far its agreement stands above the median of the offsets that are known."""
    known = curve[np.isfinite(curve)]
    best = int(np.argmax(np.where(np.isfinite(curve), curve, -np.inf)))
    return best - len(curve) // 2, float(curve[best] - np.median(known)) if len(known) else 0.0
