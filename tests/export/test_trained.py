"""A user's repository: the licence of each network is that of everything that went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from cards.record import Calibration, DataSource
from export.provenance import bases_of
from export.trained import _told
from training.families import Trained
from training.fit import FitResult
from training.models.registry import network
from training.report import COMMERCIAL, RESEARCH, licence_of
from training.settings import FitSettings

FREE = DataSource(source="own", label="real", items=3, licence="MIT", commercial=True)


def trained(name: str, *sources: DataSource) -> Trained:
    return Trained(
        entry=network(name),
        result=FitResult(Path("model.pt"), {}, 1, 1, 1, 1.0, "epochs", "32-true", 1),
        settings=FitSettings(),
        logits=np.zeros(2),
        labels=np.array([0, 1]),
        measured={},
        calibration=Calibration(slope=1.0, intercept=0.0, fitted_on="nothing", items=2),
        sources=sources,
        seconds=1.0,
    )


@pytest.mark.parametrize("name", ["sequence_rnn", "sequence_gru"])
def test_what_is_fed_by_a_research_network_is_for_research_however_free_its_data_are(name: str) -> None:
    shipped = ModelRepository()
    assert shipped.record("portrait_cnn").commercial is False
    told = _told(trained(name, FREE), shipped)
    assert told["commercial"] is False
    assert "portrait_cnn" in told["licence"]
    assert told["training"]["built_on"][0]["name"] == "portrait_cnn"


def test_without_the_record_of_what_it_builds_on_nothing_is_taken_for_free(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    bases = bases_of(network("clip_head"), ModelRepository(tmp_path / "models"))
    assert licence_of((FREE,), bases)["commercial"] is False


@pytest.mark.parametrize("name", ["deepscan_cnn", "efficientnet_lite0", "mobile_cnn", "hybrid", "voice_cepstra"])
def test_free_data_and_free_weights_stay_free(name: str) -> None:
    told = _told(trained(name, FREE), ModelRepository())
    assert (told["licence"], told["commercial"]) == (COMMERCIAL, True)
    bound = _told(trained(name, FREE, FREE.model_copy(update={"commercial": False})), ModelRepository())
    assert (bound["licence"], bound["commercial"]) == (RESEARCH, False)
