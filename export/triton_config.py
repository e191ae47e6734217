"""Triton configurations from cards, built as protobuf messages and printed as text.

Each model gets three: ``config.pbtxt`` (profile ``cpu``) and ``configs/{onnx,tensorrt}.pbtxt``, which
``tritonserver --model-config-name`` picks. Queue policies are never written: each of them makes some
requests wait half a second on this server.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from cards.card import ModelCard, Profile, Tensor

PROFILES: tuple[Profile, ...] = ("cpu", "onnx", "tensorrt")
_TYPES = {
    "UINT8": pb.TYPE_UINT8,
    "INT32": pb.TYPE_INT32,
    "INT64": pb.TYPE_INT64,
    "FP16": pb.TYPE_FP16,
    "FP32": pb.TYPE_FP32,
    "BYTES": pb.TYPE_STRING,
}
_HEADER = "# Generated from card.yaml by `python -m export.generate`; edit the card instead.\n"
DALI_STAGES = ("audio_decode", "image_decode", "video_decode")
"""Stages that the DALI backend takes over on a GPU."""


def model_config(card: ModelCard, profile: Profile) -> Any:
    """The ``ModelConfig`` message of a card for one profile."""
    config = pb.ModelConfig(name=card.name, max_batch_size=card.max_batch_size)
    dali = card.name in DALI_STAGES and profile != "cpu"
    for tensor in card.inputs:
        entry = config.input.add(name=tensor.name, data_type=_TYPES[tensor.dtype], dims=tensor.shape)
        entry.optional = tensor.optional
        # Pictures of different sizes share a DALI batch.
        entry.allow_ragged_batch = dali
    for tensor in card.outputs:
        config.output.add(name=tensor.name, data_type=_TYPES[tensor.dtype], dims=tensor.shape)
    if card.kind == "ensemble":
        _add_steps(config, card)
        return config
    _choose_backend(config, card, profile, dali)
    if card.batching is not None or dali:
        batching = config.dynamic_batching
        batching.SetInParent()
        if card.batching is not None:
            batching.preferred_batch_size.extend(card.batching.preferred)
            batching.max_queue_delay_microseconds = card.batching.max_queue_delay_us
    if card.kind == "network":
        _add_warm_up(config, card)
    if card.decoupled:
        config.model_transaction_policy.decoupled = True
    if config.backend == "python":
        config.parameters["profile"].string_value = profile
    return config


def config_text(card: ModelCard, profile: Profile) -> str:
    """The text of a configuration file."""
    return _HEADER + str(text_format.MessageToString(model_config(card, profile)))


def _choose_backend(config: Any, card: ModelCard, profile: Profile, dali: bool) -> None:
    group = config.instance_group.add()
    if dali:
        config.backend = "dali"
    elif card.kind == "stage" or profile == "cpu":
        config.backend = "python"
    elif profile == "onnx":
        config.backend = "onnxruntime"
        config.default_model_filename = card.onnx_file(card.serve["onnx"])
    else:
        config.backend = "tensorrt"
        config.default_model_filename = "model.plan"
    on_gpu = config.backend != "python"
    group.kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    group.count = 1 if on_gpu else card.instances


def _add_steps(config: Any, card: ModelCard) -> None:
    config.platform = "ensemble"
    for step in card.steps:
        entry = config.ensemble_scheduling.step.add(model_name=step.model, model_version=-1)
        for name, source in step.inputs.items():
            entry.input_map[name] = source
        for name, target in step.outputs.items():
            entry.output_map[name] = target


def _add_warm_up(config: Any, card: ModelCard) -> None:
    """One run at the shape that is expected most, so that the first request does not pay for set-up."""
    warm_up = config.model_warmup.add(name="expected", batch_size=1)
    for tensor in card.inputs:
        entry = warm_up.inputs[tensor.name]
        entry.data_type = _TYPES[tensor.dtype]
        entry.dims.extend(_expected_shape(card, tensor))
        entry.random_data = True


def _expected_shape(card: ModelCard, tensor: Tensor) -> tuple[int, ...]:
    shapes = card.engine_shapes.get(tensor.name)
    return shapes.optimum[1:] if shapes else tensor.shape
