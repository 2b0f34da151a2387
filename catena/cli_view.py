"""The commands of ``catena`` that show something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catena.cli_arguments import ConfigArgument, Overrides, VolumeOption, epilog, load

views = typer.Typer(rich_markup_mode="markdown")


@views.command(epilog=epilog("catena view fib25.yaml", "catena view fib25.yaml --screenshot view.png"))
def view(
    config: ConfigArgument,
    overrides: Overrides = None,
    volume: VolumeOption = None,
    screenshot: Annotated[Path | None, typer.Option(help="Write a PNG through headless Chromium, then stop.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
) -> None:
    """Open raw, affinities, fragments and segmentation in Neuroglancer."""
    from catena.errors import ConfigError

    task, settings = load(config, overrides)
    if task.view is None:
        raise ConfigError(f"task {task.name} has no view")
    task.view(settings, volume or next(iter(settings.volumes)), screenshot=screenshot, host=host)


@views.command(
    "view-augmentations",
    epilog=epilog(
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

    task, settings = load(config, overrides)
    if task.view_augmentations is None:
        raise ConfigError(f"task {task.name} has no augmentation to show")
    typer.echo(f"wrote {task.view_augmentations(settings, output, number)}")


@views.command(
    "view-errors",
    epilog=epilog(
        "catena view-errors fib25.yaml",
        "catena view-errors fib25.yaml --volume medulla --region validation --count 8 -o worst.png",
    ),
)
def view_errors(
    config: ConfigArgument,
    overrides: Overrides = None,
    volume: Annotated[str | None, typer.Option(help="By default the first with labels in the region.")] = None,
    region: Annotated[str, typer.Option(help="`train`, `validation` or `test`.")] = "test",
    count: Annotated[int, typer.Option(min=1, help="Mergers, and splits, to show at most.")] = 4,
    output: Annotated[Path, typer.Option("-o", "--output", help="The PNG to write.")] = Path("errors.png"),
) -> None:
    """Draw the worst mergers and splits of a segmentation beside raw and ground truth, and list them."""
    from catena.errors import ConfigError

    task, settings = load(config, overrides)
    if task.view_errors is None:
        raise ConfigError(f"task {task.name} has no errors to show")
    written = task.view_errors(settings, volume, region, count, output, typer.echo)
    typer.echo("nothing to draw" if written is None else f"wrote {written}")
