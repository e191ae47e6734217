"""Watches a running server and repairs what does not answer, without taking an answer from anybody.

Triton never restarts a Python stub that was killed, and stays "ready" without it. Touching ``model.py`` and loading
the model again mends it without a lost request. A server that is only busy is left alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import InferenceServerClient, InferenceServerException

from cards import ModelRepository
from deepscan_client import DeadlineError, DeepScanError, Medium, OverloadedError
from serving import canary
from serving.stillness import Stillness, Work, ask_work
from serving.stubs import OldStubs, stub_processes

CANARY_SECONDS = 10.0
"""What a canary has for its answer."""
_BUSY = (DeadlineError, OverloadedError)
"""Failures of a canary that a crowd of users explains as well as a defect does."""


def _instances(config: dict[str, Any]) -> int:
    """How many copies of a model a configuration asks for, as Triton gives it in JSON."""
    groups = config.get("instance_group", [])
    return sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups)


@dataclass
class Watcher:
    """Watches a running server from a thread of its own.

    Args:
        grpc_url: ``host:port``; metrics_url: where Triton's counts are.
        server: process under which the stubs live.
        repository: what is served.
        report: gets a line for a person when something was noticed or repaired.
        media: whose canaries sing.
        every: seconds between looks at the processes; a canary sings at each fifth look and after a repair.
    """

    grpc_url: str
    metrics_url: str
    server: int
    repository: ModelRepository
    report: Callable[[str], None]
    media: tuple[Medium, ...] = (Medium.IMAGE,)
    every: float = 1.0
    repairs: int = 0
    healthy: bool = True
    old: OldStubs = field(default_factory=OldStubs)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _wanted: Counter[str] = field(default_factory=Counter)
    _said_busy: bool = False

    def __post_init__(self) -> None:
        self._stillness = Stillness(lambda model: self.repository.needed_by([model]))

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
            self.old.look()
            lost = self._lost()
            if lost:
                self._repair(lost, "a stub process is gone")
            elif look % 5 == 0:
                self._listen()

    def _lost(self) -> set[str]:
        """Models with fewer stubs than instances.

        Counted, not told apart by process: while an operator exchanges a model, the old stubs live on for some time
        and their end is no loss. Those of our own repairs are known and do not count. An operator may have loaded a
        model with fewer instances, so that the server is asked before anything is repaired.
        """
        alive = Counter(model for pid, model in stub_processes(self.server).items() if pid not in self.old)
        lost = {model for model, count in self._wanted.items() if alive[model] < count}
        if lost:
            try:
                with InferenceServerClient(self.grpc_url) as admin:
                    for model in lost:
                        self._wanted[model] = _instances(admin.get_model_config(model, as_json=True)["config"])
            except InferenceServerException:
                return lost  # it cannot say: repair
        return {model for model in lost if alive[model] < self._wanted[model]}

    def _listen(self) -> None:
        """Let the canaries sing, and repair the models of those media whose failure no crowd explains."""
        failed = self._failed()
        self.healthy = not failed
        broken = {medium: error for medium, error in failed.items() if not isinstance(error, _BUSY)}
        for medium in set(self.media) - (failed.keys() - broken.keys()):
            self._stillness.forget(medium)
        if broken:
            models = set().union(*(self._models_of(medium) for medium in broken))
            self._repair(models, f"canary failed: {next(iter(broken.values()))}")
        elif failed:
            still = self._standing_still(failed)
            if still:
                self._repair(still, f"nothing is answered: {next(iter(failed.values()))}")
            elif not self._said_busy and not self._stop.is_set():
                self.report(f"busy: no canary in time for {', '.join(sorted(failed))}")
        self._said_busy = bool(failed)

    def _failed(self) -> dict[Medium, DeepScanError]:
        """The media whose canary got no good answer, and why."""
        failed: dict[Medium, DeepScanError] = {}
        for medium in self.media:
            if self._stop.is_set():
                break
            try:
                canary.sing(self.grpc_url, CANARY_SECONDS, (medium,))
            except DeepScanError as error:
                failed[medium] = error
        return failed

    def _models_of(self, medium: Medium) -> set[str]:
        """The models with stubs that a canary of this medium needs."""
        return set(self.repository.needed_by([canary.PUBLIC[medium][0]])) & set(self._wanted)

    def _standing_still(self, media: Iterable[Medium]) -> set[str]:
        """Models of these media that do nothing, though somebody waits for them."""
        try:
            work: dict[str, Work] = ask_work(self.metrics_url)
        except OSError as error:
            self.report(f"Triton does not tell what it does: {error}")
            return set()
        return set().union(*(self._stillness.look(medium, self._models_of(medium), work) for medium in media))

    def _repair(self, models: Collection[str], cause: str) -> None:
        if self._stop.is_set():
            return
        self.report(f"repairing {', '.join(sorted(models))} ({cause})")
        old = [pid for pid, model in stub_processes(self.server).items() if model in models]
        try:
            with InferenceServerClient(self.grpc_url) as admin:
                for model in sorted(models):
                    self._touch(model)
                    admin.load_model(model)
        except InferenceServerException as error:
            self.healthy = False
            self.report(f"repair failed, trying again: {error.message()}")
            return
        self.old.add(old)
        self.repairs += 1
        for medium in self.media:
            self._stillness.forget(medium)
        failed = self._failed()
        self.healthy = not failed
        why = "; ".join(str(error) for error in failed.values())
        self.report(f"not repaired yet: {why}" if failed else "repaired: the canary sings again")

    def _touch(self, model: str) -> None:
        for path in (self.repository.root / model).glob("[0-9]*/model.py"):
            # Triton compares whole seconds of some file systems: move the time forward, never back.
            os.utime(path, (time.time(), max(time.time(), path.stat().st_mtime + 1)))
