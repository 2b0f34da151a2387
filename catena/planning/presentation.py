"""An estimate as a table with a verdict, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from catena.planning.estimate import RunEstimate, StageEstimate
from catena.progress import format_seconds, wide_console

_COLUMNS = ("stage", "blocks", "skipped", "Mvoxel", "uncompressed", "stored", "RAM/worker", "rows", "workers", "time")


def print_estimate(estimate: RunEstimate, title: str = "", console: Console | None = None) -> None:
    """Print a row per stage and volume, what speaks against the run, and a verdict."""
    console = console or wide_console()
    table = Table(title=title)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "stage" else "right")
    for each in estimate.stages:
        table.add_row(*_row(each))
    console.print(table)
    for line in _remarks(estimate):
        console.print(line, soft_wrap=True, markup=False)
    console.print(verdict(estimate), soft_wrap=True, markup=False)


def verdict(estimate: RunEstimate) -> str:
    """Return what to think of the plan, in a line."""
    if not estimate.stages and estimate.fits:
        return "nothing left to estimate"
    time = format_seconds(estimate.hours * 3600)
    size = f"{time} and {format_bytes(estimate.bytes)} of disk ({format_bytes(estimate.free_bytes)} free)"
    return f"fits: about {size}" if estimate.fits else f"does not fit: {len(estimate.problems)} problem(s), see above"


def to_json(estimate: RunEstimate) -> str:
    """Return an estimate as JSON, totals included."""
    totals = {"fits": estimate.fits, "hours": estimate.hours, "bytes": estimate.bytes}
    return json.dumps({**asdict(estimate), **totals}, indent=1)


def format_bytes(size: float) -> str:
    """Return a size for people.

    >>> format_bytes(2_500_000)
    '2.5 MB'
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _row(each: StageEstimate) -> list[str]:
    stored = format_bytes(each.bytes)
    if not each.block_shape_vox:
        return [each.label, "", "", "", "", stored, "", "", "", ""]
    return [
        each.label,
        str(each.blocks),
        str(each.skipped),
        f"{each.voxels / 1e6:.1f}",
        format_bytes(sum(each.array_bytes.values())) if each.array_bytes else "",
        stored,
        format_bytes(each.memory_bytes),
        str(sum(each.rows.values())) if each.rows else "",
        str(each.workers),
        "" if each.hours is None else format_seconds(each.hours * 3600),
    ]


def _remarks(estimate: RunEstimate) -> Iterable[str]:
    for each in estimate.stages:
        if each.rows:
            yield f"{each.label}: rows: " + ", ".join(f"{name} {count}" for name, count in each.rows.items())
    sampled = sum(each.sampled_blocks for each in estimate.stages)
    stated = [each.label for each in estimate.stages if each.block_shape_vox and not each.sampled_blocks]
    if sampled:
        yield f"from {sampled} blocks computed on this machine"
    if stated:
        yield f"from stated rates, not measured here: {', '.join(stated)}"
    if estimate.done:
        yield f"done: {', '.join(estimate.done)}"
    if estimate.unknown:
        yield f"not estimated: {', '.join(estimate.unknown)}"
    yield from estimate.notes
    yield from (f"warning: {each}" for each in estimate.warnings)
    yield from (f"problem: {each}" for each in estimate.problems)
    if estimate.proposals:
        yield f"would fit better: {'  or  '.join(repr(each) for each in estimate.proposals)}"
