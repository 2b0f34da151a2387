"""Entries for the workers of the tests; they stand in a module of their own, as a worker must import them."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from catena.arrays import open_array
from catena.blockwise import Block, ProcessBlock, fault_point
from catena.blockwise.masks import ArrayMask


def visit(arguments: dict[str, Any]) -> ProcessBlock:
    """Append a line to a file per block; misbehave where the arguments say so."""
    out = Path(arguments["out"])

    def process(block: Block) -> None:
        if block.index in arguments.get("poisoned", ()):
            raise ValueError(f"block {block.index} is poisoned")
        if block.index in arguments.get("deadly", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        if block.index in arguments.get("deadly_once", ()) and not (out / "killed").exists():
            (out / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if block.index in arguments.get("endless", ()):
            time.sleep(60)
        if block.index in arguments.get("greedy", ()):
            resource.setrlimit(resource.RLIMIT_AS, (2**35, resource.RLIM_INFINITY))
            np.ones(2**36, np.uint8)
        time.sleep(arguments.get("sleep_s", 0.0))
        with (out / f"{block.index}.block").open("a") as file:
            file.write(f"{block.write_roi} {block.read_roi}\n")

    return process


def visit_unless_second(arguments: dict[str, Any]) -> ProcessBlock:
    """Visit; but of the workers, the second one dies when it sets itself up, as on a node that lacks something."""
    out = Path(arguments["out"])
    number = next(number for number in range(9) if _claim(out / f"worker_{number}"))
    if number == 1:
        while not list(out.glob("*.block")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return visit(arguments)


def _claim(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def smooth(arguments: dict[str, Any]) -> ProcessBlock:
    """Sum every voxel's 3³ neighbourhood: needs one voxel of context, zero outside the volume."""
    if "CATENA_TEST_STUBBORN" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, target = open_array(arguments["source"]), open_array(arguments["target"], mode="r+")

    def process(block: Block) -> None:
        values = source.read(block.read_roi, outside="zero").astype(np.uint32)
        for axis in range(3):
            values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
        fault_point("smooth.before_arrays")
        target.write(block.write_roi, values[block.core])
        fault_point("smooth.after_arrays")
        time.sleep(arguments.get("sleep_s", 0.0))

    return process


def count(arguments: dict[str, Any]) -> ProcessBlock:
    """Add 1 to every voxel of the block that the mask keeps."""
    target, mask = open_array(arguments["target"], mode="r+"), ArrayMask(open_array(arguments["mask"]), 1)

    def process(block: Block) -> None:
        kept = mask.voxels(block.read_roi, block.voxel_size)[block.core]
        target.write(block.write_roi, target.read(block.write_roi) + kept.astype(np.uint8))

    return process


class Closing:
    """A process that notes being opened and closed."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> Closing:
        (self.out / "opened").touch()
        return self

    def __exit__(self, *_: object) -> None:
        (self.out / "closed").touch()

    def __call__(self, block: Block) -> None:
        threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
        (self.out / f"{block.index}.threads").write_text(str(threads))


def closing(arguments: dict[str, Any]) -> ProcessBlock:
    """Return a process that is a context manager."""
    return Closing(Path(arguments["out"]))


def unable(arguments: dict[str, Any]) -> ProcessBlock:
    """Fail to set up."""
    raise RuntimeError("no such checkpoint: " + arguments["out"])
