"""The command line. Commands import what they need when they run, so that ``deepscan --help`` is quick."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class Exit(IntEnum):
    """What a script may branch on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    NO_SERVICE = 4


class _Program(typer.Typer):
    """The command line; where standard output cannot be written it ends with one line, whatever was printing."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from deepscan.stdout import guarded

        with guarded():
            return super().__call__(*args, **options)


app = _Program(
    name="deepscan",
    help="Tells whether photos, recordings and videos were synthesised or manipulated, and shows why.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Triton = Annotated[
    str | None,
    typer.Option(
        "--triton",
        metavar="URL",
        help="Server to ask: host:port (gRPC) or http://host:port. Default: "
        "DEEPSCAN_TRITON, else a healthy one on 127.0.0.1:8001, else one is started and stopped.",
    ),
]
InFlight = Annotated[int, typer.Option("--in-flight", min=1, max=256, help="Files under way at once.")]


def _typed_errors(otherwise: Exit = Exit.NO_SERVICE) -> AbstractContextManager[None]:
    """Show a DeepScan error with its remedy; exit code 2 where the request was wrong, else ``otherwise``."""
    import contextlib

    from deepscan_client import DeepScanError, InputError, RequestError

    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        try:
            yield
        except DeepScanError as error:
            from deepscan.show import complain

            complain(error)
            usage = isinstance(error, (InputError, RequestError))
            raise typer.Exit(Exit.USAGE if usage else otherwise) from error

    return guard()


@app.command()
def scan(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Photos, recordings, videos, and folders that are walked.")
    ],
    jsonl: Annotated[
        str | None, typer.Option("--jsonl", metavar="OUT", help="Write one JSON verdict a line; - is stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the table.")] = False,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            "--heatmaps",
            metavar="DIR",
            help="Write photos with boxes and heat maps, recordings and videos with a timeline.",
        ),
    ] = None,
    annotate: Annotated[
        str | None,
        typer.Option("--annotate", metavar="DIR", help="Write videos with box, score and heat map of each face."),
    ] = None,
    pages: Annotated[
        str | None,
        typer.Option(
            "--html", metavar="DIR", help="Write a page for each file that says everything; nothing beside it."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0.0, max=1.0, help="fake from this probability on.")
    ] = None,
    num_frames: Annotated[
        int | None,
        typer.Option("--num-frames", min=1, help="Frames of each video to judge, 1 to 300; five a second by default."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            help="Frames a second of each video to judge instead, above 0 to 240. No more than 300 are judged: "
            "a verdict on fewer than asked has the reason sampled_thinly.",
        ),
    ] = None,
    with_sound: Annotated[
        bool,
        typer.Option("--with-sound", help="Judge videos that have a sound track by their pictures and sound together."),
    ] = False,
    analyzers: Annotated[
        bool,
        typer.Option(
            "--analyzers", help="Measure voices, and the main face of videos, too: evidence without weight; slower."
        ),
    ] = False,
    triton: Triton = None,
    in_flight: InFlight = 4,
) -> None:
    """Judge photos, recordings and videos.

    Exit code 0: every file was judged; 3: some could not be; 2: wrong usage; 4: no server.
    """
    from deepscan.commands import ScanTask
    from deepscan.drawings import Drawings
    from deepscan.scan import Settings

    with _typed_errors():
        asked = Settings(in_flight, threshold=threshold, num_frames=num_frames, fps=fps, analyzers=analyzers)
        task = ScanTask(paths, jsonl, as_json, Drawings(pictures, annotate, pages), asked, with_sound)
        raise typer.Exit(task.run(triton))


@app.command()
def evaluate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Folder with <group>/real and <group>/fake.")],
    manifest: Annotated[
        str | None, typer.Option("--manifest", metavar="FILE", help="CSV or JSON lines: path, label, group.")
    ] = None,
    json_out: Annotated[str | None, typer.Option("--json", metavar="OUT", help="Write the report as JSON.")] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="OUT.png", help="Draw ROC by group and the reliability.")
    ] = None,
    triton: Triton = None,
    in_flight: InFlight = 4,
) -> None:
    """Measure quality by group on labelled photos, recordings and videos, with 95 % bootstrap intervals.

    Exit code 0: every file was judged; 3: some could not be; 2: wrong usage; 4: no server.
    """
    from deepscan.commands import EvaluateTask

    with _typed_errors():
        raise typer.Exit(EvaluateTask(path, manifest, json_out, plot, in_flight).run(triton))


@app.command()
def report(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Folder with <group>/real and <group>/fake.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT.html", help="The report to write.")],
    manifest: Annotated[
        str | None, typer.Option("--manifest", metavar="FILE", help="CSV or JSON lines: path, label, group.")
    ] = None,
    json_out: Annotated[str | None, typer.Option("--json", metavar="OUT", help="Write the numbers as JSON.")] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="DIR", help="Model repository; the shipped one by default.")
    ] = None,
    robustness: Annotated[
        int, typer.Option("--robustness", min=0, help="Photos of each group and class to damage; 0 for none.")
    ] = 40,
    mosaics: Annotated[int, typer.Option("--mosaics", min=0, help="Mosaics of each make; 0 for none.")] = 40,
    pictures: Annotated[bool, typer.Option(help="Show the worst mistakes as pictures.")] = True,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Photos under way at once.")] = 2,
) -> None:
    """Measure everything on labelled photos and recordings and write one HTML file. They are judged in this process.

    Exit code 0: every file was judged; 3: some could not be; 2: wrong usage; 4: the models do not load.
    """
    from deepscan.reporting.measure import Plan
    from deepscan.reporting.task import ReportTask

    plan = Plan(robustness=robustness, mosaics=mosaics, pictures=pictures, workers=workers)
    with _typed_errors():
        raise typer.Exit(ReportTask(path, manifest, output, json_out, models, plan).run())


@app.command()
def models(
    folder: Annotated[
        str | None, typer.Option("--models", metavar="DIR", help="Model repository; the shipped one by default.")
    ] = None,
) -> None:
    """List the models of a repository with their versions and licences."""
    from deepscan.commands import list_models

    with _typed_errors(Exit.FAILED):
        list_models(folder)


@app.command()
def schema(
    write: Annotated[bool, typer.Option("--write", help="Write docs/verdict.schema.json of this checkout.")] = False,
) -> None:
    """Print the JSON schema of a verdict."""
    from deepscan.schema import schema_file, schema_text

    if write:
        schema_file().write_text(schema_text(), encoding="utf-8")
    else:
        from deepscan.output import standard_output

        with _typed_errors(Exit.FAILED), standard_output():
            typer.echo(schema_text(), nl=False)


# These commands belong to other rooms, whose own parsers read their arguments (also --help).
_ROOMS = {
    "serve": ("serving.serve", "Run Triton and the gateway until Ctrl-C."),
    "doctor": ("serving.doctor", "Check this installation and print the fix for what is wrong."),
    "data": ("training.data.validate", "Check a data set: broken files, duplicates, balance, sizes, licences."),
    "train": ("ml_backend.train_command", "Train the detectors on a folder of your own."),
    "export": ("export.onnx_export", "Turn a checkpoint into a version folder of a model."),
    "bench": ("benchmarks.bench", "Measure latency with perf_analyzer against benchmarks/targets.yaml."),
}


def _add_room(name: str, module: str, text: str) -> None:
    @app.command(
        name,
        help=text,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def command(context: typer.Context) -> None:
        from deepscan.commands import run_room

        with _typed_errors(Exit.FAILED):
            raise typer.Exit(run_room(name, module, list(context.args)))


for _name, (_module, _text) in _ROOMS.items():
    _add_room(_name, _module, _text)


if __name__ == "__main__":
    app()
