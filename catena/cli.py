"""The ``catena`` command: a thin shell over the library."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from catena import __version__
from catena.errors import CatenaError

COMMAND_GROUP = "catena.commands"
STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""

app = typer.Typer(
    name="catena",
    help="Volume electron microscopy to wiring diagram. One YAML file per experiment; kill it and run it again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
StoreArgument = Annotated[
    str, typer.Argument(help="`postgresql://…`, `mongodb://…`, or the path of a SQLite file.", show_default=False)
]
ConfigArgument = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings that replace the file's: `key.path=value`.", show_default=False)
]
VolumeOption = Annotated[str | None, typer.Option("--volume", help="Only this volume (and what it needs).")]
YesOption = Annotated[bool, typer.Option("--yes", help="Redo even work that took more than ten minutes.")]
RedoOption = Annotated[str | None, typer.Option("--redo", help="Redo this stage and those below it.")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Try blocks again that failed after all retries.")]
VerifyOption = Annotated[bool, typer.Option("--verify-inputs", help="Read all input voxels instead of a sample.")]


def _epilog(*examples: str) -> str:
    return "**Examples**\n\n" + "\n\n".join(f"`{each}`" for each in examples)


graph = typer.Typer(
    help="Look into graph stores, copy graphs between them, drop graphs.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog=_epilog("catena graph info fib25.yaml", "catena graph copy rag.sqlite 'postgresql://me@host/graphs'"),
)
app.add_typer(graph, name="graph")


def _load(path: Path, overrides: list[str] | None) -> tuple[Any, Any]:
    from catena.config import apply_overrides, load_yaml
    from catena.errors import ConfigError
    from catena.task import load_task

    values = apply_overrides(load_yaml(path), overrides or [])
    if "task" not in values:
        raise ConfigError(f"{path} does not say which task it is: add a line such as 'task: local_shape_descriptors'")
    task = load_task(str(values["task"]))
    return task, task.config.parse(values, where=str(path))


def run_selected(path: Path, overrides: list[str] | None, **selection: Any) -> None:
    """Run a part of an experiment, showing progress and a summary; `selection` as in :class:`catena.plan.Selection`."""
    from catena.plan import Selection
    from catena.progress import ConsoleReporter, print_summary
    from catena.run import run
    from catena.training.torchrun import follow_torchrun, is_follower, leading

    if is_follower():  # started by torchrun, to train with the one process that runs the experiment
        follow_torchrun()
        return
    task, config = _load(path, overrides)
    with leading(), ConsoleReporter() as reporter:
        outcomes = run(task, config, Selection(**selection), reporter)
    print_summary(task, config, outcomes)


@app.command(
    "run",
    epilog=_epilog(
        "catena run fib25.yaml",
        "catena run fib25.yaml --to predict train.iterations=5000",
        "catena run fib25.yaml --retry-failed",
    ),
)
def run_command(
    config: ConfigArgument,
    overrides: Overrides = None,
    first: Annotated[str | None, typer.Option("--from", help="First stage to run; those above must be done.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last stage to run.")] = None,
    only: Annotated[str | None, typer.Option("--only", help="Just this stage.")] = None,
    redo: RedoOption = None,
    volume: VolumeOption = None,
    yes: YesOption = False,
    retry_failed: RetryOption = False,
    verify_inputs: VerifyOption = False,
) -> None:
    """Run everything that is not yet done; safe to kill and to run again."""
    run_selected(
        config,
        overrides,
        first=only or first,
        last=only or last,
        redo=redo,
        volume=volume,
        yes=yes,
        retry_failed=retry_failed,
        verify_inputs=verify_inputs,
    )


@app.command(
    "plan", epilog=_epilog("catena plan fib25.yaml", "catena plan fib25.yaml --workers 64 --volume medulla --json")
)
def plan_command(
    config: ConfigArgument,
    overrides: Overrides = None,
    volume: VolumeOption = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Instead of those configured.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Compute no blocks; use stated rates.")] = False,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Places where blocks are computed.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate blocks, bytes, memory, rows and hours of what is left to do; refuse what cannot fit."""
    from catena.planning import estimate_run, print_estimate, to_json
    from catena.progress import ConsoleReporter

    task, settings = _load(config, overrides)
    with ConsoleReporter(stderr=True) as reporter:
        estimate = estimate_run(
            task, settings, volume=volume, workers=workers, quick=quick, samples=samples, reporter=reporter
        )
    if json:
        typer.echo(to_json(estimate))
    else:
        print_estimate(estimate, f"{settings.experiment}: {task.name}")
    if not estimate.fits:
        raise typer.Exit(1)


