"""``deepscan report``: what it says is what was measured, and the page fetches nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cards import ModelRepository
from deepscan.cli import Exit, app
from deepscan.labelled import read_items
from deepscan.reporting.measure import Plan, chosen, measure_report
from deepscan.reporting.model import CLAIMS, FullReport
from deepscan.reporting.page import page
from deepscan.reporting.task import ReportTask
from pipelines.assessment.local import Labelled

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "evaluation"
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def items() -> list[Labelled]:
    return [Labelled(Path(item.found.path), item.fake, item.group) for item in read_items(SAMPLES)]


@pytest.fixture(scope="module")
def report(items: list[Labelled]) -> FullReport:
    return measure_report(items, ModelRepository(), "samples", Plan(robustness=2, mosaics=1))


class _Addresses(HTMLParser):
    """Every address that a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]


def test_the_page_names_only_addresses_inside_itself(report: FullReport) -> None:
    html = page(report)
    parser = _Addresses()
    parser.feed(html)
    assert parser.found  # pictures and SVG references are there
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in parser.found)
    assert not parser.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\((?!#)|@import", html)


def test_every_part_of_the_report_is_on_the_page(report: FullReport) -> None:
    html = page(report)
    for name in ("groups", "families", "thresholds", "robustness", "skin", "crowds"):
        assert f'<table id="{name}">' in html
    for name in ("roc", "reliability", "risk", "robustness"):
        assert f'id="plot-{name}"' in html
    assert all(claim in html for claim in CLAIMS.values())


def test_claims_stand_beside_what_was_measured(report: FullReport) -> None:
    rows = {row.family: row for row in report.families}
    assert list(rows) == list(CLAIMS)
    assert rows["cnn"].detector in ModelRepository().card("image_faces").calls  # the best of this family here
    assert rows["ensemble"].detector == "verdict"
    assert rows["ensemble"].accuracy is not None
    verdicts = next(row for row in report.robustness if (row.detector, row.condition) == ("verdict", "none"))
    assert verdicts.found.total == 2  # the sweep takes two of each class
    assert rows["audio"].accuracy is None


def test_names_that_look_like_html_are_shown_as_they_are(report: FullReport) -> None:
    assert "<b>x" not in page(report.model_copy(update={"data": "<b>x"}))


def test_pictures_can_be_left_out(items: list[Labelled]) -> None:
    # Every label turned round: what was right is now a mistake.
    turned = [Labelled(item.path, not item.fake, item.group) for item in items]
    plans = [Plan(robustness=0, mosaics=0, pictures=pictures) for pictures in (True, False)]
    shown, bare = (measure_report(turned, ModelRepository(), "turned", plan) for plan in plans)
    assert [m.path for m in shown.mistakes] == [m.path for m in bare.mistakes]
    assert shown.mistakes
    assert all(m.picture for m in shown.mistakes)
    assert not any(m.picture for m in bare.mistakes)
    assert "<img" not in page(bare)


def test_the_sweep_takes_as_many_of_each_group_and_class_and_none_twice(items: list[Labelled]) -> None:
    some = chosen(items, 3)
    assert len(some) == 6
    assert len({item.path for item in some}) == 6
    assert len(chosen(items, 1000)) == len(items)


def test_the_command_writes_page_and_numbers(tmp_path: Path) -> None:
    html, numbers = tmp_path / "r.html", tmp_path / "r.json"
    arguments = ["report", str(SAMPLES), "-o", str(html), "--json", str(numbers), "--robustness", "0", "--mosaics", "0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == Exit.DONE, done.output
    told = FullReport.model_validate(json.loads(numbers.read_text(encoding="utf-8")))
    assert told.quality.items == 8
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReportTask, "_measure", lambda *rest: pytest.fail("it was measured"))
    for place in (tmp_path / "no" / "r.html", tmp_path):
        done = CliRunner().invoke(app, ["report", str(SAMPLES), "-o", str(place)])
        assert done.exit_code == Exit.USAGE
        assert "cannot be written" in done.stderr


@pytest.mark.skipif(_CHROMIUM is None, reason="needs Chromium: chromium is not on the path")
def test_a_browser_shows_the_page_without_fetching_anything(report: FullReport, tmp_path: Path) -> None:
    assert _CHROMIUM is not None
    file = tmp_path / "r.html"
    file.write_text(page(report), encoding="utf-8")
    log = tmp_path / "net.json"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--log-net-log={log}", f"--user-data-dir={tmp_path}/u"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-sync"]
    done = subprocess.run(
        [_CHROMIUM, *flags, *quiet, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert 'id="plot-roc"' in done.stdout
    # The browser may call home by itself; what counts is any host that the page names (namespaces of SVG are such).
    named = set(re.findall(r"https?://([^/\"\s<]+)", page(report)))
    asked = set(re.findall(r'"url":"https?://([^/"]+)', log.read_text(encoding="utf-8")))
    assert not asked & named
