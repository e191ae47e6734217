"""Distances with a closed form, and what a far face does to a verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from cards.record import VersionRecord
from deepscan_client.codes import Label, Reason
from deepscan_client.errors import InstallationError
from deepscan_client.verdict import Verdict
from export.novelty import install
from pipelines.assessment.local import LocalJudge
from pipelines.novelty import FILE, Space, profile

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def planted(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes in 40 directions: three with a spread of 3, the others of 0.5."""
    rng = np.random.default_rng(seed)
    spread = np.r_[np.full(3, 3.0), np.full(37, 0.5)]
    classes = rng.integers(0, 2, count)
    centre = np.where(classes[:, None] == 0, 0.0, 4.0) * np.eye(40)[5]
    return rng.normal(0, spread, (count, 40)) + centre + shift * np.eye(40)[10], classes


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.fit(*planted(4000, 0), directions=3)


def test_the_distance_is_mahalanobis_under_the_planted_covariance(space: Space) -> None:
    point = np.zeros((1, 40))
    point[0, 0] = 6.0  # two standard deviations along a wide direction
    point[0, 20] = 1.5  # three along a narrow one
    assert space.distances(point)[0] == pytest.approx(np.sqrt((4 + 9) / 40), rel=0.05)


def test_a_new_item_lies_at_one_and_a_shifted_one_beyond_nearly_all_others(space: Space) -> None:
    usual = space.distances(planted(2000, 1)[0])
    assert np.sqrt((usual**2).mean()) == pytest.approx(1.0, abs=0.05)
    limit = np.quantile(usual, 0.99)
    assert (space.distances(planted(500, 2, shift=4.0)[0]) > limit).mean() > 0.95


def test_a_second_class_is_not_strange(space: Space) -> None:
    only_one = Space.fit(planted(4000, 0)[0][planted(4000, 0)[1] == 0], np.zeros((planted(4000, 0)[1] == 0).sum()), 3)
    other = np.eye(40)[5:6] * 4.0
    assert space.distances(other)[0] < 0.2 < only_one.distances(other)[0]


def test_the_file_keeps_the_distances_and_is_small(space: Space, tmp_path: Path) -> None:
    space.write(tmp_path / FILE)
    points = planted(100, 3)[0]
    assert Space.read(tmp_path / FILE).distances(points) == pytest.approx(space.distances(points), rel=1e-6)


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no zip")
    with pytest.raises(InstallationError, match=r"novelty\.npz"):
        Space.read(tmp_path / FILE)


def test_noise_that_answers_weakly_is_strange_by_its_profile_alone() -> None:
    rng = np.random.default_rng(4)
    strength = rng.uniform(0.5, 2.0, (600, 1))  # faces differ in how strongly features answer
    faces = np.abs(rng.normal(np.r_[np.full(20, 2.0), np.zeros(60)], 0.4, (600, 80))) * strength
    noise = np.abs(rng.normal(0.0, 0.3, (50, 80)))
    space = Space.fit(profile(faces[:400]), np.zeros(400, dtype=np.int64), 8)
    limit = np.quantile(space.distances(profile(faces[400:])), 0.99)
    assert (space.distances(profile(noise)) > limit).all()
    plain = Space.fit(faces[:400], np.zeros(400, dtype=np.int64), 8)
    assert (plain.distances(noise) < np.quantile(plain.distances(faces[400:]), 0.99)).all()


def test_a_record_whose_file_has_no_hash_is_refused() -> None:
    told = json.loads((ModelRepository().folder("photo_cnn") / "record.json").read_text(encoding="utf-8"))
    told["novelty"] = {
        "file": "elsewhere.npz",
        "threshold": 1.0,
        "abstain_above": 1.5,
        "quantile": 0.99,
        "items": 5,
        "fitted_on": "",
    }
    with pytest.raises(ValueError, match="no hash"):
        VersionRecord.model_validate(told)


def verdict_with(tmp_path: Path, threshold: float, far: float) -> Verdict:
    """The verdict on the sample photo by a repository whose network has a space of random embeddings."""
    shipped = ModelRepository()
    root = tmp_path / "models"
    shutil.copytree(shipped.root, root)
    run = tmp_path / "run"
    run.mkdir()
    rng = np.random.default_rng(0)
    Space.fit(profile(rng.random((300, 1280))), rng.integers(0, 2, 300)).write(run / FILE)
    limits = {"threshold": threshold, "abstain_above": far, "quantile": 0.99, "items": 300, "fitted_on": "noise"}
    (run / "novelty.json").write_text(json.dumps({"file": FILE, **limits}), encoding="utf-8")
    repository = ModelRepository(root)
    install(run, repository, "photo_cnn")
    judge = LocalJudge(repository)
    return judge.verdict(*judge.read((SAMPLES / "astronaut.jpg").read_bytes()))


def plain() -> Verdict:
    judge = LocalJudge(ModelRepository())
    return judge.verdict(*judge.read((SAMPLES / "astronaut.jpg").read_bytes()))


def test_a_near_face_gets_the_verdict_that_it_got_before(tmp_path: Path) -> None:
    found = verdict_with(tmp_path, 1e6, 2e6)
    assert (found.label, found.fake_probability, found.reasons) == (
        plain().label,
        plain().fake_probability,
        plain().reasons,
    )


def test_a_far_face_is_named_and_keeps_its_label(tmp_path: Path) -> None:
    found = verdict_with(tmp_path, 1e-6, 1e6)
    assert Reason.OUT_OF_DISTRIBUTION in found.reasons
    assert Reason.FUSION_MISMATCH not in found.reasons
    assert found.label is plain().label


def test_a_face_that_is_further_still_is_inconclusive_and_keeps_its_probability(tmp_path: Path) -> None:
    found = verdict_with(tmp_path, 1e-6, 2e-6)
    assert found.label is Label.INCONCLUSIVE
    assert found.fake_probability == plain().fake_probability


def test_parameters_that_were_changed_are_refused(tmp_path: Path) -> None:
    verdict_with(tmp_path, 1.0, 2.0)
    file = tmp_path / "models" / "photo_cnn" / "1" / FILE
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InstallationError, match=r"novelty\.npz"):
        LocalJudge(ModelRepository(tmp_path / "models"))
