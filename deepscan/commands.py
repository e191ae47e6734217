"""What the commands of :mod:`deepscan.cli` do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from cards.limits import MAX_JUDGED_FPS, MAX_JUDGED_FRAMES
from deepscan import service
from deepscan.cli import Exit
from deepscan.drawings import Drawings
from deepscan.evaluate import judge_items, make_report, report_table, summary_lines, write_plot
from deepscan.inputs import Found, Walk, opened
from deepscan.labelled import EVALUATED, read_items
from deepscan.output import STDOUT, Lines, check_folder, check_writable, lines_to, standard_output, writable
from deepscan.safe import words
from deepscan.scan import Result, Settings, scan
from deepscan.show import Patience, err, out, results_table
from deepscan_client import (
    AsyncDeepScanClient,
    DeepScanError,
    ErrorCode,
    InstallationError,
    Medium,
    RequestError,
)
from pipelines.options import Options, refused


def _report(line: str) -> None:
    err().print(words(line, style="dim"))


@contextlib.contextmanager
def _open_service(triton: str | None, media: Iterable[Medium | None], heatmaps: bool = False) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            # What is no medium is asked as a photo, whose way says what is wrong with it.
            wanted = {each or Medium.IMAGE for each in media}
            url = stack.enter_context(service.service(triton, _report, wanted, heatmaps))
        except ValueError as error:
            raise RequestError(str(error), remedy="give --triton host:port") from error
        yield url


def _check_sampling(asked: Settings) -> None:
    """
    Raises:
        RequestError: more or fewer frames of a video than can be judged, or two ways to choose them.
    """
    try:
        Options(num_frames=asked.num_frames, fps=asked.fps)
    except ValidationError as error:
        remedy = f"give --num-frames (1 to {MAX_JUDGED_FRAMES}) or --fps (above 0 to {MAX_JUDGED_FPS:g})"
        raise refused(error, remedy, "", lambda name: "--" + name.replace("_", "-")) from error


@dataclass(frozen=True)
class ScanTask:
    """``deepscan scan``."""

    paths: list[str]
    jsonl: str | None
    as_json: bool
    drawings: Drawings
    asked: Settings
    """Without the heat maps, which the drawings tell."""
    with_sound: bool = False
    """Ask of pictures and sound together where a video has both."""

    def run(self, triton: str | None) -> Exit:
        """Scan, show, and say how it went.

        Raises:
            RequestError: two documents are wanted on standard output, the frames to judge are out of range, or standard
                output, a file or a folder cannot be written.
        """
        if self.as_json and self.jsonl == STDOUT:
            raise RequestError("--json and --jsonl - both write standard output", remedy="name a file after --jsonl")
        _check_sampling(self.asked)
        for folder, _ in self.drawings.wanted:
            check_folder(folder)
        walk = Walk(self.paths)
        # Once: each is opened to tell what it holds, and a server of our own loads by that.
        files = [opened(found) if self.with_sound else found for found in walk]
        heat, media = Medium.VIDEO in self.drawings.heat, {found.medium for found in files}
        with lines_to(self.jsonl) as lines, _open_service(triton, media, heat) as url:
            results = asyncio.run(self._judge(url, files, lines))
        self._show(results)
        failed = sum(result.verdict is None for result in results)
        skipped = f", {walk.skipped} other files in the folders skipped" if walk.skipped else ""
        failures = f", {failed} could not be judged" if failed else ""
        err().print(f"{len(results) - failed} judged{failures}{skipped}")
        return Exit.SOME_FAILED if failed else Exit.DONE

    async def _judge(self, url: str, files: Sequence[Found], lines: Lines | None) -> list[Result]:
        results: list[Result] = []
        # Over HTTP a server cannot tell its progress.
        grpc = not url.startswith(("http://", "https://"))
        async with AsyncDeepScanClient(url) as client:
            with Patience("scanning") as progress:
                tell = progress.hear if grpc else None
                settings = replace(self.asked, heatmaps=self.drawings.heat, on_progress=tell)
                async for result in scan(client, files, settings):
                    progress.advance(result.found.path)
                    kept = result.lean()
                    if lines is not None:
                        lines.write(kept.to_line())
                    await self._draw(result, len(results) + 1)
                    results.append(kept)
        return results

    async def _draw(self, result: Result, number: int) -> None:
        for folder, write in self.drawings.wanted:
            with writable(folder):
                try:
                    await asyncio.to_thread(write, result, Path(folder), number)
                except DeepScanError as error:  # the file changed after it was judged: its verdict stands
                    err().print(words(f"no picture of {result.found.path}: {error.message}"))
                except OSError:  # of the folder
                    raise
                except Exception as error:  # one odd file must not end the scan of the others
                    err().print(words(f"no picture of {result.found.path}: {type(error).__name__}: {error}"))

    def _show(self, results: list[Result]) -> None:
        with standard_output():
            if self.as_json:
                print(json.dumps([result.to_dict() for result in results], indent=2))
            elif self.jsonl != STDOUT:
                out().print(results_table(results))


@dataclass(frozen=True)
class EvaluateTask:
    """``deepscan evaluate``."""

    path: str
    manifest: str | None
    json_out: str | None
    plot: str | None
    in_flight: int

    def run(self, triton: str | None) -> Exit:
        """Measure, show, write.

        Raises:
            RequestError: nothing is there to be measured, or a file cannot be written.
        """
        items = read_items(Path(self.path), None if self.manifest is None else Path(self.manifest), EVALUATED)
        if self.plot is not None and not self.plot.lower().endswith(".png"):
            raise RequestError(f"{self.plot} is no name of a PNG file", remedy="write --plot OUT.png")
        check_writable(self.json_out, self.plot)

        async def judge(url: str) -> list[Result]:
            async with AsyncDeepScanClient(url) as client:
                with Patience("judging", total=len(items)) as progress:
                    settings = Settings(self.in_flight)
                    return await judge_items(client, items, settings, lambda r: progress.advance(r.found.path))

        with _open_service(triton, {item.found.medium for item in items}) as url:
            results = asyncio.run(judge(url))
        report = make_report(items, results, Path(self.manifest or self.path).resolve().name)
        with standard_output():
            out().print(report_table(report))
            for line in summary_lines(report):
                out().print(words(line))
        for result in results:
            if result.error is not None:
                err().print(words(f"{result.found.path}: {result.error.code}: {result.error.message}"))
        if self.json_out is not None:
            with writable(self.json_out):
                Path(self.json_out).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if self.plot is not None:
            with writable(self.plot):
                write_plot(items, results, Path(self.plot))
        return Exit.SOME_FAILED if report.failed else Exit.DONE


def list_models(folder: str | None) -> None:
    """``deepscan models``."""
    from rich.table import Table

    from cards import ModelRepository

    repository = ModelRepository(folder)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "kind", "versions", "mean AUC", "licence"):
        table.add_column(column, overflow="fold")
    for name in repository.names():
        versions = repository.versions(name)
        record = repository.record(name) if versions and repository.has_record(name) else None
        known = [] if record is None else [group.auc for group in record.evaluation if group.auc is not None]
        auc = f"{sum(known) / len(known):.3f} ({record.evaluated_on})" if record is not None and known else ""
        licence = (record.licence if record is not None else "") or repository.card(name).licence.name
        kind = repository.card(name).kind
        table.add_row(*map(words, (name, kind, ", ".join(map(str, versions)), auc, licence)))
    with standard_output():
        out().print(table)


def run_room(name: str, module: str, arguments: list[str]) -> int:
    """Hand a command over to ``main(arguments) -> int`` of another room.

    Raises:
        InstallationError: a package that it needs is not installed.
    """
    before = sys.argv[0]
    sys.argv[0] = f"deepscan {name}"  # argparse shows it in its help
    try:
        code = importlib.import_module(module).main(arguments)
    except ModuleNotFoundError as error:
        raise InstallationError(
            f"deepscan {name} needs {error.name}, which is not installed",
            code=ErrorCode.ENVIRONMENT,
            remedy="install it with: pip install -e './client' -e '.[train]'",
        ) from error
    finally:
        sys.argv[0] = before
    return int(code or 0)
