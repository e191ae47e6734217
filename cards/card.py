"""The model card: the hand-written description of a model, ``model_repository/<model>/card.yaml``.

Everything that repeats a part of it is generated from it. Field texts below are the reference.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cards.limits import MAX_FACES

DataType = Literal["UINT8", "INT32", "INT64", "FP32", "FP16", "BYTES"]
Precision = Literal["fp32", "fp16", "int8"]
Profile = Literal["cpu", "onnx", "tensorrt"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tensor(Strict):
    """One input or output, without the batch dimension."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    dtype: DataType
    shape: tuple[int, ...]
    """Sizes; -1 where the size varies."""
    optional: bool = False
    """An input that may be left out; an output that is computed only for a request that wants it."""
    description: str = ""


class Licence(Strict):
    """Terms of the weights and where they came from."""

    name: str
    origin: str = ""
    """Package and version that the weights were converted from; empty where we trained them."""
    attribution: str = ""


class Preprocessing(Strict):
    """From an aligned face to the network's input. Training, serving and export read this."""

    size: int = Field(ge=32, le=1024)
    """Side of the square crop in pixels."""
    margin: float = Field(ge=1.0, le=3.0)
    """How much more than the tight face box the crop shows; 1 is tight."""
    mean: tuple[float, float, float]
    """Subtracted from RGB values of 0 to 1, inside the graph."""
    std: tuple[float, float, float]
    """Divided by, inside the graph."""


class FaceDetection(Strict):
    """How the face detector is used on a photo (``pipelines/image/faces.py``)."""

    scale: float = Field(default=0.3125, gt=0, le=1)
    """The detector's picture is this share of the photo's long side, within the next two limits."""
    min_side: int = Field(default=256, ge=32)
    max_side: int = Field(default=1280, ge=32)
    threshold: float = Field(default=0.35, gt=0, lt=1)
    """Smallest score of a face, unless nothing was found above it."""
    closer_below: float = Field(default=0.1, ge=0, lt=1)
    """Where a face spans less than this share of the photo's long side, a closer look follows,"""
    closer_zoom: float = Field(default=2.0, ge=1, le=4)
    """with a picture larger by this factor: among small faces the first look misses smaller ones."""
    rescue_threshold: float = Field(default=0.3, gt=0, lt=1)
    """Smallest score in the second look, which is taken only where the first found nothing."""
    rescue_side: int = Field(default=320, ge=32, multiple_of=32)
    """Side of the square pictures of the second look, in pixels."""
    rescue_fill: float = Field(default=0.667, gt=0, le=1)
    """Share of the second look's side that the shrunk photo fills: a tight crop needs a border."""
    nms_iou: float = Field(default=0.3, gt=0, lt=1)
    """Two boxes that overlap by more than this are one face."""
    max_faces: int = Field(default=MAX_FACES, ge=1, le=MAX_FACES)
    """The largest faces are kept."""


class Quality(Strict):
    """Below these limits a face's probability is reported but not acted on."""

    min_face_px: float = 40.0
    """Longer side of the face box in pixels of the decoded photo."""
    min_sharpness: float = 2.0
    """Variance of the Laplacian of the aligned crop's luminance."""


class Batching(Strict):
    """Triton's dynamic batching. Queue policies are left out on purpose: they stall this server."""

    preferred: tuple[int, ...] = ()
    max_queue_delay_us: int = Field(default=0, ge=0, le=100_000)


class Session(Strict):
    """ONNX Runtime's session on the ``cpu`` profile."""

    intra_op_threads: int = 1
    inter_op_threads: int = 1
    together: int | None = Field(default=None, ge=1)
    """Items of a batch that are run at a time; all where it is left out. On a CPU a batch of pictures saves nothing
    (measured: one at a time is up to a fifth faster, it stays in the cache), and its memory is kept for ever."""


