"""Labelled photos, recordings and videos: from folders named ``real`` and ``fake``, or from a manifest."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from deepscan.inputs import LINK, Found, links_out, medium_of
from deepscan_client import Medium, RequestError

_LABELS = {"real": False, "0": False, "fake": True, "1": True}
LAYOUT = (
    "put photos, recordings or videos under <group>/real and <group>/fake, under real and fake, or name a --manifest"
)
MEDIA = (Medium.IMAGE, Medium.AUDIO)
"""What folders are searched for; a file's own bytes say what it holds."""
EVALUATED = (*MEDIA, Medium.VIDEO)
"""The same for ``deepscan evaluate``."""


@dataclass(frozen=True)
class Item:
    """A photo, a recording or a video, its truth and the group that it is reported in."""

    found: Found
    fake: bool
    group: str


def read_items(root: Path, manifest: Path | None = None, media: tuple[Medium, ...] = MEDIA) -> list[Item]:
    """The labelled files of a folder or a manifest, in a fixed order.

    Every folder named ``real`` or ``fake`` counts, with all that lies below it; its group is the path of the
    folder that holds it, or the name of ``root`` itself. A group that holds several media is reported as several.

    Raises:
        RequestError: nothing is there, or the manifest is wrong.
    """
    if manifest is None and os.path.isfile(root):  # noqa: PTH113  (Path.is_file raises for a name that is too long)
        root, manifest = root.parent, root
    items = _from_manifest(root, manifest) if manifest is not None else list(_from_folders(root, media))
    if not items:
        raise RequestError(f"there are no labelled files in {root}", remedy=LAYOUT)
    return _one_medium_each(items)


def _one_medium_each(items: list[Item]) -> list[Item]:
    """Groups of several media get the medium into their names: one AUC over photos and voices says nothing."""
    media: dict[str, set[Medium | None]] = {}
    for item in items:
        media.setdefault(item.group, set()).add(item.found.medium)
    mixed = {group for group, found in media.items() if len(found - {None}) > 1}
    return [
        replace(item, group=f"{item.group} ({item.found.medium})")
        if item.group in mixed and item.found.medium is not None
        else item
        for item in items
    ]


def _from_folders(root: Path, media: tuple[Medium, ...]) -> Iterator[Item]:
    if not os.path.isdir(root):  # noqa: PTH112
        raise RequestError(f"there is no folder {root}", remedy=LAYOUT)
    for folder, below, files in os.walk(root, onerror=_not_walked):
        below.sort()
        for link in links_out(root, folder, below):
            raise RequestError(
                f"{link} cannot be read: {LINK}", remedy="put the folder itself there, or take the link out"
            )
        inside = Path(folder).relative_to(root).parts
        place = next((i for i, name in enumerate(inside) if name.lower() in ("real", "fake")), None)
        if place is None:
            continue
        group = "/".join(inside[:place]) or root.resolve().name
        for name in sorted(files):
            path = os.path.join(folder, name)  # noqa: PTH118
            medium = medium_of(path)
            if medium in media:
                yield Item(Found(path, medium), inside[place].lower() == "fake", group)


def _not_walked(error: OSError) -> None:
    """What lies in a folder that cannot be read would be missing from every measure without a word."""
    raise RequestError(f"{error.filename}: cannot be read: {error.strerror}", remedy="check its permissions") from error


def _from_manifest(root: Path, manifest: Path) -> list[Item]:
    """CSV with a header, or one JSON object a line; paths are relative to ``root``, else to the manifest."""
    remedy = "columns are path, label (real or fake) and group (optional), as CSV with a header or as JSON lines"
    try:
        text = manifest.read_text(encoding="utf-8-sig")
        if manifest.suffix.lower() in (".jsonl", ".ndjson", ".json"):
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise RequestError(f"{manifest}: cannot be read: {error}", remedy=remedy) from error
    base = root if os.path.isdir(root) else manifest.parent  # noqa: PTH112
    items = []
    for number, row in enumerate(rows, 1):
        label = _LABELS.get(str(row.get("label", "")).strip().lower()) if isinstance(row, dict) else None
        path = row.get("path") if isinstance(row, dict) else None
        if label is None or not isinstance(path, str) or not path:
            raise RequestError(f"{manifest}: row {number}: path or label is missing or wrong", remedy=remedy)
        place = base / path
        if not os.path.exists(place) and os.path.exists(manifest.parent / path):  # noqa: PTH110
            place = manifest.parent / path
        group = str(row.get("group") or base.resolve().name)
        items.append(Item(Found(str(place), medium_of(str(place))), label, group))
    return items
