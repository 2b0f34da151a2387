"""Move what a stage has made into its published place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from catena.arrays import make_groups
from catena.blockwise.faults import fault_point
from catena.ledger import Record
from catena.task import Output

_OUTPUTS = "outputs to publish"


def move_into_place(source: Path, target: Path, array: bool) -> None:
    """Replace `target` by `source` if `source` is still there; safe to repeat after a crash at any point."""
    old = target.with_name(f".old-{target.name}")
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if array:
            make_groups(target)
        if target.exists():
            _remove(old)
            target.rename(old)
            fault_point("publish.earlier_set_aside")
        source.rename(target)
        fault_point("publish.renamed")
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def with_outputs(record: Record, outputs: Mapping[str, Output]) -> Record:
    """Note with `record` what is to be published: a later run may finish it under other settings."""
    noted = [{"name": name, "path": each.path, "kind": each.kind} for name, each in outputs.items()]
    return replace(record, report={**record.report, _OUTPUTS: noted})


def recorded_outputs(record: Record) -> list[Output]:
    """Return what :func:`with_outputs` noted."""
    return [Output(each["path"], each["kind"]) for each in record.report.get(_OUTPUTS, [])]


def without_outputs(record: Record) -> Record:
    """Return `record` without what :func:`with_outputs` noted."""
    return replace(record, report={key: value for key, value in record.report.items() if key != _OUTPUTS})


def remove_staging(staging: Path, stage: str, keep: Path | None = None) -> None:
    """Remove what attempts of `stage` left in the folder `staging`, but for the attempt in the folder `keep`."""
    for folder in staging.glob(f"{stage}-*"):
        if folder != keep:
            shutil.rmtree(folder)
