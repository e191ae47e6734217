"""Check a data set before training: ``deepscan data DATA`` (broken files, duplicates, balance, sizes, licences).

Photos go through the probe and the decoder that serving uses, so what is called broken here would be refused there.
A file that cannot be read is a line of the report and never its end.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from deepscan_client.errors import DeepScanError, InputError
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.video.source import VideoSource
from training.data.cache import perceptual_hash
from training.data.layout import data_root, read_data
from training.data.manifest import Row

NEAR = 4
"""Bits of 64 in which two perceptual hashes of one picture differ at most: recompression and resizing change 0 to 3."""
FLAT = 3.0
"""Standard deviation in grey levels below which a picture has no pattern to hash."""
LOPSIDED = 4.0
"""Ratio of the classes from which the report speaks of it."""
SHOWN = 12

Kind = Literal[
    "broken", "empty", "missing", "contradiction", "leak", "duplicate", "near_duplicate", "balance", "format", "licence"
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Frozen):
    """One finding: ``fix`` must be mended before training means anything, ``look`` is worth a glance."""

    severity: Literal["fix", "look"]
    kind: Kind
    paths: tuple[str, ...]
    detail: str
    remedy: str


class Balance(_Frozen):
    """Readable items of each class in one medium and split."""

    medium: str
    split: str
    real: int
    fake: int


class SourceFacts(_Frozen):
    """One source: sizes in pixels as (smallest, median, largest) of the longer side; seconds for clips and sound."""

    source: str
    label: str
    medium: str
    items: int
    readable: int
    side: tuple[int, int, int] | None
    seconds: tuple[float, float, float] | None
    median_bytes: int
    formats: dict[str, int]
    licence: str
    commercial: str


class Report(_Frozen):
    """What ``validate`` found."""

    schema_version: int = 1
    items: int
    readable: int
    balance: tuple[Balance, ...]
    sources: tuple[SourceFacts, ...]
    problems: tuple[Problem, ...]

    @property
    def must_fix(self) -> tuple[Problem, ...]:
        """The problems that make a training run worthless or impossible."""
        return tuple(problem for problem in self.problems if problem.severity == "fix")


@dataclass(frozen=True)
class _Facts:
    """What one readable file is: ``side``, ``seconds`` 0 where the medium has none, ``hash`` -1 for no pattern."""

    digest: str
    bytes: int
    format: str
    side: int = 0
    seconds: float = 0.0
    hash: int = -1


def validate(rows: Sequence[Row], root: Path, advance: Callable[[str], None] = lambda path: None) -> Report:
    """Read every file once and report.

    Args:
        rows: from ``read_data``; root: the folder that their paths are relative to.
        advance: called with each path when it is done.
    """

    def look(row: Row) -> _Facts | Problem:
        found = _look_safely(root / row.path, row)
        advance(row.path)
        return found

    with ThreadPoolExecutor(max_workers=2) as pool:
        looked = list(pool.map(look, rows))
    problems = [found for found in looked if isinstance(found, Problem)]
    known = [(row, found) for row, found in zip(rows, looked, strict=True) if isinstance(found, _Facts)]
    problems += _copies(known) + _balance_problems(known) + _format_problems(known) + _licence_problems(rows)
    return Report(
        items=len(rows),
        readable=len(known),
        balance=_balance(known),
        sources=_sources(rows, known),
        problems=tuple(sorted(problems, key=lambda problem: (problem.severity, problem.kind, problem.paths))),
    )


def _look_safely(path: Path, row: Row) -> _Facts | Problem:
    """Facts of a file, or what is wrong with it."""

    def problem(kind: Kind, detail: str, remedy: str) -> Problem:
        return Problem(severity="fix", kind=kind, paths=(row.path,), detail=detail, remedy=remedy)

    try:
        if not path.is_file():
            return problem("missing", "the file is not there", "take it out of the manifest, or bring it back")
        if path.stat().st_size == 0:
            return problem("empty", "the file has no bytes", "remove it, or fetch it again")
        return {"image": _look_at_photo, "video": _look_at_clip, "audio": _look_at_sound}[row.medium](path)
    except InputError as error:
        return problem("broken", error.message, error.remedy or "remove it, or fetch it again")
    except Exception as error:  # whatever a hostile file makes a decoder raise belongs into the report
        return problem("broken", f"{type(error).__name__}: {error}"[:200], "remove it, or fetch it again")


def _pattern(pixels: npt.NDArray[np.uint8]) -> int:
    return perceptual_hash(pixels) if float(pixels.std()) >= FLAT else -1


def _look_at_photo(path: Path) -> _Facts:
    probed = probe_image(path.read_bytes())
    info = probed.info
    pixels = decode_image(probed.picture)
    return _Facts(info.sha256, info.bytes, info.format, max(info.width, info.height), 0.0, _pattern(pixels))


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        digest = sha256()
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _look_at_clip(path: Path) -> _Facts:
    video = VideoSource(path)
    middle = next(video.frames(num_frames=1, max_side=256))
    form = f"{path.suffix.lower().lstrip('.')} {video.info.decoder.rsplit(' ', 1)[-1]}"
    side = max(video.info.width, video.info.height)
    return _Facts(_digest(path), path.stat().st_size, form, side, video.info.seconds, _pattern(middle.pixels))


def _look_at_sound(path: Path) -> _Facts:
    import av

    with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        samples, rate = 0, 0
        for frame in container.decode(audio=0):
            samples, rate = samples + frame.samples, frame.sample_rate
        codec = container.streams.audio[0].codec_context.name
    if not samples:
        raise ValueError("there is no sound in it")
    return _Facts(_digest(path), path.stat().st_size, f"{codec} {rate} Hz", 0, samples / rate)


def near_pairs(hashes: Sequence[int], distance: int = NEAR) -> list[tuple[int, int]]:
    """Positions (left < right) of hashes that differ in at most ``distance`` of their 64 bits; -1 pairs with none."""
    valid = np.array([place for place, value in enumerate(hashes) if value >= 0], dtype=np.int64)
    if len(valid) < 2:
        return []
    packed = np.array([list(hashes[place].to_bytes(8, "big")) for place in valid], dtype=np.uint8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(signs), 512):
        apart = (64 - signs[start : start + 512] @ signs[start:].T) / 2
        for left, right in zip(*np.nonzero(apart <= distance), strict=True):
            if left < right:
                pairs.append((int(valid[start + left]), int(valid[start + right])))
    return pairs


def _copies(known: Sequence[tuple[Row, _Facts]]) -> list[Problem]:
    """Same bytes, and pictures that look the same."""
    problems: list[Problem] = []
    same: dict[str, list[Row]] = defaultdict(list)
    for row, facts in known:
        same[facts.digest].append(row)
    for rows in same.values():
        if len(rows) > 1:
            problems.append(_copy_problem(rows, "duplicate", "the same bytes"))
    for left, right in near_pairs([facts.hash for _, facts in known]):
        (first, one), (second, other) = known[left], known[right]
        together = bool(set(first.identities) & set(second.identities))  # one clip: expected, and never split
        if one.digest != other.digest and first.medium == second.medium and not together:
            problems.append(_copy_problem([first, second], "near_duplicate", "nearly the same picture"))
    return problems + _split_identities([row for row, _ in known])


def _split_identities(rows: Sequence[Row]) -> list[Problem]:
    """People and clips that stand in train and in val."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for name in row.identities:
            members[name].append(row)
    problems = []
    for name, found in sorted(members.items()):
        if {"train", "val"} <= {row.split for row in found}:
            first = [next(row.path for row in found if row.split == split) for split in ("train", "val")]
            problems.append(
                Problem(
                    severity="fix",
                    kind="leak",
                    paths=tuple(first),
                    detail=f"identity {name} in train and in val ({len(found)} items)",
                    remedy="keep it on one side, or let training choose the split",
                )
            )
    return problems


