"""The ``catena`` command: a thin shell over the library."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from catena import __version__
from catena.cli_arguments import (
    ConfigArgument,
    Overrides,
    RedoOption,
    RetryOption,
    VerifyOption,
    VolumeOption,
    YesOption,
    epilog,
    load,
)
from catena.cli_graph import graph
from catena.cli_view import views
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
    epilog=epilog(
        "catena init local_shape_descriptors --raw data.zarr/raw --labels data.zarr/labels -o fib25.yaml",
        "catena run fib25.yaml",
        "catena segment --pretrained fib25 data.zarr/raw -o out.zarr",
    ),
)
app.add_typer(views)
app.add_typer(graph, name="graph")


def run_selected(path: Path, overrides: list[str] | None, **selection: Any) -> None:
    """Run a part of an experiment, showing progress and a summary; `selection` as in :class:`catena.plan.Selection`."""
    from catena.plan import Selection
    from catena.progress import ConsoleReporter, print_summary
    from catena.run import run
    from catena.training.torchrun import follow_torchrun, is_follower, leading

    if is_follower():  # started by torchrun, to train with the one process that runs the experiment
        follow_torchrun()
        return
    task, config = load(path, overrides)
    with leading(), ConsoleReporter() as reporter:
        outcomes = run(task, config, Selection(**selection), reporter)
    print_summary(task, config, outcomes)


@app.command(
    "run",
    epilog=epilog(
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
    "plan", epilog=epilog("catena plan fib25.yaml", "catena plan fib25.yaml --workers 64 --volume medulla --json")
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

    task, settings = load(config, overrides)
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


@app.command(epilog=epilog("catena train fib25.yaml", "catena train fib25.yaml train.iterations=50000"))
def train(config: ConfigArgument, overrides: Overrides = None, redo: RedoOption = None, yes: YesOption = False) -> None:
    """Train the network (or go on training it)."""
    run_selected(config, overrides, last="train", redo=redo, yes=yes)


def _add_part(name: str, last: str, text: str, example: str) -> None:
    """Add the command `name`, which runs what is not yet done up to the stage `last`."""

    @app.command(name, help=text, epilog=epilog(example))
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
    epilog=epilog(
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


@app.command("pretrained", epilog=epilog("catena pretrained", "catena pretrained fib25"))
def pretrained_command(
    name: Annotated[str | None, typer.Argument(help="Show all of this network's card.")] = None,
) -> None:
    """List the networks that come with Catena."""
    from catena.pretrained import print_card, print_networks

    if name is None:
        print_networks()
    else:
        print_card(name)


@app.command(epilog=epilog("catena tune fib25.yaml --trials 100", "catena tune fib25.yaml 'tune.methods=[basins]'"))
def tune(
    config: ConfigArgument,
    overrides: Overrides = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Instead of tune.trials.")] = None,
) -> None:
    """Search for the settings of segmentation that score best on validation; goes on where it was."""
    from catena.errors import ConfigError
    from catena.tuning.presentation import print_comparison, print_trial

    task, settings = load(config, [*(overrides or []), *([] if trials is None else [f"tune.trials={trials}"])])
    if task.tune is None:
        raise ConfigError(f"task {task.name} has nothing to tune")
    found = task.tune(settings, print_trial)
    print_comparison(found.trials, settings.agglomerate.merge_function)
    typer.echo(f"wrote {found.path}, trials.csv and trials.png; next: catena run {found.path}")


@app.command(epilog=epilog("catena status fib25.yaml", "catena status fib25.yaml --watch"))
def status(
    config: ConfigArgument,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until the run ends.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, help="With --watch: seconds in between.")] = 5.0,
) -> None:
    """Print what is done, stage by stage; works while a run is going on."""
    from catena.status import print_status, watch_status

    if watch:
        watch_status(*load(config, overrides), every_s=every)
    else:
        print_status(*load(config, overrides))


@app.command("config", epilog=epilog("catena config fib25.yaml", "catena config fib25.yaml train.batch_size=2"))
def config_command(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Print the resolved configuration with every default."""
    from catena.config import to_yaml

    _, settings = load(config, overrides)
    typer.echo(to_yaml(settings), nl=False)


@app.command(
    epilog=epilog(
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
    from catena.config import write_new
    from catena.errors import ConfigError
    from catena.task import load_task

    found = load_task(task)
    if found.template is None:
        raise ConfigError(f"task {task} has no template")
    if output is None:
        typer.echo(found.template(raw=raw, labels=labels, name=name), nl=False)
    else:
        write_new(output, found.template(raw=raw, labels=labels, name=name, path=str(output)))
        typer.echo(f"wrote {output}; next: catena run {shlex.quote(str(output))}")


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
