"""Settings of a run of the two trainers; they go into the checkpoint and the record.

``Settings`` are those of the photo networks on pairs of crops (``training.train``), ``FitSettings`` those of whatever
trains on Lightning (``training.fit``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from training.data.pairs import Mixture

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Settings:
    """How a photo network is trained on pairs.

    Attributes:
        network: a crop network of ``training.models.registry``.
        size, margin: the crop (``card.preprocessing``).
        minutes: length of the run; pairs: pairs in a batch (two crops each).
        rate: largest learning rate; the head learns ``head_factor`` times faster.
        ranking: weight of the loss that wants each fake above its own real.
        average: decay of the averaged weights.
        without: sources that the run must not see (leave-kinds-out folds); watched sources are never seen.
        groups: names of the pairs of sources (``training.data.sources.PAIRS``) that the run learns from; all where
            it is empty. A network that learns one manner of faking alone learns it better.
        clean: share of the pairs without damage; reconstructed, self_blended, part_reconstructed, cross_blended,
            landmark_blended, face_swapped, upsampled, spectral_peaks: shares of the kinds of pairs; video_frames,
            screenshots: shares of the damaged pairs with that damage (``training.data.pairs.Mixture``).
        swapped: share of the pairs that exchange a rectangle (``training.data.swaps``).
        stills: whether frames of the training clips stand beside the photos (``training.data.stills``).
        fold: number of the fold of clips (``training.video.folds``) that the run must not see; -1 for none.
        licences: ``permissive`` trains on the photos whose sources allow commercial use alone.
        start: checkpoint whose averaged weights the run begins with; ImageNet's where it is empty.
        held_out: share of the clusters that only watch the run.
    """

    network: str = "frame_cnn"
    size: int = 160
    margin: float = 1.3
    minutes: float = 60.0
    pairs: int = 16
    rate: float = 5e-4
    head_factor: float = 4.0
    decay: float = 0.02
    ranking: float = 0.5
    smoothing: float = 0.02
    average: float = 0.998
    warm_up: int = 100
    seed: int = 1
    held_out: float = 0.1
    without: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    clean: float = Mixture.clean
    reconstructed: float = Mixture.reconstructed
    self_blended: float = Mixture.self_blended
    part_reconstructed: float = Mixture.part_reconstructed
    cross_blended: float = Mixture.cross_blended
    landmark_blended: float = Mixture.landmark_blended
    face_swapped: float = Mixture.face_swapped
    upsampled: float = Mixture.upsampled
    spectral_peaks: float = Mixture.spectral_peaks
    video_frames: float = Mixture.video_frames
    screenshots: float = Mixture.screenshots
    swapped: float = 0.0
    stills: bool = False
    fold: int = -1
    licences: str = "all"
    start: str = ""
    threads: int = 1
    loaders: int = 1


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained.

    Attributes:
        epochs: most epochs; patience: epochs without a better validation AUC after which it ends.
        batch_size: items that go through the network at once; accumulate: batches in one step of the optimiser.
        learning_rate, decay: of AdamW; norms and biases are not decayed. warm_up: steps of rising rate.
        schedule: ``cosine`` falls to zero over all epochs; ``constant`` suits a run that ends early.
        gamma, alpha: of the focal loss; ranking: weight of the ranking loss; smoothing: of the labels.
        use_class_weights: both classes count alike whatever their numbers; use_augmentation: ``training.augment``.
        average: decay of the averaged weights, which are then what is validated and kept; 0 keeps none.
        clip: largest norm of the gradient.
        precision: ``auto`` times two steps of each and takes the faster.
        minutes: time after which a run ends; 0 sets no limit. A run that time ended depends on the machine.
        every_steps: steps between two checkpoints within an epoch; there is one after each epoch anyway.
        devices: GPUs (or processes on a CPU); ``torchrun`` sets them by itself.
        workers: processes that prepare batches; threads: of torch on a CPU, 0 leaves torch's choice.
    """

    epochs: int = 100
    patience: int = 15
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-4
    decay: float = 0.01
    warm_up: int = 20
    schedule: Literal["cosine", "constant"] = "cosine"
    gamma: float = 2.0
    alpha: float | None = None
    ranking: float = 0.0
    smoothing: float = 0.0
    use_class_weights: bool = True
    use_augmentation: bool = True
    average: float = 0.0
    clip: float = 5.0
    precision: Precision = "auto"
    minutes: float = 0.0
    every_steps: int = 50
    seed: int = 1
    devices: int = 1
    workers: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("patience", 1),
            ("batch_size", 1),
            ("accumulate", 1),
            ("every_steps", 1),
            ("devices", 1),
            ("workers", 0),
            ("threads", 0),
            ("minutes", 0),
            ("warm_up", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must lie in [0, 1), got {self.average}")

    @property
    def step_items(self) -> int:
        """Items in one step of the optimiser."""
        return self.batch_size * self.accumulate

    @staticmethod
    def from_mapping(told: dict[str, Any]) -> FitSettings:
        """Settings of a mapping; keys that are none of them are an error.

        Raises:
            ValueError: a key is unknown or a value is out of its range.
        """
        known = {each.name for each in fields(FitSettings)}
        if unknown := set(told) - known:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        return FitSettings(**told)
