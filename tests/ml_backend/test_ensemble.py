"""The ensemble asks every member, gives each its own view, and masks what is missing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepscan_client.errors import RequestError
from ml_backend import EnsembleDeepfakeDetector
from training.models.output import LinearHead, Output, normalised
from training.models.registry import NETWORKS, read_checkpoint
from training.models.sequence_rnn import SequenceRnn


def odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(3, 0.5)

    def forward(self, x: Tensor) -> Output:
        output: Output = self.head(x)
        return output


def test_no_member_is_ignored() -> None:
    base = {"a": 0.6, "b": 0.3, "c": 0.8}
    names = list(base)

    def ensemble(values: dict[str, float]) -> float:
        members: dict[str, Any] = {name: (lambda _, p=values[name]: p) for name in names}
        return float(EnsembleDeepfakeDetector(members)(b"photo"))

    before = ensemble(base)
    for name in names:
        assert ensemble({**base, name: 0.99}) > before + 0.05, name
        assert ensemble({**base, name: 0.01}) < before - 0.05, name


def test_the_answer_is_the_weighted_sum_of_log_odds_and_the_shares_add_up() -> None:
    made = EnsembleDeepfakeDetector(
        {"a": lambda _: 0.9, "b": lambda _: 0.2}, weights={"a": 0.5, "b": 2.0}, bias=0.3, calibrations={"a": (2.0, 0.1)}
    )
    found = made(b"photo")
    expected = 0.5 * (2 * odds(0.9) + 0.1) + 2.0 * odds(0.2) + 0.3
    assert found.log_odds[0] == pytest.approx(expected)
    assert float(found) == pytest.approx(1 / (1 + math.exp(-expected)))
    assert sum(share[0] for share in found.shares.values()) + 0.3 == pytest.approx(expected)


def test_each_member_gets_its_own_view() -> None:
    torch.manual_seed(0)
    cnn, rnn = Cnn().train(), SequenceRnn()
    crop, embeddings, mask = torch.randn(2, 3, 8, 8), torch.randn(2, 16, 1280), torch.ones(2, 16)
    made = EnsembleDeepfakeDetector({"cnn": cnn, "rnn": rnn, "voice": lambda wave: wave.mean(axis=1)})
    sample = {"crop": crop, "embeddings": (embeddings, mask), "voice": np.full((2, 5), 0.7)}
    found = made(sample)
    assert cnn.training, "a member's mode is left as it was"
    with torch.inference_mode():
        logits = [cnn.eval()(crop).logit[:, 0], rnn.eval()(embeddings, mask).logit[:, 0]]
    expected = (np.stack([each.double().numpy() for each in logits]).sum(axis=0) + odds(0.7)) / 3
    np.testing.assert_allclose(found.log_odds, expected, rtol=1e-5)
    same = made(SimpleNamespace(**sample))
    np.testing.assert_allclose(same.log_odds, found.log_odds)


def test_a_missing_view_is_masked_and_named() -> None:
    made = EnsembleDeepfakeDetector({"image": lambda _: 0.9, "sound": lambda _: 0.1})
    found = made({"image": b"photo"})
    assert float(found) == pytest.approx(0.9)
    assert found.missing == ("sound",)
    assert found.shares["sound"][0] == 0
    with pytest.raises(RequestError, match="no member"):
        made({"text": "nothing for anyone"})


def founding() -> tuple[list[nn.Module], EnsembleDeepfakeDetector]:
    """The founding document's own block: ``[cnn_model, rnn_model, autoencoder_model]``."""
    torch.manual_seed(0)
    models = [NETWORKS[name].empty().eval() for name in ("deepscan_cnn", "sequence_rnn", "denoising_autoencoder")]
    return models, EnsembleDeepfakeDetector(models)


@pytest.mark.parametrize("side", [96, 128, 256, 300])
def test_one_crop_for_all_reaches_each_image_network_at_its_own_size(side: int) -> None:
    (cnn, _, autoencoder), ensemble = founding()
    crop = torch.rand(2, 3, side, side) * 2 - 1
    found = ensemble(crop)
    assert found.missing == ("SequenceRnn",)
    assert "embeddings" in found.reasons["SequenceRnn"]
    expected = []
    with torch.inference_mode():
        for model, own in ((cnn, 256), (autoencoder, 128)):
            view = nn.functional.interpolate(crop, size=own, mode="bilinear", antialias=True) if side != own else crop
            expected.append(model(view).logit[:, 0].double().numpy())
    np.testing.assert_allclose(found.log_odds, sum(expected) / 2, rtol=1e-4, atol=1e-6)


def test_a_crop_and_embeddings_are_heard_by_all_three() -> None:
    _, ensemble = founding()
    found = ensemble({"crop": torch.randn(1, 3, 256, 256), "embeddings": torch.randn(1, 16, 1280)})
    assert found.missing == ()
    alone = ensemble(np.zeros((1, 16, 1280)))
    assert alone.missing == ("DeepScanCnn", "DenoisingAutoencoder")


