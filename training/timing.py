"""What a step of a network costs on this machine, in each precision."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from training.datasets import Drawn, TrainingData
from training.module import Batch, DetectorModule
from training.settings import FitSettings, Precision

Draw = Callable[[int, torch.device], Batch]
"""A batch by its number, on a device."""
_LOG = logging.getLogger(__name__)


def faster(
    name: str, build: Callable[[FitSettings], DetectorModule], data: TrainingData, settings: FitSettings
) -> Precision:
    """bf16 on a GPU that has it; on a CPU whichever of bf16 and fp32 takes less processor time for four items.

    Processor time, because other work on the machine must not decide.

    Args:
        name: of the network, for the log; build: makes the module that is trained with some settings.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if "WORLD_SIZE" in os.environ:
        return "32-true"  # every process must choose alike
    times: dict[Precision, float] = {}
    for precision in ("32-true", "bf16-mixed"):
        trial = replace(settings, precision=precision)
        module = build(trial)
        times[precision] = min(step_times(module, _drawing(data, trial, 4), precision, 2, time.process_time))
    _LOG.info("%s: %s s for four items", name, ", ".join(f"{p} {t:.2f}" for p, t in times.items()))
    return "bf16-mixed" if times["bf16-mixed"] < 0.9 * times["32-true"] else "32-true"


def seconds_per_step(module: DetectorModule, data: TrainingData, settings: FitSettings, precision: str) -> float:
    """Seconds of a step (drawing, forward, backward, update), the better of two after one to warm up."""
    size = max(1, min(settings.batch_size, round(len(data.train.labels) / data.steps_per_epoch)))
    draw = _drawing(data, settings, size)
    return min(step_times(module, draw, precision, 3, time.monotonic)[1:]) * settings.accumulate


def _drawing(data: TrainingData, settings: FitSettings, size: int) -> Draw:
    dataset = Drawn(data.train, settings.seed, settings.use_augmentation)

    def draw(number: int, device: torch.device) -> Batch:
        return dataset.batch((place % len(dataset) for place in range(number * size, (number + 1) * size)), device)

    return draw


def step_times(
    module: DetectorModule, draw: Draw, precision: str, count: int, clock: Callable[[], float]
) -> list[float]:
    """What each of some steps takes by a clock: drawing the batch, forward, backward, update."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = module.to(device).train()
    optimiser = module.configure_optimizers()
    seconds = []
    for number in range(count):
        began = clock()
        batch = draw(number, device)
        optimiser.zero_grad()
        half = torch.float16 if precision == "16-mixed" else torch.bfloat16
        with torch.autocast(device.type, half, enabled=precision != "32-true"):
            loss = module.loss(batch)
        torch.autograd.backward(loss)
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    return seconds