@app.command(epilog=_epilog("catena train fib25.yaml", "catena train fib25.yaml train.iterations=50000"))
def train(config: ConfigArgument, overrides: Overrides = None, redo: RedoOption = None, yes: YesOption = False) -> None:
    """Train the network (or go on training it)."""
    run_selected(config, overrides, last="train", redo=redo, yes=yes)


def _add_part(name: str, last: str, text: str, example: str) -> None:
    """Add the command `name`, which runs what is not yet done up to the stage `last`."""

    @app.command(name, help=text, epilog=_epilog(example))
    def part(
        config: ConfigArgument,
        overrides: Overrides = None,
        volume: VolumeOption = None,
        redo: RedoOption = None,
        yes: YesOption = False,
        retry_failed: RetryOption = False,
    ) -> None:
        run_selected(config, overrides, last=last, volume=volume, redo=redo, yes=yes, retry_failed=retry_failed)


_add_part(
    "predict",
    "predict",
    "Predict every voxel of the volumes, training first if need be.",
    "catena predict fib25.yaml --volume medulla",
)
_add_part(
    "evaluate",
    "evaluate",
    "Score the segmentation against ground truth, running what that needs.",
    "catena evaluate fib25.yaml",
)


@app.command(
    epilog=_epilog(
        "catena segment fib25.yaml segmentation.threshold=0.4",
        "catena segment --pretrained fib25 data.zarr/volumes/raw -o out.zarr",
        "catena segment --pretrained list",
    )
)
def segment(
    config: Annotated[
        str | None, typer.Argument(help="The experiment's YAML file; with --pretrained, raw EM.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    pretrained: Annotated[
        str | None, typer.Option("--pretrained", help="A network that comes with Catena; `list` shows them.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="With --pretrained: the zarr container to write to.")
    ] = None,
    volume: VolumeOption = None,
    redo: RedoOption = None,
    yes: YesOption = False,
    retry_failed: RetryOption = False,
) -> None:
    """Segment the volumes, running what that needs; or a new volume with a network that comes with Catena."""
    from catena.errors import ConfigError
    from catena.pretrained import print_networks, segment_with

    selection: dict[str, Any] = {"volume": volume, "redo": redo, "yes": yes, "retry_failed": retry_failed}
    if pretrained == "list":
        print_networks()
    elif config is None or (pretrained is None) != (output is None):
        raise ConfigError("expected: catena segment CONFIG, or catena segment --pretrained NAME RAW -o OUT.zarr")
    elif pretrained is None or output is None:
        run_selected(Path(config), overrides, last="segmentation", **selection)
    else:
        for path in segment_with(pretrained, config, output, overrides or [], **selection):
            typer.echo(f"wrote {path}")


@app.command("pretrained", epilog=_epilog("catena pretrained", "catena pretrained fib25"))
def pretrained_command(
    name: Annotated[str | None, typer.Argument(help="Show all of this network's card.")] = None,
) -> None:
    """List the networks that come with Catena."""
    from catena.pretrained import print_card, print_networks

    if name is None:
        print_networks()
    else:
        print_card(name)


@app.command(epilog=_epilog("catena tune fib25.yaml --trials 100", "catena tune fib25.yaml 'tune.methods=[basins]'"))
def tune(
    config: ConfigArgument,
    overrides: Overrides = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Instead of tune.trials.")] = None,
) -> None:
    """Search for the settings of segmentation that score best on validation; goes on where it was."""
    from catena.errors import ConfigError
    from catena.tuning.presentation import print_comparison, print_trial

    task, settings = _load(config, [*(overrides or []), *([] if trials is None else [f"tune.trials={trials}"])])
    if task.tune is None:
        raise ConfigError(f"task {task.name} has nothing to tune")
    found = task.tune(settings, print_trial)
    print_comparison(found.trials, settings.agglomerate.merge_function)
    typer.echo(f"wrote {found.path}, trials.csv and trials.png; next: catena run {found.path}")


@app.command(epilog=_epilog("catena view fib25.yaml", "catena view fib25.yaml --screenshot view.png"))
def view(
    config: ConfigArgument,
    overrides: Overrides = None,
    volume: VolumeOption = None,
    screenshot: Annotated[Path | None, typer.Option(help="Write a PNG through headless Chromium, then stop.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
) -> None:
    """Open raw, affinities, fragments and segmentation in Neuroglancer."""
    from catena.errors import ConfigError

    task, settings = _load(config, overrides)
    if task.view is None:
        raise ConfigError(f"task {task.name} has no view")
    task.view(settings, volume or next(iter(settings.volumes)), screenshot=screenshot, host=host)


@app.command(
    "view-augmentations",
    epilog=_epilog(
        "catena view-augmentations fib25.yaml", "catena view-augmentations fib25.yaml -o sheet.png --number 6"
    ),
)
def view_augmentations(
    config: ConfigArgument,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")] = Path("augmentations.png"),
    number: Annotated[int, typer.Option("--number", min=1, help="Crops to show.")] = 4,
) -> None:
    """Draw training crops before and after augmentation, all of it and each part alone."""
    from catena.errors import ConfigError

    task, settings = _load(config, overrides)
    if task.view_augmentations is None:
        raise ConfigError(f"task {task.name} has no augmentation to show")
    typer.echo(f"wrote {task.view_augmentations(settings, output, number)}")


@app.command(epilog=_epilog("catena status fib25.yaml", "catena status fib25.yaml --watch"))
def status(
    config: ConfigArgument,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until the run ends.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, help="With --watch: seconds in between.")] = 5.0,
) -> None:
    """Print what is done, stage by stage; works while a run is going on."""
    from catena.status import print_status, watch_status

    if watch:
        watch_status(*_load(config, overrides), every_s=every)
    else:
        print_status(*_load(config, overrides))


@app.command("config", epilog=_epilog("catena config fib25.yaml", "catena config fib25.yaml train.batch_size=2"))
def config_command(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Print the resolved configuration with every default."""
    from catena.config import to_yaml

    _, settings = _load(config, overrides)
    typer.echo(to_yaml(settings), nl=False)


@app.command(
    epilog=_epilog(
        "catena init local_shape_descriptors --raw data.zarr/volumes/raw",
        "catena init local_shape_descriptors --raw d.h5/raw --labels d.h5/labels -o experiment.yaml",
    )
)
def init(
    task: Annotated[str, typer.Argument(help="The task, e.g. `local_shape_descriptors`.")],
    raw: Annotated[str, typer.Option(help="Raw EM: container and data set joined.")],
    labels: Annotated[str | None, typer.Option(help="Ground truth, if there is any.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; printed if not given.")] = None,
    name: Annotated[str, typer.Option(help="Name of the experiment.")] = "experiment",
) -> None:
    """Write a commented configuration chosen from the data's voxel size."""
    from catena.errors import ConfigError, OutputError
    from catena.task import load_task

    found = load_task(task)
    if found.template is None:
        raise ConfigError(f"task {task} has no template")
    text = found.template(raw=raw, labels=labels, name=name)
    if output is None:
        typer.echo(text, nl=False)
    elif output.exists():
        raise OutputError(f"{output} exists already; choose another file")
    else:
        output.write_text(text)
        typer.echo(f"wrote {output}; next: catena run {output}")


@graph.command(
    epilog=_epilog(
        "catena graph info fib25.yaml --volume medulla",
        "catena graph info runs/fib25/volumes/medulla/rag.sqlite",
        "catena graph info 'postgresql://me@db.lab.org/graphs?namespace=fib25_medulla'",
    )
)
def info(
    what: Annotated[str, typer.Argument(help="A store, or an experiment's YAML file.", show_default=False)],
    overrides: Overrides = None,
    volume: Annotated[str | None, typer.Option("--volume", help="Only this volume of the experiment.")] = None,
) -> None:
    """Count the rows of every table, and print what the store knows about them."""
    from catena.errors import ConfigError
    from catena.graphs.description import print_graph

    if Path(what).suffix in (".yaml", ".yml"):
        task, config = _load(Path(what), overrides)
        if task.open_graph is None:
            raise ConfigError(f"task {task.name} has no graph")
        for name in [volume] if volume else config.volumes:
            config.volume(name)
            with task.open_graph(config, name, mode="r") as store:
                print_graph(store)
    elif volume or overrides:
        raise ConfigError("--volume and settings go with an experiment's YAML file")
    else:
        with _open_graph(what, "r") as store:
            print_graph(store)


@graph.command(
    epilog=_epilog(
        "catena graph copy runs/fib25/volumes/medulla/rag.sqlite 'postgresql://me@host/graphs?namespace=fib25_medulla'",
        "catena graph copy mongodb://host/classic rag.sqlite --table nodes --table edges_hist_quant_75",
    )
)
def copy(
    source: StoreArgument,
    target: StoreArgument,
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop tables of the same names in the target.")] = False,
) -> None:
    """Copy a graph into another store; every table arrives whole or not at all."""
    from catena.graphs.transfer import copy_graph, finished_tables

    with _open_graph(source, "r") as read, _open_graph(target, "a") as written:
        names = table or finished_tables(read)
        total = sum(read.count(name) for name in names)
        with typer.progressbar(length=total, label="rows") as bar:
            rows = copy_graph(read, written, table, replace, bar.update)
        typer.echo(f"wrote {written.url}: " + ", ".join(f"{name} ({count} rows)" for name, count in rows.items()))


@graph.command(epilog=_epilog("catena graph drop 'postgresql://me@host/graphs?namespace=fib25_medulla' --yes"))
def drop(store: StoreArgument, yes: Annotated[bool, typer.Option("--yes", help="Really drop it.")] = False) -> None:
    """Drop a graph: all its tables, and the note whose they are."""
    from catena.errors import ConfigError
    from catena.graphs.description import print_graph
    from catena.graphs.transfer import drop_graph

    with _open_graph(store, "r") as opened:
        print_graph(opened)
        if not yes:
            raise ConfigError(f"this would drop all of {opened.url}; say --yes to do so")
    with _open_graph(store, "a") as opened:
        drop_graph(opened)
        typer.echo(f"dropped {opened.url}")


def _open_graph(place: str, mode: Literal["a", "r"]) -> Any:
    from catena.graphs import open_store, sqlite_url

    return open_store(place if "://" in place else sqlite_url(place), mode)


@app.callback(invoke_without_command=True)
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    os.environ["CATENA_DEBUG"] = "1" if debug or os.environ.get("CATENA_DEBUG") == "1" else "0"


def _add_registered_commands() -> None:
    for entry in sorted(entry_points(group=COMMAND_GROUP), key=lambda each: each.name):
        command = entry.load()
        app.command(entry.name, epilog=getattr(command, "epilog", None))(command)


def _terminate(signum: int, frame: Any) -> None:
    """Turn SIGTERM into the same clean stop as Ctrl-C."""
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of ``catena``."""
    _add_registered_commands()
    execute(app)


def execute(app: typer.Typer) -> NoReturn:
    """Run the command that the process was called with, print errors in a line or two, and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    arguments = [each for each in sys.argv[1:] if each != "--debug"]  # before or after the command alike
    debug = len(arguments) < len(sys.argv) - 1 or os.environ.get("CATENA_DEBUG") == "1"
    os.environ["CATENA_DEBUG"] = "1" if debug else "0"
    try:
        code = app(arguments, standalone_mode=False)
    except CatenaError as error:
        if debug:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        if debug or not hasattr(error, "exit_code"):
            raise
        show = getattr(error, "show", None)
        if show is not None:
            show()
        sys.exit(error.exit_code)
    if code == STOPPED:  # typer turns Ctrl-C into this code as well
        typer.secho("stopped; run the same command again to go on", fg="yellow", err=True)
    sys.exit(code if isinstance(code, int) else 0)
