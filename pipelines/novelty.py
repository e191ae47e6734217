"""How far a face's embedding lies from those of training faces.

The Mahalanobis distance to the nearest class mean under one shared covariance (Lee et al., 2018), between profiles of
embeddings (:func:`profile`). Classes are the training sources. The covariance is shrunk as probabilistic principal
components (Tipping & Bishop, 1999): the leading directions keep their variances, all others share one, which keeps the
parameters small and the inverse sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cards.record import Novelty
from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from pipelines.infer import Array, digest_hex

FILE = "novelty.npz"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """What distances are measured with.

    Attributes:
        centres: [c, d], class means.
        basis: [d, k], orthonormal leading directions of the covariance within classes.
        variances: [k], along them; rest: the one variance of every other direction.
    """

    centres: Floats
    basis: Floats
    variances: Floats
    rest: float

    @staticmethod
    def fit(embeddings: NDArray[np.floating[Any]], classes: NDArray[np.int64], directions: int = 64) -> Space:
        """Fit to embeddings [n, d] with the class of each, [n].

        Raises:
            ValueError: there are no more items than classes.
        """
        points = np.asarray(embeddings, dtype=np.float64)
        names, places = np.unique(classes, return_inverse=True)
        if len(points) <= len(names):
            raise ValueError("a shared covariance needs more items than classes")
        centres = np.stack([points[places == place].mean(axis=0) for place in range(len(names))])
        within = points - centres[places]
        values, vectors = np.linalg.eigh(within.T @ within / (len(points) - len(names)))
        kept = min(directions, points.shape[1] - 1)
        # Half precision here, so that distances are those of the stored file.
        basis = vectors[:, ::-1][:, :kept].astype(np.float16).astype(np.float64)
        rest = float(max(values[::-1][kept:].mean(), 1e-9))
        variances = np.maximum(values[::-1][:kept], rest)
        return Space(
            centres.astype(np.float16).astype(np.float64), basis, variances.astype(np.float32).astype(float), rest
        )

    @cached_property
    def _of_centres(self) -> tuple[Floats, Floats]:
        """The centres along the directions, [c, k], and their squared lengths, [c]: the same for every photo."""
        return self.centres @ self.basis, (self.centres**2).sum(axis=1)

    def distances(self, embeddings: NDArray[np.floating[Any]]) -> Floats:
        """Distance of each embedding [n, d] to its nearest centre, divided by the root of d; float64 [n]."""
        points = np.asarray(embeddings, dtype=np.float64)
        centres_along, lengths = self._of_centres
        # Not "@": for so little work the threads of a BLAS spin longer than they compute, and take another
        # photo's core.
        along = np.einsum("nd,dk->nk", points, self.basis)[:, None] - centres_along[None]
        squares = (points**2).sum(axis=1)[:, None] - 2 * np.einsum("nd,cd->nc", points, self.centres) + lengths
        outside = np.maximum(squares - (along**2).sum(axis=2), 0.0) / self.rest
        whole = (along**2 / self.variances).sum(axis=2) + outside
        return np.asarray(np.sqrt(whole.min(axis=1) / points.shape[1]))

    def write(self, path: Path) -> None:
        """Write the parameters, centres and directions in half precision."""
        np.savez(
            path,
            centres=self.centres.astype(np.float16),
            basis=self.basis.astype(np.float16),
            variances=self.variances.astype(np.float32),
            rest=np.float64(self.rest),
        )

    @staticmethod
    def read(path: Path) -> Space:
        """Read what :meth:`write` wrote; pickles are refused.

        Raises:
            InstallationError: the file cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as told:
                columns = [told[name].astype(np.float64) for name in ("centres", "basis", "variances")]
                return Space(columns[0], columns[1], columns[2], float(told["rest"]))
        except (OSError, ValueError, KeyError) as error:
            raise InstallationError(
                f"{path} cannot be read: {error}",
                code=ErrorCode.BAD_RECORD,
                remedy="fit it again: python -m training.novelty RUN, then python -m export.novelty RUN",
            ) from error


def profile(embeddings: NDArray[np.floating[Any]]) -> Floats:
    """Embeddings [n, d] as unit vectors of the square roots of their (positive) features, as Hellinger compares them.

    How strongly features answer says little: noise answers weakly and would lie near every mean. Which features answer
    tells noise from a face.
    """
    roots = np.sqrt(np.maximum(np.asarray(embeddings, dtype=np.float64), 0.0))
    return np.asarray(roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-9))


class NoveltyBook:
    """The spaces of one network's versions, found by the weights that ran.

    Args:
        repository: its records name the files; a file is read after its hash was compared.
        model: the network.
    """

    def __init__(self, repository: ModelRepository, model: str) -> None:
        self._spaces: dict[str, tuple[Space, Novelty]] = {}
        for version in repository.versions(model):
            if not repository.has_record(model, version):
                continue
            record = repository.record(model, version)
            if record.novelty is not None and record.weights_sha256 is not None:
                repository.verify(model, version)
                space = Space.read(repository.folder(model, version) / record.novelty.file)
                self._spaces[record.weights_sha256] = (space, record.novelty)

    @property
    def known(self) -> bool:
        """Whether any version has such parameters: only then are embeddings worth asking for."""
        return bool(self._spaces)

    def ratios(self, answer: Mapping[str, Array]) -> Floats | None:
        """Distances over the threshold, from a network's EMBEDDING and RECORD; None where its version has none."""
        if "EMBEDDING" not in answer:
            return None
        found = self._spaces.get(digest_hex(answer["RECORD"][0]))
        if found is None:
            return None
        space, novelty = found
        return space.distances(profile(answer["EMBEDDING"])) / novelty.threshold
