"""What voice networks say of recordings that none of them was trained on: the members of a verdict before it is fitted.

Three sets stand aside: speakers with copies of them by families of vocoders that trained nothing
(``training.audio.pairs.held_out``), real speech of other sources with copies by the same families
(``training.audio.sound_tracks``), and the speech of whole neural synthesisers that the data holds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cards.repository import ModelRepository
from pipelines.infer import Call
from pipelines.onnx_infer import OnnxInfer
from training.audio.cache import VoiceCache
from training.audio.conditions import CONDITIONS, MEASURES
from training.audio.features import draws_of, speech_of_cache
from training.audio.heads import HeadSettings
from training.audio.heard import Entry, HeardWindows
from training.audio.kinds import fit_lines, network_of, scales_of
from training.audio.lines import put_line, read_lines
from training.audio.pairs import HELD, aside, held_out
from training.audio.scored import SHORT_S, Scored
from training.audio.train import trainable, wanted_in
from training.models.output import VoiceOutput
from training.models.registry import read_checkpoint

DRAWN = (0, 1, 2, 3)
ENGINES = "tts_neural"
"""Family of whole synthesisers (``training.audio.speech_engines``): nothing is trained on speech without a partner."""
SHIPPED = Path("shipped")
"""In place of a run: the network of the repository, with the calibration of its record. The shipped head of
``voice_cepstra`` has heard the speakers and vocoders that stand aside, but neither other sources nor synthesisers."""
WITHOUT = "without.npz"
"""In a run of ``training.audio.readout``: last lines that have not heard a synthesiser, by its name."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Members:
    """What the members said of the entries.

    Attributes:
        scored: the entries, of all caches; own: int64 [e], the real clip that each is of, across the caches.
        source: [e], of that clip.
        logits: float64 [e, m]; names: of the members [m].
    """

    scored: Scored
    own: npt.NDArray[np.int64]
    source: npt.NDArray[np.str_]
    logits: Floats
    names: tuple[str, ...]

    @staticmethod
    def join(parts: Sequence[Members]) -> Members:
        """All entries; the rows of a later cache are counted on from those of the one before."""
        shifts = np.cumsum([0, *(1 + max(part.scored.row.max(), part.own.max()) for part in parts[:-1])])
        fields = {
            name: np.concatenate([getattr(part.scored, name) for part in parts]) for name in Scored.__dataclass_fields__
        }
        fields["row"] = np.concatenate([part.scored.row + shift for part, shift in zip(parts, shifts)])
        return Members(
            Scored(**fields),
            np.concatenate([part.own + shift for part, shift in zip(parts, shifts)]),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.logits for part in parts]),
            parts[0].names,
        )


def held_cepstra(cache: VoiceCache) -> nn.Module:
    """``voice_cepstra`` that did not see what stands aside."""
    train = trainable(cache) & ~aside(cache)
    speech, settings = speech_of_cache(cache), HeadSettings()
    draws = [draws_of(cache, speech, [draw], wanted_in(cache, draw))[0] for draw in DRAWN]
    lines = fit_lines(cache, draws, train, settings, scales_of(cache, draws, train, settings))
    return network_of(lines, lines)


def heard_rows(cache: VoiceCache, everybody: bool = False) -> list[int]:
    """What stands aside: real clips of 1.5 s and more, their copies by the left-out families, and whole synthesisers;
    of a cache that nothing was trained on the clips of ``everybody``."""
    _, held = held_out(cache)
    held |= cache.column("family") == ENGINES
    if everybody:
        held = (cache.labels == 0) | np.isin(cache.column("family"), HELD)
    long = np.array([row.seconds >= 1.5 for row in cache.rows])
    return [int(row) for row in np.flatnonzero(held & long)]


def columns(cache: VoiceCache, entries: Sequence[Entry], logits: Mapping[str, Floats]) -> Members:
    """Entries that have windows and enough speech, with what each member says of them."""
    place = {row.path: number for number, row in enumerate(cache.rows)}
    speech = MEASURES.index("speech_s")
    kept = [at for at, each in enumerate(entries) if each.cells and each.quality[speech] >= SHORT_S * 0.75]
    rows = np.array([place[entries[at].path] for at in kept], np.int64)
    labels = cache.labels[rows]
    kinds = np.where(labels == 1, cache.column("family")[rows], cache.column("source")[rows])
    condition = np.array([CONDITIONS.index(entries[at].condition) for at in kept], np.int64)
    quality = np.array([entries[at].quality for at in kept])
    return Members(
        Scored(np.zeros(len(kept)), labels, kinds, condition, quality, rows),
        np.where(cache.partner[rows] >= 0, cache.partner[rows], rows),
        cache.column("source")[rows],
        np.stack([values[kept] for values in logits.values()], axis=1),
        tuple(logits),
    )


class ShippedVoice(nn.Module):
    """A voice network of the repository as a member: windows float [n, 64600] and masks float [n, 127] to logits."""

    def __init__(self, name: str, repository: ModelRepository) -> None:
        super().__init__()
        self._name, self._infer = name, OnnxInfer(repository, threads=1)

    def forward(self, audio: Tensor, mask: Tensor) -> VoiceOutput:
        call = Call(self._name, {"AUDIO": audio.numpy(), "MASK": mask.numpy()}, ("LOGIT",))
        logit = torch.from_numpy(self._infer.run([call])[0]["LOGIT"])
        return VoiceOutput(logit, logit, logit)


def logits_of(
    run: Path, model: nn.Module, windows: HeardWindows, entries: Sequence[Entry], generators: Mapping[str, str]
) -> Floats:
    """Logits of entries; of synthesisers that the line of a run has heard by the line that was fitted without them.

    Args:
        generators: by path of the clip.
    """
    told = windows.logits(model, entries)
    lines = {} if run == SHIPPED else read_lines(run / WITHOUT)
    if lines:
        model = copy.deepcopy(model)
    for engine, line in lines.items():
        own = [place for place, entry in enumerate(entries) if generators[entry.path] == engine]
        if own:
            put_line(model, line)
            told[own] = windows.logits(model, [entries[place] for place in own])
    return told


def hear_members(runs: Mapping[str, Path], cache: VoiceCache, tracks: VoiceCache) -> tuple[Members, Members]:
    """What the networks of some runs say of clips that none of them was trained on, clean and under the conditions:
    of other speakers and synthesisers (``cache``), and of other sources (``tracks``)."""
    models: dict[str, nn.Module] = {}
    for name, run in runs.items():
        if run == SHIPPED:
            models[name] = ShippedVoice(name, ModelRepository())
        elif name == "voice_cepstra":
            models[name] = held_cepstra(cache)
        else:
            models[name] = read_checkpoint(run / "model.pt", name)[1]
    parts = []
    for each, other in ((cache, False), (tracks, True)):
        windows = HeardWindows(each)
        entries = windows.entries(heard_rows(each, other))
        generators = {row.path: row.generator for row in each.rows}
        told = {n: logits_of(runs[n], model, windows, entries, generators) for n, model in models.items()}
        parts.append(columns(each, entries, told))
    return parts[0], parts[1]
