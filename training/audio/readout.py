"""Fit the last line of voice networks anew: ``python -m training.audio.readout OUT voice_raw=shipped``.

What a network hears reaches further than its own read-out (Kirichenko et al., ICLR 2023): ``voice_raw`` was trained on
copies alone and gives whole synthesisers the scores of real speech, though a line through its embedding tells them
apart, also those that the line was not fitted on (``training/EXPERIMENTS.md``). So its line becomes the mean of the old
one and of one that is fitted on reals, their copies and whole synthesisers, while the layers below stay as they are. No
more than the mean, because speech without a real partner also leaks voices and channels.

``OUT/<name>`` gets ``model.pt`` (for ``export.onnx_export``) and ``without.npz``: a line for each synthesiser that was
fitted without it, with which ``training.audio.members`` scores that synthesiser. ``NAME=RUN`` goes on from the run of
``training.audio.network_runs``, ``NAME=shipped`` from the weights of the repository.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.metrics import auc
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.features import Described, draws_of, speech_of_cache
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.lines import Line, aligned, line_in, put_line, write_lines
from training.audio.members import ENGINES, WITHOUT
from training.audio.origins import origin_of
from training.audio.pairs import HELD, Mask, aside
from training.audio.train import sources_in
from training.report import with_sources

DRAWN = (0, 1, 2, 3, 4, 5)
"""Draws of damage, 0 the clean one (``training.audio.features.damage_in``)."""
COPIES, LEAST_S = 2, 1.2
"""Copies of each real clip in a draw, their families by turns; seconds of a clip that counts."""
SETTINGS = HeadSettings(logistic=1.0, penalty=0.003, unpaired=1.0)
"""Copies weigh as much as all speech without a real partner."""
SHARE = 0.5
"""Of the new line; the rest is the line of before."""
CLIPS = "readout_clips"
"""Setting of a network whose line was fitted anew: on so many clips."""
_LOG = logging.getLogger(__name__)


def wanted_clips(cache: VoiceCache, draw: int) -> Mask:
    """Clips of a draw: reals that do not stand aside with ``COPIES`` copies each, and speech without a partner."""
    families = cache.column("family")
    usable = np.array([row.seconds >= LEAST_S for row in cache.rows]) & ~np.isin(families, HELD)
    wanted = usable & (cache.labels == 1) & (cache.partner < 0)
    turns = sorted(set(families[(cache.partner >= 0) & usable]))
    reals = np.flatnonzero(usable & ~aside(cache) & (cache.labels == 0))
    copies: dict[int, dict[str, int]] = {}
    for row in np.flatnonzero((cache.partner >= 0) & usable).tolist():
        copies.setdefault(int(cache.partner[row]), {})[str(families[row])] = row
    for number, real in enumerate(reals.tolist()):
        wanted[real] = True
        for step in range(COPIES):
            name = turns[(number * COPIES + step + draw) % len(turns)] if turns else ""
            if name in copies.get(real, {}):
                wanted[copies[real][name]] = True
    return np.asarray(wanted)


def embeddings_of(model: nn.Module, name: str, cache: VoiceCache) -> list[Described]:
    """What a network hears in the clips of every draw; remembered in the cache by the network's weights."""

    def front(audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        told = model(audio, mask).embedding
        return told, told.new_zeros(len(told), mask.shape[1], 1)  # no stretches of a second

    code = zlib.crc32(b"".join(value.numpy().tobytes() for value in model.state_dict().values()))
    speech = speech_of_cache(cache)
    return [
        draws_of(cache, speech, [draw], wanted_clips(cache, draw), front, f"-{name}-{code:08x}")[0] for draw in DRAWN
    ]


def fit_lines(cache: VoiceCache, draws: list[Described], old: Line, chosen: Mask) -> tuple[Line, dict[str, Line]]:
    """The line on all chosen clips, and one without each whole synthesiser."""
    every = examples(cache, draws, chosen, SETTINGS).x

    def fitted(some: Mask) -> Line:
        head = fit_head(examples(cache, draws, some, SETTINGS), SETTINGS)
        fresh = aligned(Line(head.line[0], 0.0), old, every)
        return Line((1 - SHARE) * old.weight + SHARE * fresh.weight, (1 - SHARE) * old.bias + SHARE * fresh.bias)

    generators = cache.column("generator")
    engines = np.unique(generators[(cache.column("family") == ENGINES) & chosen])
    return fitted(chosen), {str(engine): fitted(chosen & (generators != engine)) for engine in engines}


def tell_engines(cache: VoiceCache, draws: list[Described], old: Line, without: Mapping[str, Line]) -> None:
    """AUC of each synthesiser's clean windows against all reals, before and by the line that has not heard it."""
    clean = draws[0]
    labels, generators = cache.labels[clean.clip], cache.column("generator")[clean.clip]
    for engine, line in without.items():
        some = (labels == 0) | (generators == engine)
        before, after = (auc(each(clean.whole[some]), labels[some]) for each in (old, line))
        _LOG.info("%s, which the line has not heard: AUC %.3f, before %.3f", engine, after, before)


def refit(name: str, run: Path, cache: VoiceCache, out: Path) -> None:
    """Fit, and write ``model.pt`` and ``without.npz``.

    Raises:
        ValueError: the line was fitted anew before: what it has heard would count twice.
    """
    origin = origin_of(name, run)
    if CLIPS in origin.settings:
        raise ValueError(f"the line of {name} was fitted anew before; go on from the run that it was trained in")
    draws = embeddings_of(origin.model, name, cache)
    used = np.zeros(len(cache), np.bool_)
    used[np.concatenate([draw.clip for draw in draws])] = True
    old = line_in(origin.model)
    line, without = fit_lines(cache, draws, old, used)
    tell_engines(cache, draws, old, without)
    put_line(origin.model, line)
    trained_on = with_sources(origin.trained_on, sources_in(cache, used))
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / WITHOUT, without)
    told = {CLIPS: int(used.sum()), "readout_draws": DRAWN, "readout_penalty": SETTINGS.penalty}
    torch.save(
        {
            "network": name,
            "state": origin.model.state_dict(),
            "settings": json.dumps({**origin.settings, **told}),
            "trained_on": json.dumps([each.model_dump() for each in trained_on]),
            "result": "{}",
        },
        out / "model.pt",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("networks", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    for name, _, run in (each.partition("=") for each in options.networks):
        refit(name, Path(run), cache, options.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
