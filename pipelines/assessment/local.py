"""Judge photos in this process, as the server would: the same stages over ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError, InputError
from deepscan_client.verdict import Verdict
from pipelines.assessment.damage import Condition
from pipelines.image.analyze import PhotoAnalyzer
from pipelines.image.decode import decode_image
from pipelines.image.probe import ProbeInfo, probe_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """A photo with its truth and the group that it is reported in."""

    path: Path
    fake: bool
    group: str


class LocalJudge:
    """Photos to verdicts with the models of a repository.

    Args:
        repository: cards, records and networks.
    """

    def __init__(self, repository: ModelRepository) -> None:
        self._analyzer = PhotoAnalyzer(repository, OnnxInfer(repository))
        self._judge = PhotoJudge(repository)

    def read(self, data: bytes) -> tuple[Pixels, ProbeInfo]:
        """Pixels UINT8 [h, w, 3] RGB of a photo, and what the probe said.

        Raises:
            deepscan_client.errors.InputError: the bytes cannot be judged.
        """
        probed = probe_image(data)
        return decode_image(probed.picture), probed.info

    def verdict(self, pixels: Pixels, info: ProbeInfo) -> Verdict:
        """The verdict on pixels, which may be a damaged form of the photo that ``info`` describes."""
        return self._judge.verdict(info, self._analyzer.evidence(pixels, info))

    def verdict_of_picture(self, pixels: Pixels) -> Verdict:
        """The verdict on pixels that were never a file: they are written as PNG, which loses nothing."""
        done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise RuntimeError("OpenCV could not write a PNG")
        return self.verdict(*self.read(data.tobytes()))


def judge_photos(
    judge: LocalJudge,
    items: Sequence[Labelled],
    conditions: Sequence[Condition],
    seen: Callable[[Labelled], object] = lambda item: None,
    workers: int = 2,
) -> Iterator[tuple[Labelled, Pixels | None, tuple[Verdict | DeepScanError, ...]]]:
    """Each photo under each condition, in the order of the items; a photo is read once.

    Args:
        conditions: damage that is done to the pixels, see :mod:`pipelines.assessment.damage`.
        seen: told of each photo when it is done.
        workers: photos under way at once.

    Yields:
        The item, its pixels (None where they could not be read) and a verdict or an input error for each condition.
    """

    def one(item: Labelled) -> tuple[Pixels | None, tuple[Verdict | DeepScanError, ...]]:
        try:
            pixels, info = judge.read(item.path.read_bytes())
        except InputError as error:
            return None, (error,) * len(conditions)
        # The seed is the photo's, so that the order of the folder changes nothing.
        seed = int(info.sha256[:8], 16)
        return pixels, tuple(judge.verdict(condition.apply(pixels, seed), info) for condition in conditions)

    with ThreadPoolExecutor(workers) as pool:
        # In blocks: a map over thousands of photos would hold all their pixels.
        for start in range(0, len(items), 4 * workers):
            block = items[start : start + 4 * workers]
            for item, (pixels, verdicts) in zip(block, pool.map(one, block)):
                seen(item)
                yield item, pixels, verdicts
