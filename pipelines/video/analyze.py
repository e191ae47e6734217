"""A video file to evidence and verdict, over any :class:`~pipelines.infer.Infer`, chunk by chunk.

The interface that others build on::

    analyzer = VideoAnalyzer(repository, infer)            # networks: ``calls`` of the card ``deepfake_video``
    judge = VideoJudge(repository)
    verdict = analyze_video(path, analyzer, judge, options, report, stopped)

    evidence = analyzer.evidence(path, options, report, stopped)      # or in two steps
    verdict = judge.verdict(evidence)

    for watching in analyzer.watch(path, options, stopped): ...       # or step by step: its value is the evidence
        judge.progress(watching.evidence())                           # a ``Progress``, after each chunk

``options`` (``pipelines.options.Options``): ``num_frames`` or ``fps``, ``heatmaps``, ``analyzers``,
``confidence_threshold``, ``request_id``.
``report`` is called with a ``deepscan_client.Progress`` after each chunk: seconds seen, length, probability so far,
tracks so far (without boxes) and the timeline so far. ``stopped`` is asked between packets, frames and calls of
networks; once it returns True, ``deepscan_client.CancelledError`` is raised.

Frames are sampled by time, five a second where nothing else was asked, and at most ``MAX_JUDGED_FRAMES``. Memory is
bounded by one chunk of frames and by a few numbers (and one embedding) for each face.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cards.card import FaceDetection, ModelCard, Profile
from cards.limits import MAX_TRACKED_FACES
from cards.repository import ModelRepository
from deepscan_client.errors import InputError
from deepscan_client.verdict import Progress, Verdict
from pipelines.analyzers.biometrics import watched
from pipelines.analyzers.landmarks import IRIS, MESH
from pipelines.analyzers.lip_sync import NETWORK as LIP_SYNC
from pipelines.audio.speech import MODEL as SPEECH
from pipelines.image.align import align_faces
from pipelines.image.analyze import DETECTOR_OUTPUTS
from pipelines.image.faces import Faces
from pipelines.image.heat import finest, geometry, packed, unit_square_to_picture
from pipelines.infer import Arrays, Batch, Infer, digest_hex, run_batches, run_in_batches
from pipelines.novelty import NoveltyBook
from pipelines.options import Options
from pipelines.video.body import main_track, with_biometrics
from pipelines.video.close import FEW_ASKED, THIN_S, TOO_SHORT, same_face, stretch_of
from pipelines.video.evidence import TrackEvidence, VideoEvidence
from pipelines.video.faces import find_faces_of_frames
from pipelines.video.follow import Follower, Heat, Seen
from pipelines.video.in_step import with_lip_sync
from pipelines.video.large import taking_turns
from pipelines.video.leaving import Check, Stopped, checker
from pipelines.video.native import with_main_face
from pipelines.video.sampling import Held, OpenVideo, open_video
from pipelines.video.sequences import ask_sequences, embeddings_of
from pipelines.video.verdict import MODEL, VideoJudge

DETECTOR = "face_detector"
NETWORKS = ("frame_cnn",)
"""Asked where the repository has no card of ``deepfake_video``."""
CHUNK_FRAMES = 16
CHUNK_BYTES = 160_000_000
"""Of decoded frames that are held at a time, as the codec stores them: two frames of 8K."""
WHOLE_SIDE = 1920
"""Longer side up to which a frame is turned into RGB once, for detection and for the crops."""
CROPS = 32
"""Crops of one call; ``stopped`` is asked before each."""
SECOND_LOOK = "every frame of the main face: decoded by PyAV, which shrinks it before it becomes RGB"
"""Note of a video whose other frames NVDEC decoded."""
Report = Callable[[Progress], object]


@dataclass(frozen=True)
class Beside:
    """The sound of a video that is judged with its pictures: a recording that begins with it, or its own (None)."""

    audio: bytes | None = None


class VideoAnalyzer:
    """Watches videos.

    Args:
        repository: cards say how faces are detected and cropped.
        infer: runs the networks.
        networks: networks over face crops and over sequences of embeddings; those that the card of ``deepfake_video``
            calls by default.
        profile: names the precision that each network runs in, and whether ``infer`` reaches a GPU's decoder.
        embeddings: keep the first network's embedding of each face in the evidence, whether or not a network needs it.
    """

    def __init__(
        self,
        repository: ModelRepository,
        infer: Infer,
        networks: tuple[str, ...] | None = None,
        profile: Profile = "cpu",
        embeddings: bool = False,
    ) -> None:
        self.infer = infer
        self.stage = None if profile == "cpu" else infer
        self.detector = repository.card(DETECTOR)
        if networks is None:
            networks = repository.card(MODEL).calls if MODEL in repository.names() else NETWORKS
        cards = [repository.card(name) for name in networks if name != DETECTOR]
        self.frame_networks = [card for card in cards if card.preprocessing is not None]
        draws = repository.card(MODEL).draws if MODEL in repository.names() else None
        self.drawer = finest(self.frame_networks) if draws is None else repository.card(draws)
        self.clip_networks = [card for card in cards if any(tensor.name == "EMBEDDINGS" for tensor in card.inputs)]
        self.embedding_networks = {embeddings_of(card.name) for card in self.clip_networks}
        if embeddings:
            self.embedding_networks.add(self.frame_networks[0].name)
        book = NoveltyBook(repository, self.frame_networks[0].name) if self.frame_networks else None
        self.novelty = book if book is not None and book.known else None
        self.sees_bodies = {MESH, IRIS} <= set(repository.names())
        self.hears_lips = {MESH, LIP_SYNC, SPEECH} <= set(repository.names())
        self._judge = VideoJudge(repository, profile)

    def watch(
        self,
        path: Path | str,
        options: Options | None = None,
        stopped: Stopped | None = None,
        beside: Beside | None = None,
    ) -> Generator[Watching, None, VideoEvidence]:
        """Watch a video; after each chunk says how far it is. The generator's value is the evidence.

        Args:
            path: the file; options: what is asked for.
            stopped: asked between frames and between calls of networks.
            beside: the sound that the lips are laid against even where no ``analyzers`` are asked for.

        Raises:
            deepscan_client.errors.InputError: the file cannot be judged.
            deepscan_client.errors.CancelledError: ``stopped`` returned True.
            deepscan_client.errors.DeepScanError: a network did not answer.
        """
        asked = options or Options()
        check = checker(stopped, asked.request_id)
        video = open_video(Path(path), asked, check, self.stage)
        with taking_turns(video.facts.width * video.facts.height, check):
            return (yield from self._watched(Watching(self, video, check), Path(path), asked, stopped, beside))

    def _watched(
        self, watching: Watching, path: Path, asked: Options, stopped: Stopped | None, beside: Beside | None
    ) -> Generator[Watching, None, VideoEvidence]:
        for _ in watching.run():
            yield watching
        evidence = watching.finish()
        audio = None if beside is None else beside.audio
        bodies = self.sees_bodies and asked.analyzers
        lips = self.hears_lips and (beside is not None or asked.analyzers)
        lips = lips and (audio is not None or evidence.facts.sound)
        if (bodies or lips) and evidence.tracks:
            evidence, missing = watching.close_look(evidence)
            if missing:
                what = " and ".join([*["biometrics"] * bodies, *["lip-sync"] * lips])
                return evidence.noted(f"{what} left out: {missing}")
            if evidence.facts.decoder.startswith("dali"):
                evidence = evidence.noted(SECOND_LOOK)
        if bodies and lips:
            return with_main_face(evidence, path, self.infer, stopped, audio)
        if bodies:
            return with_biometrics(evidence, path, self.infer, stopped)
        return with_lip_sync(evidence, path, self.infer, stopped, audio) if lips else evidence

    def evidence(
        self,
        path: Path | str,
        options: Options | None = None,
        report: Report | None = None,
        stopped: Stopped | None = None,
        beside: Beside | None = None,
    ) -> VideoEvidence:
        """Watch a whole video; arguments and errors as of :meth:`watch`."""
        steps = self.watch(path, options, stopped, beside)
        while True:
            try:
                watching = next(steps)
            except StopIteration as end:
                evidence: VideoEvidence = end.value
                return evidence
            if report is not None:
                report(self._judge.progress(watching.evidence()))


class Watching:
    """One video being watched.

    Args:
        analyzer: whose networks are asked; video: what is watched; check: raises where the caller went away.
        judges: whether the faces are to be judged; where they are only to be found, one network describes them.
    """

    def __init__(self, analyzer: VideoAnalyzer, video: OpenVideo, check: Check, judges: bool = True) -> None:
        self._analyzer, self._video, self._check = analyzer, video, check
        self._frame_networks = analyzer.frame_networks if judges else analyzer.frame_networks[:1]
        self._follower = Follower()
        self._weights: dict[str, str] = {}
        self._drew: dict[str, str] = {}
        self._drawer = analyzer.drawer if video.facts.options.heatmaps else None
        self._ms = dict.fromkeys(("decode", "detect", "track", "align", "networks", "sequences"), 0.0)
        self._sampled = 0
        self._cut = False
        self._policy = analyzer.detector.face_detection or FaceDetection()
        self._embeds = set(analyzer.embedding_networks)
        if video.facts.options.analyzers and analyzer.frame_networks:
            self._embeds.add(analyzer.frame_networks[0].name)
        self.seconds = 0.0
        """Seen so far."""

    def run(self) -> Iterator[None]:
        """Watch chunk by chunk."""
        frames = self._video.frames()
        facts = self._video.facts
        most = max(1, min(CHUNK_FRAMES, CHUNK_BYTES // (2 * facts.width * facts.height)))
        chunk = self._next(frames, most)
        while chunk:
            self._see(chunk)
            self._sampled += len(chunk)
            self.seconds = chunk[-1].time
            following = self._next(frames, most)
            if not following:
                self.seconds = facts.seconds
            yield
            chunk = following

    def tracks(self) -> tuple[TrackEvidence, ...]:
        """The faces that were seen so far."""
        return self._follower.tracks()

    def finish(self) -> VideoEvidence:
        """What was seen, after the last chunk."""
        return self.evidence()

    def evidence(self) -> VideoEvidence:
        """What was seen so far; networks over many frames are asked again each time, which costs little."""
        video = self._video
        clips: dict[int, dict[str, NDArray[np.float64]]] = {}
        if self._analyzer.clip_networks:
            with self._timed("sequences"):
                clips, weights = ask_sequences(
                    self._analyzer.infer, self._analyzer.clip_networks, self._follower.embeddings()
                )
            self._weights.update(weights)
        return VideoEvidence(
            facts=video.facts,
            tracks=self._follower.tracks(clips),
            seconds=self.seconds,
            sampled=self._sampled,
            wanted=video.wanted,
            step_s=video.step_s,
            thin=video.thin,
            cut=self._cut,
            damaged=video.damaged,
            weights=dict(self._weights),
            drew=dict(self._drew),
            ms=dict(self._ms),
        )

    def close_look(self, evidence: VideoEvidence) -> tuple[VideoEvidence, str]:
        """Evidence with a closer look at its main face, where its frames lie too far apart to follow it; and why the
        face is not followed all the same, or nothing.

        Args:
            evidence: of the whole video, with at least one track.
        """
        track = main_track(evidence.tracks)
        facts = evidence.facts
        if track is not None and evidence.step_s > THIN_S:
            if not (evidence.thin or facts.options.analyzers):
                return evidence, FEW_ASKED
            start = time.monotonic_ns()
            begin, end = stretch_of(track, evidence.step_s, facts.seconds)
            again = Watching(self._analyzer, self._video.closer((begin, end)), self._check, judges=False)
            try:
                for _ in again.run():
                    pass
            except InputError:
                track = None  # nothing decodes there: the frames that were sampled were judged already
            else:
                track = same_face(again.tracks(), track)
            ms = {**evidence.ms, "close_look": (time.monotonic_ns() - start) / 1e6}
            evidence = replace(evidence, facts=self._video.facts, close=track, ms=ms)
            evidence = evidence.noted(f"faces were looked for five times a second from {begin:.1f} to {end:.1f} s")
        return evidence, TOO_SHORT if track is None or watched(track.times) is None else ""

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.monotonic_ns()
        try:
            yield
        finally:
            self._ms[part] = self._ms.get(part, 0.0) + (time.monotonic_ns() - start) / 1e6

    def _next(self, frames: Iterator[Held], most: int) -> list[Held]:
        chunk: list[Held] = []
        largest = 0  # of those that are there: the size can change inside a video
        with self._timed("decode"):
            while len(chunk) < most and 2 * largest * (len(chunk) + 1) <= CHUNK_BYTES:
                self._check()
                frame = next(frames, None)
                if frame is None:
                    break
                chunk.append(frame)
                largest = max(largest, frame.stored)
        return chunk

    def _see(self, chunk: Sequence[Held]) -> None:
        """Find, number, crop and judge the faces of a chunk."""
        with self._timed("decode"):
            small = [held.pixels(WHOLE_SIDE) for held in chunk]
        self._check()
        with self._timed("detect"):
            found = find_faces_of_frames(small, self._detect, self._policy, MAX_TRACKED_FACES)
        self._cut = self._cut or any(len(faces) > MAX_TRACKED_FACES for faces in found)
        drawer = [] if self._drawer is None else [self._drawer]
        sizes = sorted({geometry(card) for card in [*self._cards(), *drawer]})
        seen: list[Seen] = []
        crops: dict[tuple[int, float], list[NDArray[np.uint8]]] = {key: [] for key in sizes}
        for held, picture, faces in zip(chunk, small, found):
            self._check()
            with self._timed("track"):
                factor = max(self._video.facts.width, self._video.facts.height) / max(picture.shape[:2])
                factor = factor if max(picture.shape[:2]) >= WHOLE_SIDE else 1.0
                numbered = self._follower.number(held.time, picture, faces[:MAX_TRACKED_FACES], factor)
            if not numbered:
                continue
            with self._timed("align"):
                whole = picture if factor == 1.0 else held.pixels()
                landmarks = Faces.join([face.faces for face in numbered]).landmarks
                for key in sizes:
                    crops[key].append(align_faces(whole, landmarks, *key))
            seen += numbered
        if seen:
            self._ask(seen, {key: np.concatenate(parts) for key, parts in crops.items()})

    def _cards(self) -> list[ModelCard]:
        return self._frame_networks

    def _detect(self, pictures: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        answer = run_in_batches(
            self._analyzer.infer,
            DETECTOR,
            "IMAGES",
            pictures,
            DETECTOR_OUTPUTS,
            self._analyzer.detector.max_batch_size,
        )
        self._weights[DETECTOR] = digest_hex(answer["RECORD"][0])
        return answer

    def _ask(self, seen: Sequence[Seen], crops: Mapping[tuple[int, float], NDArray[np.uint8]]) -> None:
        """Every network on all crops of a chunk."""
        cards = self._cards()
        first = cards[0]
        keys = {card.name: geometry(card) for card in cards}
        for start in range(0, len(seen), CROPS):
            self._check()
            stop = min(start + CROPS, len(seen))
            batches = []
            for card in cards:
                outputs: tuple[str, ...] = ("LOGIT", "RECORD")
                if card.name in self._embeds or (card is first and self._analyzer.novelty is not None):
                    outputs = (*outputs, "EMBEDDING")
                # Half of the crops in a call, so that two cores share the work of a lone network.
                largest = max(1, min(card.max_batch_size, -(-(stop - start) // 2)))
                batches.append(Batch(card.name, {"IMAGES": crops[keys[card.name]][start:stop]}, outputs, largest))
            with self._timed("networks"):
                answers: dict[str, Arrays] = run_batches(self._analyzer.infer, batches)
            for name, answer in answers.items():
                self._weights[name] = digest_hex(answer["RECORD"][0])
            ratios = None if self._analyzer.novelty is None else self._analyzer.novelty.ratios(answers[first.name])
            self._follower.add(
                seen[start:stop],
                crops[keys[first.name]][start:stop],
                {name: answer["LOGIT"][:, 0] for name, answer in answers.items()},
                {name: answer["EMBEDDING"] for name, answer in answers.items() if name in self._embeds},
                ratios,
                self._heat(seen[start:stop], crops, slice(start, stop)),
            )

    def _heat(
        self, seen: Sequence[Seen], crops: Mapping[tuple[int, float], NDArray[np.uint8]], part: slice
    ) -> Heat | None:
        """Heat maps of some faces, where they are asked for."""
        card = self._drawer
        if card is None:
            return None
        key = geometry(card)
        with self._timed("maps"):
            answer = run_in_batches(
                self._analyzer.infer, card.name, "IMAGES", crops[key][part], ("CAM", "RECORD"), card.max_batch_size
            )
        self._drew[card.name] = digest_hex(answer["RECORD"][0])
        landmarks = Faces.join([face.faces for face in seen]).landmarks
        return Heat(packed(answer["CAM"]), unit_square_to_picture(landmarks, *key))


def analyze_video(
    path: Path | str,
    analyzer: VideoAnalyzer,
    judge: VideoJudge,
    options: Options | None = None,
    report: Report | None = None,
    stopped: Stopped | None = None,
) -> Verdict:
    """A file to a verdict in one process: the same stages as the Triton model ``deepfake_video``.

    Raises:
        deepscan_client.errors.InputError: the file cannot be judged.
        deepscan_client.errors.CancelledError: ``stopped`` returned True.
    """
    return judge.verdict(analyzer.evidence(path, options, report, stopped))