def _copy_problem(rows: Sequence[Row], kind: Kind, what: str) -> Problem:
    """How bad a copy is: between train and val it leaks, the same bytes in both classes contradict each other."""
    paths = tuple(row.path for row in rows)
    if {"train", "val"} <= {row.split for row in rows}:
        detail, remedy = f"{what} in train and in val", "keep it on one side, or let training choose the split"
        return Problem(severity="fix", kind="leak", paths=paths, detail=detail, remedy=remedy)
    classes, sources = {row.label for row in rows}, sorted({row.source for row in rows})
    if len(classes) > 1 and kind == "duplicate":
        return Problem(
            severity="fix",
            kind="contradiction",
            paths=paths,
            detail=f"{what}, once real and once fake",
            remedy="keep one",
        )
    where = (
        "as real and as fake" if len(classes) > 1 else f"in {' and '.join(sources)}" if len(sources) > 1 else "twice"
    )
    return Problem(
        severity="look",
        kind=kind,
        paths=paths,
        detail=f"{what} {where}",
        remedy="splits keep them together; remove copies that carry nothing new",
    )


def _balance(known: Sequence[tuple[Row, _Facts]]) -> tuple[Balance, ...]:
    counts = Counter((row.medium, row.split, row.label) for row, _ in known)
    groups = sorted({(medium, split) for medium, split, _ in counts})
    return tuple(
        Balance(medium=medium, split=split, real=counts[medium, split, 0], fake=counts[medium, split, 1])
        for medium, split in groups
    )


