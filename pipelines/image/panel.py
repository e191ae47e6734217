"""Which networks are asked about which face of a photo.

Some networks look at a wide crop: hair, ears and what surrounds the head. Where the photo ends at the face such a crop
shows little but its drawn-out border, which tells nothing and was hardly seen in training; there the stand-ins of the
card (:class:`cards.card.Tight`) are asked, whose crops lie closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cards.card import ModelCard, Tight
from pipelines.image.align import Pixels, align_each, inside_shares
from pipelines.image.faces import Faces
from pipelines.image.heat import finest, geometry


@dataclass(frozen=True)
class Asked:
    """What one network is asked about: crops uint8 [n, size, size, 3], and the place of each face among all."""

    card: ModelCard
    places: NDArray[np.int64]
    crops: Pixels


class Panel:
    """The networks of a photo.

    Args:
        cards: of all networks; tight: which of them stand in for others, None where all are asked about every face.

    Attributes:
        usual: cards of those that are asked about a face in a whole photo; close: where the photo ends at the face.
        draws: the network that draws heat maps; it is asked about every face.

    Raises:
        ValueError: no network is asked about every face.
    """

    def __init__(self, cards: Sequence[ModelCard], tight: Tight | None = None) -> None:
        instead = tight.instead if tight else {}
        by_name = {card.name: card for card in cards}
        self.usual = [card for card in cards if card.name not in instead.values()]
        self.close = [by_name[instead.get(card.name, card.name)] for card in self.usual]
        self.draws = finest([card for card in self.usual if card in self.close])
        if cards and self.draws is None:
            raise ValueError("one network must be asked about every face: the card replaces all of them")
        self._inside = tight.inside if tight else 0.0
        self._margin = max((geometry(card)[1] for card in self.usual), default=1.0)

    def ends_there(self, found: Faces, height: int, width: int) -> NDArray[np.bool_]:
        """Faces of a photo that end where it ends, bool [n]."""
        return np.asarray(inside_shares(found.landmarks, height, width, self._margin) < self._inside)

    def crops(self, pixels: Pixels, found: Faces) -> dict[str, Asked]:
        """What each network is asked about; networks with one geometry share their crops."""
        tight = self.ends_there(found, *pixels.shape[:2])
        parts: dict[str, list[Asked]] = {}
        for chosen, cards in ((~tight, self.usual), (tight, self.close)):
            places = np.flatnonzero(chosen)
            if not len(places):
                continue
            made = align_each(pixels, found.landmarks[places], map(geometry, cards))
            for card in cards:
                parts.setdefault(card.name, []).append(Asked(card, places, made[geometry(card)]))
        return {name: _joined(some) for name, some in parts.items()}


def _joined(parts: list[Asked]) -> Asked:
    if len(parts) == 1:
        return parts[0]
    places, crops = ([getattr(part, name) for part in parts] for name in ("places", "crops"))
    return Asked(parts[0].card, np.concatenate(places), np.concatenate(crops))
