"""From PyTorch to an ONNX graph, and whether it answers as the network does and as the card says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from cards.card import ModelCard
from export.graph import OPSET
from export.networks import OUTPUTS
from export.quantize import session

SECOND_BATCH = 5
"""Items of the batch, beside one, at which both are compared."""


def to_onnx(
    served: nn.Module, examples: Sequence[Tensor], inputs: Sequence[str], name: str, outputs: Sequence[str] = OUTPUTS
) -> onnx.ModelProto:
    """Export a served network with a dynamic batch (torch's dynamo exporter, opset 20).

    Args:
        examples: one tensor for each input, of two items.
        inputs, outputs: their names; name: of the graph.
    """
    program = torch.onnx.export(
        served.eval(),
        tuple(examples),
        input_names=list(inputs),
        output_names=list(outputs),
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},) * len(examples),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model: onnx.ModelProto = program.model_proto
    # The exporter leaves paths of this machine and stack traces in the metadata: they are nobody's business.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    model.graph.name, model.producer_name, model.doc_string = name, "deepscan", ""
    return model


def parity(
    served: nn.Module,
    path: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    batches: Sequence[int] = (1, SECOND_BATCH),
    outputs: Sequence[str] = OUTPUTS,
) -> dict[str, float]:
    """Largest absolute difference of each output between PyTorch and ONNX Runtime, at batch 1 and 5.

    Args:
        arrays: inputs by name, in the order of the served network's arguments.

    Raises:
        RuntimeError: an output has another shape.
    """
    runtime = session(path)
    errors = {}
    for batch in batches:
        some = {name: value[:batch] for name, value in arrays.items()}
        answers = runtime.run(list(outputs), some)
        with torch.inference_mode():
            expected = served(*(torch.from_numpy(value) for value in some.values()))
        for name, answer, truth in zip(outputs, answers, expected, strict=True):
            if answer.shape != tuple(truth.shape):
                raise RuntimeError(f"{name}: shape {answer.shape}, expected {tuple(truth.shape)}")
            errors[f"{name.lower()}_batch_{batch}"] = float(np.abs(answer - truth.numpy()).max())
    return errors


def check_outputs(card: ModelCard, path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Compare names and shapes of a graph with its card.

    Raises:
        ValueError: they differ; the message names the tensor.
    """
    runtime = session(path)
    names = [value.name for value in runtime.get_outputs()]
    answers = dict(zip(names, runtime.run(None, dict(arrays)), strict=True))
    told = {tensor.name: tensor.shape for tensor in card.outputs}
    shapes = {name: value.shape[1:] for name, value in answers.items()}
    for wanted, held in ((told, shapes), ({t.name: t.shape for t in card.inputs}, _shapes(arrays))):
        if wanted != held:
            raise ValueError(f"the card of {card.name} says {wanted}, the graph has {held}")


def _shapes(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape[1:] for name, value in arrays.items()}
