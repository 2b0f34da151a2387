"""What working in blocks costs: the stages against their bare kernels on the whole volume, one process per core."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate

from benchmarks.blockwise.bare_kernels import KERNELS, run_bare
from benchmarks.blockwise.experiment import WORKERS, segment_blockwise, write_affinities
from benchmarks.blockwise.source import isotropic, mirror_tiled
from benchmarks.blockwise.timing import step
from benchmarks.result import Figure, show

FULL = Coordinate(512, 512, 512), Coordinate(128, 128, 128)
SMOKE = Coordinate(96, 96, 96), Coordinate(48, 48, 48)


def measure(smoke: bool) -> dict[str, Figure]:
    """Return wall time in blocks over that of the published kernels, and of those of our default method."""
    source = isotropic(smoke)
    shape, block = SMOKE if smoke else FULL
    mvox = float(np.prod(shape)) / 1e6
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with step("affinities written"):
            path = write_affinities(folder / "all.zarr", source.affinities, source.voxel_size, shape, block // 2)
            halves = _write_halves(folder, source.affinities, shape)
        with step("in blocks"):
            ran = segment_blockwise(folder, "blocks", path, block)
        bare = {}
        for name in KERNELS:
            with step(f"bare kernels, {name}"):
                bare[name] = run_bare(name, halves)
    show(
        f"{mvox:.0f} Mvoxel, blocks of {tuple(block)}, {WORKERS} workers, {source.name}",
        ("what", "seconds", "Mvoxel/s"),
        [
            ("in blocks, start-up included", ran.seconds, mvox / ran.seconds),
            *((f"  {stage}", seconds, mvox / seconds) for stage, seconds in ran.stages.items()),
            *(row for name, each in bare.items() for row in each.rows(f"bare kernels, {name}", mvox)),
        ],
    )
    return {
        "overhead_vs_kernels": Figure(ran.seconds / bare["published"].seconds, "times", "lower"),
        "overhead_vs_own_kernels": Figure(ran.seconds / bare["default"].seconds, "times", "lower"),
        "blockwise_mvox_per_s": Figure(mvox / ran.seconds, "Mvoxel/s", "higher"),
    }


def _write_halves(folder: Path, values: np.ndarray, shape: Coordinate) -> list[Path]:
    """Write one array per process: the volume, cut along z."""
    bounds = np.linspace(0, int(shape[0]), WORKERS + 1).astype(int).tolist()
    paths = [folder / f"part_{k}.npy" for k in range(WORKERS)]
    for path, first, last in zip(paths, bounds, bounds[1:], strict=False):
        np.save(path, mirror_tiled(values, shape, (first, last)))
    return paths
