"""A real photo, recording and video through the public models prove that the whole chain answers; what does not is
repaired.

Triton never restarts a Python stub that was killed, and stays "ready" without it. Touching ``model.py`` and loading
the model again mends it without a lost request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tritonclient.grpc import InferenceServerClient, InferenceServerException

from deepscan_client import DeepScanClient, DeepScanError, Medium, RetryPolicy, Timeout
from serving.backends import STUB

_LOG = logging.getLogger("deepscan.serving")
_UNLOAD_SECONDS = 5.0
PHOTO = Path(__file__).with_name("canary.jpg")
RECORDING = Path(__file__).with_name("canary.flac")
VIDEO = Path(__file__).with_name("canary.mp4")
VIDEO_FRAMES = 2
"""Frames of the video that are judged: the models take requests for so few past the long ones."""
PUBLIC: dict[Medium, tuple[str, ...]] = {
    Medium.IMAGE: ("deepfake_image",),
    Medium.AUDIO: ("deepfake_audio", "deepfake_audio_stream"),
    Medium.VIDEO: ("deepfake_video", "video_upload"),
    Medium.MULTIMODAL: ("deepfake_multimodal", "video_upload"),
}
"""The models that a client asks about each medium; a canary goes to the first."""
_FILES = {Medium.IMAGE: PHOTO, Medium.AUDIO: RECORDING, Medium.VIDEO: VIDEO}


def canaries(models: Iterable[str]) -> dict[Medium, bytes]:
    """The canary of each medium whose public model is among these."""
    names = set(models)
    return {medium: path.read_bytes() for medium, path in _FILES.items() if PUBLIC[medium][0] in names}


def sing(grpc_url: str, seconds: float, media: Iterable[Medium] = (Medium.IMAGE,)) -> None:
    """One canary request for each medium. Only a verdict on a face, on a voice and on a face in a video is a good
    answer, because only then did every model run.

    Raises:
        DeepScanError: there was none.
    """
    timeout = Timeout(request=seconds, recording=seconds, video=seconds)
    with DeepScanClient(grpc_url, timeout=timeout, retry=RetryPolicy(attempts=1)) as client:
        for medium in media:
            if medium is Medium.AUDIO:
                found = client.detect_audio(RECORDING, request_id="canary").fake_probability is not None
            elif medium is Medium.VIDEO:
                found = bool(client.detect_video(VIDEO, num_frames=VIDEO_FRAMES, request_id="canary").tracks)
            else:
                found = bool(client.detect_image(PHOTO, request_id="canary").faces)
            if not found:
                what = {Medium.AUDIO: "voice", Medium.VIDEO: "face in the video"}.get(medium, "face")
                raise DeepScanError(f"the {what} of the canary was not found", remedy="run: deepscan doctor")


def stub_processes(server: int) -> dict[int, str]:
    """Process id: model of the Python stubs under a server process."""
    found: dict[int, str] = {}
    try:
        children = psutil.Process(server).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        try:
            command = child.cmdline()
            alive = child.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and command and Path(command[0]).name == STUB:
            # The second word is <repository>/<model>/<version>/model.py.
            found[child.pid] = Path(command[1]).parent.parent.name
    return found


def _instances(config: dict[str, Any]) -> int:
    """How many copies of a model a configuration asks for, as Triton gives it in JSON."""
    groups = config.get("instance_group", [])
    return sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups)


@dataclass
class Watcher:
    """Watches a running server from a thread of its own.

    Args:
        grpc_url: ``host:port``.
        server: process under which the stubs live.
        models: the repository that is served.
        report: gets a line for a person when something was noticed or repaired.
        media: whose canaries sing.
        every: seconds between looks at the processes; a canary sings at each fifth look and after a repair.
    """

    grpc_url: str
    server: int
    models: Path
    report: Callable[[str], None]
    media: tuple[Medium, ...] = (Medium.IMAGE,)
    every: float = 1.0
    repairs: int = 0
    healthy: bool = True
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _wanted: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        """Begin to watch."""
        self._wanted = Counter(stub_processes(self.server).values())
        self._thread = threading.Thread(target=self._watch, name="canary", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(15)

    def _watch(self) -> None:
        look = 0
        while not self._stop.wait(self.every):
            look += 1
            lost = self._lost()
            if not lost and look % 5:
                continue
            failure = self._failure()
            if failure is None and not lost:
                self.healthy = True
                continue
            self.healthy = False
            self._repair(lost or set(self._wanted), failure)

    def _lost(self) -> set[str]:
        """Models with fewer stubs than instances.

        Counted, not told apart by process: while Triton exchanges a model, the old stubs live on for some seconds
        and their end is no loss. An operator may have loaded a model with fewer instances, so that the server is
        asked before anything is repaired.
        """
        alive = Counter(stub_processes(self.server).values())
        lost = {model for model, count in self._wanted.items() if alive[model] < count}
        if lost:
            try:
                with InferenceServerClient(self.grpc_url) as admin:
                    for model in lost:
                        self._wanted[model] = _instances(admin.get_model_config(model, as_json=True)["config"])
            except InferenceServerException:
                return lost  # it cannot say: repair
        return {model for model in lost if alive[model] < self._wanted[model]}

    def _failure(self) -> str | None:
        try:
            sing(self.grpc_url, 10.0, self.media)
        except DeepScanError as error:
            return str(error)
        return None

    def _repair(self, lost: set[str], failure: str | None) -> None:
        if self._stop.is_set():
            return
        cause = f"canary failed: {failure}" if failure else "a stub process is gone"
        self.report(f"repairing {', '.join(sorted(lost))} ({cause})")
        old = {pid for pid, model in stub_processes(self.server).items() if model in lost}
        try:
            with InferenceServerClient(self.grpc_url) as admin:
                for model in sorted(lost):
                    self._touch(model)
                    admin.load_model(model)
        except InferenceServerException as error:
            self.report(f"repair failed, trying again: {error.message()}")
            return
        self.repairs += 1
        again = self._failure()
        self.healthy = again is None
        self.report("repaired: the canary sings again" if again is None else f"not repaired yet: {again}")
        self._end(old)

    def _end(self, old: set[int]) -> None:
        """End the other stubs of an exchanged model: with one of them dead, Triton waits for the rest for ever."""
        end = time.monotonic() + _UNLOAD_SECONDS
        while time.monotonic() < end and old & set(stub_processes(self.server)):
            if self._stop.wait(0.5):
                return  # the whole group ends
        for pid in old & set(stub_processes(self.server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _touch(self, model: str) -> None:
        for path in (self.models / model).glob("[0-9]*/model.py"):
            # Triton compares whole seconds of some file systems: move the time forward, never back.
            os.utime(path, (time.time(), max(time.time(), path.stat().st_mtime + 1)))
