"""Fragments to segmentation: speed, memory and accuracy, and whether the block layout shows.

Every part measures against its reference in the same run; each can be run alone with ``--part``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from benchmarks.blockwise.timing import step
from benchmarks.result import Figure

PARTS = ("watershed", "tables", "speed", "layout", "overhead", "growth")


def measure(smoke: bool = False, parts: Sequence[str] = ()) -> dict[str, Figure]:
    """Return the figures of some parts, or of all."""
    figures: dict[str, Figure] = {}
    for name in parts or PARTS:
        with step(f"part {name}"):
            figures |= import_module(f"benchmarks.blockwise.{name}").measure(smoke)
    return figures
