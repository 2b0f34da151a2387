"""What the commands of ``catena`` have in common: arguments, options, examples, how a configuration is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigArgument = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings that replace the file's: `key.path=value`.", show_default=False)
]
VolumeOption = Annotated[str | None, typer.Option("--volume", help="Only this volume (and what it needs).")]
YesOption = Annotated[bool, typer.Option("--yes", help="Redo even work that took more than ten minutes.")]
RedoOption = Annotated[str | None, typer.Option("--redo", help="Redo this stage and those below it.")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Try blocks again that failed after all retries.")]
VerifyOption = Annotated[bool, typer.Option("--verify-inputs", help="Read all input voxels instead of a sample.")]


def epilog(*examples: str) -> str:
    """Return what ends a command's help."""
    return "**Examples**\n\n" + "\n\n".join(f"`{each}`" for each in examples)


def load(path: Path, overrides: list[str] | None) -> tuple[Any, Any]:
    """Return the task and the configuration of an experiment's file.

    Raises
    ------
    ConfigError
        If it does not say which task it is, or a setting is wrong.
    """
    from catena.config import apply_overrides, load_yaml
    from catena.errors import ConfigError
    from catena.task import load_task

    values = apply_overrides(load_yaml(path), overrides or [])
    if "task" not in values:
        raise ConfigError(f"{path} does not say which task it is: add a line such as 'task: local_shape_descriptors'")
    task = load_task(str(values["task"]))
    return task, task.config.parse(values, where=str(path))
