"""Any convolutional backbone of timm (``timm/<name>``) under the common head, where timm is installed."""

from __future__ import annotations

import importlib.util
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from training.models.output import Affine, LinearHead, Output

if TYPE_CHECKING:
    from training.models.registry import Network

SIZE = 160
REMEDY = "pip install --no-deps timm==1.0.31 torchvision, beside the extra 'train'"
_LOG = logging.getLogger(__name__)
_SHIM: list[torch.library.Library] = []


def import_timm() -> Any:
    """The package, with the operator that torchvision's CPU wheels miss beside this build of torch.

    Raises:
        InstallationError: timm (or torchvision, which it imports) is not there.
    """
    if importlib.util.find_spec("timm") is None:
        raise InstallationError("timm is not installed", code=ErrorCode.MODEL_MISSING, remedy=REMEDY)
    if not _SHIM:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):  # what torchvision names at import without asking whether it is there
            if not hasattr(torch.ops.torchvision, operator):
                library.define(  # type: ignore[no-untyped-call]
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        _SHIM.append(library)  # an operator lives as long as its library
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise InstallationError(
            f"timm does not import: {error}", code=ErrorCode.MODEL_MISSING, remedy=REMEDY
        ) from error
    return timm


class TimmBackbone(nn.Module):
    """Normalised float [n, 3, s, s] to a logit, the pooled features and an exact map of the last feature map's cells.

    Args:
        name: a name of ``timm.list_models()``.
        pretrained: fetch the weights that timm knows for it (from timm's own source, which needs a network).

    Raises:
        InstallationError: timm is missing, does not know the name, or cannot get the weights.
        ValueError: the backbone ends in tokens, not in a map of channels first.
    """

    takes = "crop"

    def __init__(self, name: str, pretrained: bool = False, dropout: float = 0.2) -> None:
        super().__init__()
        timm = import_timm()
        if name not in timm.list_models():
            raise InstallationError(
                f"timm has no model {name!r}", code=ErrorCode.MODEL_MISSING, remedy="see timm.list_models()"
            )
        try:
            self.backbone = timm.create_model(name, pretrained=pretrained, num_classes=0)
        except Exception as error:  # every hub has its own errors
            raise InstallationError(
                f"timm cannot create {name}: {str(error)[:200]}",
                code=ErrorCode.MODEL_MISSING,
                remedy="begin without pretrained weights, or put them into timm's cache",
            ) from error
        told = self.backbone.pretrained_cfg
        self.entry = Affine(tuple(told["mean"]), tuple(told["std"]))
        try:
            with torch.no_grad():
                final = self.backbone.eval().forward_features(torch.zeros(1, 3, SIZE, SIZE))
        except AssertionError as error:  # of backbones with one size of their own
            raise ValueError(f"{name} does not take {SIZE} px, so it ends in no map of cells: {error}") from error
        self.features = int(self.backbone.num_features)
        if final.ndim != 4 or final.shape[1] != self.features:
            raise ValueError(f"{name} ends in a tensor of shape {tuple(final.shape)}, a map [n, c, h, w] is needed")
        self.head = LinearHead(self.features, dropout)

    def forward(self, x: Tensor) -> Output:
        result: Output = self.head(self.backbone.forward_features(self.entry(x)))
        return result


def _pretrained(name: str) -> nn.Module:
    try:
        return TimmBackbone(name, pretrained=True)
    except InstallationError as error:
        if not error.message.startswith("timm cannot create"):
            raise
        _LOG.warning("timm/%s begins without pretrained weights, which costs quality: %s", name, error.message)
        return TimmBackbone(name)


def entry(name: str) -> Network:
    """The registry's entry of a timm backbone.

    Raises:
        InstallationError: timm is missing or does not know the name.
    """
    from training.models.registry import Base, Network

    if name not in import_timm().list_models():
        raise InstallationError(
            f"timm has no model {name!r}", code=ErrorCode.MODEL_MISSING, remedy="see timm.list_models()"
        )
    build, empty = partial(_pretrained, name), partial(TimmBackbone, name)
    weights = Base(f"timm's weights of {name}", "that of their author, which we do not know", False)
    return Network(f"timm/{name}", "cnn", "crop", build, empty, SIZE, bases=(weights,))
