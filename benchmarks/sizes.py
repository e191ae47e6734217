"""What each set of packages weighs when installed: ``python -m benchmarks.sizes`` writes results/sizes.json."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from export.notices import closure

TARGET = Path(__file__).resolve().parent / "results" / "sizes.json"
SETS = {
    "serving": ((), "scanning and serving, the client, the command line"),
    "train": (("train",), "training and export (torch in its CPU build)"),
    "dev": (("dev",), "tests, lint, types"),
}


def megabytes(name: str) -> float:
    """Installed size of one package, by the files that its metadata lists; 0 where it is not installed."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0.0
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def measure() -> list[dict[str, object]]:
    """Each set with what it adds to the serving set."""
    base = set(closure("deepscan", ("",)))
    rows: list[dict[str, object]] = []
    for name, (extras, what) in SETS.items():
        packages = base if not extras else set(closure("deepscan", ("", *extras))) - base
        label = name if not extras else f"+ `[{name}]`"
        rows.append({"set": label, "what": what, "megabytes": round(sum(map(megabytes, packages)))})
    return rows


def main() -> None:
    """Measure and write."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({"sets": measure()}, indent=2) + "\n", encoding="utf-8")
    print(TARGET.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
