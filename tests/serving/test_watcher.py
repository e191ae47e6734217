"""What the watcher repairs, and what it leaves alone; the server is a set of fakes."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pytest

from cards import ModelRepository
from deepscan_client import DeadlineError, DeepScanError, Medium, OverloadedError, UnavailableError
from serving import watcher
from serving.stillness import LOOKS, Work

MEDIA = (Medium.IMAGE, Medium.AUDIO, Medium.VIDEO)
REPOSITORY = ModelRepository()
STUBS = [name for name in REPOSITORY.names() if list((REPOSITORY.root / name).glob("*/model.py"))]  # no ensembles
IMAGE = set(REPOSITORY.needed_by(["deepfake_image"])) & set(STUBS)
AUDIO = set(REPOSITORY.needed_by(["deepfake_audio"])) & set(STUBS)


class Scene:
    """A server whose canaries fail as told, whose counts move as told, and which writes down what is loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: dict[Medium, DeepScanError] = {}
        self.stubs = {100 + number: name for number, name in enumerate(STUBS)}
        self.work: dict[str, Work] = {}
        self.loaded: list[str] = []
        self.said: list[str] = []
        scene = self

        class Admin:
            def __init__(self, url: str) -> None:
                pass

            def __enter__(self) -> Admin:
                return self

            def __exit__(self, *error: object) -> None:
                pass

            def load_model(self, model: str) -> None:
                scene.loaded.append(model)

            def get_model_config(self, model: str, as_json: bool) -> dict[str, Any]:
                return {"config": {"instance_group": [{"count": 1}]}}

        def sing(url: str, seconds: float, media: tuple[Medium, ...]) -> None:
            for medium in media:
                if medium in self.errors:
                    raise self.errors[medium]

        monkeypatch.setattr("serving.canary.sing", sing)
        monkeypatch.setattr(watcher, "InferenceServerClient", Admin)
        monkeypatch.setattr(watcher, "stub_processes", lambda server: dict(self.stubs))
        monkeypatch.setattr(watcher, "ask_work", lambda url: dict(self.work))
        monkeypatch.setattr(watcher.Watcher, "_touch", lambda watched, model: None)
        self.old: set[int] = set()
        self.watcher = watcher.Watcher("", "", 1, REPOSITORY, self.said.append, MEDIA)
        self.watcher.old = self  # type: ignore[assignment]
        self.watcher._wanted.update(self.stubs.values())

    def __contains__(self, pid: object) -> bool:
        return pid in self.old

    def add(self, pids: list[int]) -> None:
        self.old |= set(pids)

    def looks(self, times: int, moving: Set[str] = frozenset()) -> None:
        """Several looks with canaries, while some models work."""
        for _ in range(times):
            for name in moving:
                self.work[name] = Work(self.work.get(name, Work()).done + 1)
            self.watcher._listen()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize("error", [DeadlineError("late"), OverloadedError("full")], ids=lambda error: str(error.code))
def test_a_busy_server_is_not_repaired(scene: Scene, error: DeepScanError) -> None:
    scene.errors = dict.fromkeys(MEDIA, error)
    scene.looks(10 * LOOKS, moving={"face_detector", "audio_voice"})
    assert scene.loaded == []
    assert not scene.watcher.healthy
    assert len(scene.said) == 1
    assert scene.said[0].startswith("busy")
    scene.errors = {}
    scene.looks(1)
    assert scene.watcher.healthy


def test_a_medium_that_stands_still_is_repaired_and_no_other(scene: Scene) -> None:
    scene.errors = {Medium.AUDIO: DeadlineError("late")}
    scene.looks(LOOKS - 1, moving={"face_detector"})
    assert scene.loaded == []
    scene.looks(1, moving={"face_detector"})
    assert set(scene.loaded) == AUDIO
    assert scene.watcher.repairs == 1
    assert {scene.stubs[pid] for pid in scene.old} == AUDIO
    scene.looks(LOOKS - 1)  # what was repaired gets its time again
    assert scene.watcher.repairs == 1


def test_another_failure_is_repaired_at_once_and_only_its_medium(scene: Scene) -> None:
    scene.errors = {Medium.IMAGE: UnavailableError("a model stopped"), Medium.VIDEO: DeadlineError("late")}
    scene.looks(1)
    assert set(scene.loaded) == IMAGE


def test_a_lost_stub_is_found_though_an_old_one_of_its_model_still_works(scene: Scene) -> None:
    pid = next(pid for pid, model in scene.stubs.items() if model == "deepfake_video")
    assert scene.watcher._lost() == set()
    scene.old.add(pid)
    assert scene.watcher._lost() == {"deepfake_video"}
    scene.stubs[999] = "deepfake_video"
    assert scene.watcher._lost() == set()


def test_counts_that_cannot_be_asked_for_are_told_and_prove_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> dict[str, Work]:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(watcher, "ask_work", refuse)
    scene.errors = {Medium.IMAGE: DeadlineError("late")}
    scene.looks(2 * LOOKS)
    assert scene.loaded == []
    assert any("refused" in line for line in scene.said)
