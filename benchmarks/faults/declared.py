"""The fault points that the source declares."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("catena", "local_shape_descriptors")


def declared_fault_points() -> set[str]:
    """Return the names in all calls of ``fault_point``."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "fault_point":
                    found.add(ast.literal_eval(call.args[0]))
    return found
