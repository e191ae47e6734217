"""Groups of talking clips that stay together, and folds of whole groups."""

from __future__ import annotations

from collections.abc import Sequence

from training.sync.cache import TalkingClip

FOLDS = 4


def groups_of(clips: Sequence[TalkingClip]) -> list[str]:
    """The group of each clip: clips of one source, one person or one page share it, also over several steps.

    ``real_clips`` is a collection from many projects: there the project's name, the first word of the file, is the
    source.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    firsts = []
    for clip in clips:
        name = clip.path.rsplit("/", 1)[-1]
        own = f"{clip.source}/{name.split('_')[0]}" if clip.source == "real_clips" else clip.source
        own = f"{'fake' if clip.label else 'real'}/{own}"
        firsts.append(own)
        for identity in clip.identities:
            joined = sorted((root(own), root(identity)))
            parents[joined[1]] = joined[0]
    return [root(first) for first in firsts]


def folds_of(groups: Sequence[str], folds: int = FOLDS) -> dict[str, int]:
    """The fold of each group: the largest groups first, each to the fold that has the fewest clips so far."""
    counts = {group: groups.count(group) for group in groups}
    loads = [0] * folds
    found = {}
    for group in sorted(counts, key=lambda name: (-counts[name], name)):
        fold = min(range(folds), key=lambda place: (loads[place], place))
        found[group] = fold
        loads[fold] += counts[group]
    return found
