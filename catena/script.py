"""A command that runs one part of an experiment: what the files in ``scripts/`` are made of."""

from __future__ import annotations

from typing import NoReturn

import typer

from catena.cli import execute, run_selected
from catena.cli_arguments import ConfigArgument, Overrides, RetryOption, VolumeOption, YesOption


def run_script(description: str | None, last: str, first: str | None = None) -> NoReturn:
    """Be a command that runs the stages from `first` to `last` with the arguments of ``catena run``, then exit.

    Parameters
    ----------
    description
        Shown by ``--help``.
    last
        Name of the stage.
    first
        First stage that may run, `last` by default; it is an error if one above it is not done.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(help=description)
    def command(
        config: ConfigArgument,
        overrides: Overrides = None,
        volume: VolumeOption = None,
        redo: bool = typer.Option(False, "--redo", help="Redo it even if it is done."),
        yes: YesOption = False,
        retry_failed: RetryOption = False,
    ) -> None:
        run_selected(
            config,
            overrides,
            first=first or last,
            last=last,
            redo=last if redo else None,
            volume=volume,
            yes=yes,
            retry_failed=retry_failed,
        )

    execute(app)
