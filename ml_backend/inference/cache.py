"""The verdict cache: verdicts, never media; in memory, bounded in bytes and in time.

A key is the content's hash, the options, and the records of the models that are serving. The gateway learns
the records from Triton's own answers (each verdict names them; the canary asks regularly) and from the
repository's folder, so that a new version or a new calibration ends the life of older verdicts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cachetools import TTLCache

from deepscan_client import Verdict

Key = tuple[str, str, bool, bool, int | None, float | None, float | None, str]
"""Medium, sha256 of the content, whether heat maps and whether analyzers were asked for, frames, frames a second,
threshold, records."""


class RecordBook:
    """Which records are serving.

    Args:
        root: the model repository, where it lies on this machine.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._answered: dict[str, str] = {}
        self._on_disk: dict[str, tuple[int, str]] = {}
        self.fingerprint = ""
        self.refresh()

    @property
    def answered(self) -> dict[str, str]:
        """Model: first 12 digits of the hash of the record that last spoke."""
        return dict(self._answered)

    def observe(self, verdict: Verdict) -> None:
        """Learn from an answer of Triton."""
        self._answered.update({model.name: f"{model.version}:{model.record}" for model in verdict.models})
        self._seal()

    def refresh(self) -> None:
        """Look at the records on disk; only those whose time stamp changed are read."""
        if self._root is None:
            return
        found: dict[str, tuple[int, str]] = {}
        for path in sorted(self._root.glob("*/*/record.json")):
            name = str(path.relative_to(self._root))
            try:
                stamp = path.stat().st_mtime_ns
                known = self._on_disk.get(name)
                fresh = known is None or known[0] != stamp
                found[name] = (stamp, hashlib.sha256(path.read_bytes()).hexdigest()) if fresh or not known else known
            except OSError:  # being replaced right now: the next look finds it
                continue
        self._on_disk = found
        self._seal()

    def _seal(self) -> None:
        parts = [*sorted(self._answered.items()), *((name, digest) for name, (_, digest) in self._on_disk.items())]
        self.fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()


class VerdictCache:
    """Verdicts by key.

    Args:
        megabytes: size of all verdicts as JSON; 0 keeps nothing.
        seconds: how long a verdict is kept.
    """

    def __init__(self, megabytes: float, seconds: float) -> None:
        self._kept: TTLCache[Key, bytes] = TTLCache(megabytes * 1e6, seconds, getsizeof=len)
        self.hits = 0
        self.misses = 0

    def get(self, key: Key) -> Verdict | None:
        """The verdict of a key, or None."""
        text = self._kept.get(key)
        if text is None:
            self.misses += 1
            return None
        self.hits += 1
        return Verdict.from_json(text)

    def put(self, key: Key, verdict: Verdict) -> None:
        """Keep a verdict; one that is larger than the whole cache is not kept."""
        text = verdict.to_json().encode("utf-8", "replace")
        if len(text) <= self._kept.maxsize:
            self._kept[key] = text

    def __len__(self) -> int:
        self._kept.expire()
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Size of what is kept."""
        self._kept.expire()
        return int(self._kept.currsize)