def test_pixels_are_normalised_as_in_training() -> None:
    _, ensemble = founding()
    pixels = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    np.testing.assert_allclose(ensemble(pixels).log_odds, ensemble(normalised(pixels)).log_odds, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 100, 80),
        torch.zeros(2, 1, 128, 128),
        torch.zeros(2, 16, 77),
        torch.zeros(2, 16, 1280, 1),
        torch.zeros(()),
        b"a photo",
        "no_such_file.jpg",
        (torch.zeros(1, 16, 1280), torch.ones(1, 9)),
    ],
    ids=lambda value: str(getattr(value, "shape", type(value).__name__)),
)
def test_what_no_member_takes_is_answered_with_the_reasons(wrong: Any) -> None:
    _, ensemble = founding()
    with pytest.raises(RequestError, match=r"no member .*DeepScanCnn: .*SequenceRnn: "):
        ensemble(wrong)
    heard = EnsembleDeepfakeDetector({**ensemble.models, "other": lambda _: [0.5, 0.5]})(wrong)
    assert heard.missing == tuple(ensemble.models)


def test_clips_and_recordings_reach_their_networks_too() -> None:
    models = {name: NETWORKS[name].empty() for name in ("hybrid", "clip_head", "voice_cepstra", "mobile_cnn")}
    sample = {
        "clip": torch.randn(1, 16, 3, 96, 96),
        "embeddings": (torch.randn(1, 5, 1280), torch.ones(1, 5)),
        "audio": torch.randn(1, NETWORKS["voice_cepstra"].size),
        "crop": torch.randn(1, 3, 96, 96),
    }
    assert EnsembleDeepfakeDetector(models)(sample).missing == ()
    short = EnsembleDeepfakeDetector(models)({**sample, "clip": torch.randn(1, 9, 3, 96, 96)})
    assert short.missing == ("hybrid",)
    assert "16 frames" in short.reasons["hybrid"]


def test_a_trained_network_is_asked_at_the_side_that_it_was_trained_at(tmp_path: Path) -> None:
    state = {"state": NETWORKS["deepscan_cnn"].empty().state_dict(), "network": "deepscan_cnn"}
    torch.save({**state, "settings": json.dumps({"size": 64})}, tmp_path / "model.pt")
    _, model, _ = read_checkpoint(tmp_path / "model.pt")
    crop = torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        view = nn.functional.interpolate(crop, size=64, mode="bilinear", antialias=True)
        expected = model(view).logit[:, 0].double().numpy()
    np.testing.assert_allclose(EnsembleDeepfakeDetector([model])(crop).log_odds, expected, rtol=1e-4)


def test_a_strangers_module_that_refuses_its_input_is_masked_with_its_words() -> None:
    made = EnsembleDeepfakeDetector({"own": nn.Linear(4, 1), "other": lambda _: [0.5, 0.5]})
    found = made(torch.randn(2, 5))
    assert found.missing == ("own",)
    assert "shapes" in found.reasons["own"]
    assert made(torch.randn(2, 4)).missing == ()


def test_a_verdict_without_a_face_counts_as_missing() -> None:
    class Engine:
        def predict_image(self, image: Any) -> Any:
            return SimpleNamespace(fake_probability=None if image == b"wall" else 0.8)

    made = EnsembleDeepfakeDetector([Engine(), lambda _: 0.5], views={"Engine": "image", "<lambda>": "image"})
    assert float(made({"image": b"face"})) == pytest.approx(1 / (1 + math.exp(-odds(0.8) / 2)))
    assert float(made({"image": b"wall"})) == pytest.approx(0.5)


def test_wrong_members_are_refused() -> None:
    with pytest.raises(ValueError, match="no member is named"):
        EnsembleDeepfakeDetector({"a": lambda _: 0.5}, weights={"b": 1.0})
    with pytest.raises(ValueError, match="negative"):
        EnsembleDeepfakeDetector({"a": lambda _: 0.5}, weights={"a": -1.0})
    with pytest.raises(RequestError, match="no probability"):
        EnsembleDeepfakeDetector({"a": lambda _: 3.0})(b"x")
    with pytest.raises(RequestError, match="different numbers"):
        EnsembleDeepfakeDetector({"a": lambda _: 0.5, "b": lambda _: [0.5, 0.5]})(b"x")


def test_two_of_a_kind_keep_two_names() -> None:
    made = EnsembleDeepfakeDetector([Cnn(), Cnn()])
    assert list(made.models) == ["Cnn", "Cnn_2"]
    assert len(made(torch.randn(1, 3, 4, 4)).shares) == 2


def test_importing_the_package_loads_no_torch() -> None:
    code = (
        "import sys, ml_backend; assert 'torch' not in sys.modules; dir(ml_backend); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
