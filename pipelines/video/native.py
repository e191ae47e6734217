"""The main face of a video at its native rate: body and lips in one look at the file.

Both want every frame of the same seconds, the same face crop and the same mesh, so that they are decoded, cut and
meshed once. Lips alone (pictures and sound together, without ``analyzers``) are read from smaller frames, as in
training: :mod:`pipelines.video.in_step`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pipelines.analyzers.biometrics import Measured, watched
from pipelines.analyzers.landmarks import MESH
from pipelines.infer import Infer
from pipelines.video import body, in_step
from pipelines.video.evidence import VideoEvidence
from pipelines.video.leaving import checker
from pipelines.video.lips import POINTS, lips_of, no_lips


def with_main_face(
    evidence: VideoEvidence,
    path: Path,
    infer: Infer,
    stopped: Callable[[], bool] | None = None,
    audio: bytes | None = None,
) -> VideoEvidence:
    """Evidence with the biometrics and the lip-sync of the main face, and the milliseconds of each: the look itself
    counts for the biometrics.

    Args:
        evidence: of the whole video; path: the file that it is of.
        infer: runs ``face_mesh``, ``eye_iris``, ``voice_activity`` and ``av_sync``.
        stopped: asked before each frame.
        audio: a recording that begins with the video, instead of its own sound track.

    Raises:
        deepscan_client.errors.CancelledError: ``stopped`` returned True.
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    track = body.followed_track(evidence)
    window = None if track is None else watched(track.times)
    if track is None or window is None or (audio is None and not evidence.facts.sound):
        return body.with_biometrics(evidence, path, infer, stopped)
    start = time.monotonic_ns()
    heard = in_step.hear(path, window, infer, checker(stopped, evidence.facts.options.request_id), audio)
    hearing = time.monotonic_ns() - start
    found = body.read_body(evidence, track, path, infer, stopped, () if isinstance(heard, str) else POINTS)
    if found is None:
        evidence = evidence.noted(f"biometrics left out: {body.UNREAD}")
    seen = body.told(evidence, Measured() if found is None else found.measured, start + hearing)
    start = time.monotonic_ns() - hearing
    if isinstance(heard, str):
        return in_step.told(seen, in_step.InStep(missing=heard), start)
    if found is None or found.kept is None:
        return in_step.told(seen, in_step.InStep(missing=body.UNREAD), start)
    kept = found.kept
    enough = len(kept.times) >= 2
    lips = lips_of(kept.times, kept.points, kept.seen, seen.weights[MESH]) if enough else no_lips()
    return in_step.told(seen, in_step.laid_against(lips, heard, infer), start)
