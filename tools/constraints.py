"""Writes constraints.txt from what is installed: ``python tools/constraints.py [3.12=freeze.txt ...]``.

The running interpreter's environment comes first; each argument adds what ``pip freeze`` said under another Python.
Where two disagree on a version, both lines stand with a marker. No host, no path and no hash is written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

OWN = {"deepscan", "deepscan-client", "pip", "setuptools", "wheel"}
WEIGHTS = Path(__file__).with_name("weights.txt")
HEAD = """\
# Pins of everything that setup installs, from environments that were resolved and tested.
# Written by `make constraints`; a local build tag such as +cpu is left out, so that any build of that version fits.
"""


def normal(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Name: version of the ``name==version`` lines; lines of other kinds (editable, by path) are left out."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;+]+)(\+\S+)?", line.strip())
        if match and normal(match[1]) not in OWN:
            found[normal(match[1])] = match[2]
    return found


def merge(environments: dict[str, dict[str, str]]) -> list[str]:
    """Lines of constraints.txt for several Pythons (``{"3.11": pins, ...}``)."""
    lines = []
    # Pinned where they are installed without their requirements; a pin here would bind these too.
    apart = pins(WEIGHTS.read_text(encoding="utf-8").splitlines())
    for name in sorted({name for found in environments.values() for name in found} - set(apart)):
        versions = {python: found[name] for python, found in environments.items() if name in found}
        if len(set(versions.values())) == 1:
            lines.append(f"{name}=={next(iter(versions.values()))}")
        else:
            lines += [f'{name}=={version} ; python_version == "{python}"' for python, version in versions.items()]
    return lines


def main(arguments: list[str]) -> None:
    """Write the file beside pyproject.toml."""
    own = pins(f"{each.metadata['Name']}=={each.version}" for each in distributions())
    environments = {f"{sys.version_info.major}.{sys.version_info.minor}": own}
    for argument in arguments:
        python, _, path = argument.partition("=")
        environments[python] = pins(Path(path).read_text(encoding="utf-8").splitlines())
    target = Path(__file__).resolve().parents[1] / "constraints.txt"
    target.write_text(HEAD + "\n".join(merge(environments)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
