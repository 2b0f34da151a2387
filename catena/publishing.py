"""Move what a stage has made into its published place."""

from __future__ import annotations

import shutil
from pathlib import Path

from catena.arrays import make_groups
from catena.blockwise.faults import fault_point


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
