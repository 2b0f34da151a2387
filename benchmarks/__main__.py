"""Run benchmarks: ``python -m benchmarks [NAME ...] [--smoke]``; results go to ``benchmarks/results/NAME.json``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.result import Figure, write_results

BENCHMARKS = ("accuracy", "blockwise", "descriptors", "faults", "graph_stores", "synthesis", "training")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--smoke", action="store_true", help="the smallest size: shows that a benchmark runs")
    parser.add_argument(
        "--part", action="append", default=[], help="run only this part of the one benchmark named; may be repeated"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {sorted(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if arguments.part and len(arguments.names) != 1:
        parser.error("--part needs the name of one benchmark")
    for name in arguments.names or BENCHMARKS:
        module: Any = importlib.import_module(f"benchmarks.{name}")
        known = getattr(module, "PARTS", ())
        if not set(arguments.part) <= set(known):
            parser.error(f"the parts of {name} are: {', '.join(known) or 'none'}; found {arguments.part}")
        options = {"parts": arguments.part} if arguments.part else {}
        figures: dict[str, Figure] = module.measure(smoke=arguments.smoke, **options)
        if not figures:  # its data are not there, as it has said; earlier figures stay
            continue
        command = f"make bench BENCH={name}"
        write_results(RESULTS / f"{name}.json", figures, command, keep=bool(arguments.part))
        Console().print(as_table(name, figures))


def as_table(name: str, figures: dict[str, Figure]) -> Table:
    """Return the figures as a table for people."""
    table = Table("figure", "value", "unit", "better", title=f"benchmark: {name}")
    for key, figure in figures.items():
        table.add_row(key, f"{figure.value:g}", figure.unit, figure.better)
    return table


if __name__ == "__main__":
    main()