class EngineShapes(Strict):
    """TensorRT's optimisation profile for one input, each with the batch dimension."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    @model_validator(mode="after")
    def _ordered(self) -> EngineShapes:
        if not len(self.minimum) == len(self.optimum) == len(self.maximum):
            raise ValueError("minimum, optimum and maximum need the same number of dimensions")
        if any(not a <= b <= c for a, b, c in zip(self.minimum, self.optimum, self.maximum)):
            raise ValueError("minimum <= optimum <= maximum must hold in each dimension")
        return self


class PrecisionBudget(Strict):
    """What a lower precision may cost against FP32 before it is refused."""

    max_auc_drop: float = 0.005
    max_flip_rate: float = 0.01


class Tight(Strict):
    """Which networks judge a face whose photo ends there: of a wide crop little would be more than drawn-out border."""

    inside: float = Field(gt=0, lt=1)
    """Share of the widest crop that must lie inside the photo; below it the stand-ins are asked."""
    instead: dict[Name, Name]
    """Network of ``calls``: the one of them that is asked in its place."""


class Step(Strict):
    """One step of an ensemble: which tensor of the ensemble feeds which tensor of the model."""

    model: Name
    inputs: dict[str, str]
    """Tensor of the model: tensor of the ensemble."""
    outputs: dict[str, str]


class ModelCard(Strict):
    """One model of the repository."""

    name: Name
    kind: Literal["network", "stage", "ensemble"]
    """``network``: an ONNX file; ``stage``: Python over ``pipelines``; ``ensemble``: steps."""
    title: str
    description: str
    family: str = ""
    """For detectors: cnn, rnn, autoencoder, hybrid, audio, multimodal."""
    licence: Licence = Licence(name="Proprietary - DeepScan Team")
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int = Field(default=0, ge=0)
    batching: Batching | None = None
    instances: int = Field(default=1, ge=1, le=64)
    """Copies on the ``cpu`` profile; on a GPU one copy on each GPU."""
    on_request: bool = False
    """Where no public model needs it, our server loads it only when a client asks for that (``load_model``)."""
    calls: tuple[Name, ...] = ()
    """Models that a stage calls from inside (BLS): they must be loaded for it to work."""
    tight: Tight | None = None
    """For a stage over faces; without it all of ``calls`` are asked about every face."""
    draws: Name | None = None
    """Network that a stage calls for heat maps alone, where they are asked for; where left out, that of its ``calls``
    with the finest map."""
    steps: tuple[Step, ...] = ()
    decoupled: bool = False
    """A stage that answers one request with several messages; only gRPC streams reach it."""
    preprocessing: Preprocessing | None = None
    face_detection: FaceDetection | None = None
    quality: Quality | None = None
    session: Session = Session()
    serve: dict[Profile, Precision] = {"cpu": "fp32", "onnx": "fp32", "tensorrt": "fp16"}
    """Precision that each profile serves, for networks."""
    engine_shapes: dict[str, EngineShapes] = {}
    precision_budgets: dict[Precision, PrecisionBudget] = {}

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        if (self.kind == "ensemble") != bool(self.steps):
            raise ValueError("an ensemble has steps, and nothing else has")
        if self.batching and not self.max_batch_size:
            raise ValueError("batching needs max_batch_size above 0")
        if self.decoupled and self.kind != "stage":
            raise ValueError("only a stage can be decoupled")
        if self.tight and not {*self.tight.instead, *self.tight.instead.values()} <= set(self.calls):
            raise ValueError("tight names models that the stage does not call")
        for tensors in (self.inputs, self.outputs):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise ValueError(f"a tensor name appears twice: {names}")
        return self

    def input_named(self, name: str) -> Tensor:
        """The input of that name.

        Raises:
            KeyError: there is none.
        """
        return {tensor.name: tensor for tensor in self.inputs}[name]

    def onnx_file(self, precision: Precision) -> str:
        """Name of the ONNX file of a precision inside a version folder."""
        return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
