"""Pages that repeat measured or installed facts agree with their source."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.readme import main as readme
from cards import ModelRepository
from export.notices import closure

ROOT = Path(__file__).resolve().parents[1]


def test_the_readmes_numbers_are_those_of_the_committed_json() -> None:
    assert readme(["--check"]) == 0


def test_every_package_that_is_needed_has_its_notice() -> None:
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", (ROOT / "THIRD_PARTY_NOTICES.md").read_text(), re.MULTILINE))
    needed = {name for name in closure("deepscan", ("",)) if not name.startswith("deepscan")}
    assert needed <= listed, f"run: python -m export.notices ({needed - listed} missing)"


def test_the_weights_of_every_network_have_their_notice() -> None:
    page, repository = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(), ModelRepository()
    networks = [name for name in repository.names() if repository.card(name).kind == "network"]
    assert [name for name in networks if f"| {name} |" not in page] == [], "run: python -m export.notices"


def test_no_page_names_a_package_index_or_a_path_of_a_machine() -> None:
    hosts = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "deb" + r"ian\.org", "npmjs" + r"\.org"]))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.txt"), *ROOT.glob("*.toml"), *ROOT.glob("docs/*.md")]:
        assert not hosts.search(path.read_text(encoding="utf-8")), path.name