def _balance_problems(known: Sequence[tuple[Row, _Facts]]) -> list[Problem]:
    problems = []
    for each in _balance(known):
        where = f"{each.medium}{f', {each.split}' if each.split else ''}: {each.real} real, {each.fake} fake"
        few, many = sorted((each.real, each.fake))
        if few == 0:
            detail, remedy = f"{where}: one class is missing", "add it, or leave this medium out"
            problems.append(Problem(severity="fix", kind="balance", paths=(), detail=detail, remedy=remedy))
        elif many / few >= LOPSIDED:
            detail, remedy = f"{where}: {many / few:.1f} to 1", "training weighs the classes; more of the rarer helps"
            problems.append(Problem(severity="look", kind="balance", paths=(), detail=detail, remedy=remedy))
    return problems


def _format_problems(known: Sequence[tuple[Row, _Facts]]) -> list[Problem]:
    """A format that one class has and the other has not is a shortcut that any network finds."""
    problems = []
    for medium in sorted({row.medium for row, _ in known}):
        shares = []
        for label in (0, 1):
            forms = Counter(facts.format for row, facts in known if row.medium == medium and row.label == label)
            shares.append({form: count / max(1, sum(forms.values())) for form, count in forms.items()})
        if not all(shares):
            continue
        for form in sorted(set(shares[0]) | set(shares[1])):
            real, fake = shares[0].get(form, 0.0), shares[1].get(form, 0.0)
            if abs(real - fake) > 0.5:
                problems.append(
                    Problem(
                        severity="look",
                        kind="format",
                        paths=(),
                        detail=f"{medium}: {form} is {real:.0%} of the reals and {fake:.0%} of the fakes",
                        remedy="store both classes alike; training recompresses both, which hides the most of it",
                    )
                )
    return problems


def _licence_problems(rows: Sequence[Row]) -> list[Problem]:
    unknown = Counter((row.medium, row.source) for row in rows if row.licence in ("", "unknown"))
    return [
        Problem(
            severity="look",
            kind="licence",
            paths=(),
            detail=f"{medium} source {source}: {count} items without a licence",
            remedy="name it in licences.csv or in the manifest; --licences permissive leaves them out",
        )
        for (medium, source), count in sorted(unknown.items())
    ]


def _sources(rows: Sequence[Row], known: Sequence[tuple[Row, _Facts]]) -> tuple[SourceFacts, ...]:
    def spread(values: Sequence[float]) -> tuple[float, float, float]:
        return min(values), float(np.median(values)), max(values)

    everything: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    readable: dict[tuple[str, int, str], list[_Facts]] = defaultdict(list)
    for row in rows:
        everything[row.medium, row.label, row.source].append(row)
    for row, facts in known:
        readable[row.medium, row.label, row.source].append(facts)
    told = []
    for (medium, label, source), members in sorted(everything.items()):
        files = readable[medium, label, source]
        sides, seconds = [f.side for f in files if f.side], [f.seconds for f in files if f.seconds]
        low, middle, high = spread(sides) if sides else (0, 0, 0)
        shortest, usual, longest = spread(seconds) if seconds else (0.0, 0.0, 0.0)
        told.append(
            SourceFacts(
                source=source,
                label="fake" if label else "real",
                medium=medium,
                items=len(members),
                readable=len(files),
                side=(int(low), int(middle), int(high)) if sides else None,
                seconds=(round(shortest, 2), round(usual, 2), round(longest, 2)) if seconds else None,
                median_bytes=int(np.median([f.bytes for f in files])) if files else 0,
                formats=dict(Counter(f.format for f in files).most_common()),
                licence=" | ".join(sorted({row.licence for row in members})),
                commercial=" | ".join(sorted({row.commercial for row in members})),
            )
        )
    return tuple(told)


def main(arguments: list[str] | None = None) -> int:
    """``deepscan data``: 0 nothing must be fixed, 1 something must, 2 the data cannot be read at all."""
    from training.data.validate_show import progress, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", type=Path, help="folder in the founding or the shared layout, or a CSV or Parquet manifest"
    )
    parser.add_argument("--licences", choices=("all", "permissive"), default="all")
    parser.add_argument("--medium", choices=("image", "video", "audio"))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        rows = read_data(options.data, options.licences, options.medium)
    except DeepScanError as error:
        print(f"error: {error.message}\nremedy: {error.remedy}", file=sys.stderr)
        return 2
    with progress(len(rows)) as advance:
        report = validate(rows, data_root(options.data), advance)
    if options.json:
        print(report.model_dump_json(indent=2))
    else:
        show(report)
    return 1 if report.must_fix else 0


if __name__ == "__main__":
    sys.exit(main())
