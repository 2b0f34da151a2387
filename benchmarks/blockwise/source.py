"""The affinities that are segmented: predicted where a prediction is at hand, else made from what there is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catena.arrays import Array, open_array, reflect
from catena.errors import ConfigError
from catena.evaluation.baseline import AFFINITY_OFFSETS, pseudo_affinities
from catena.segmentation.boundary import short_range_channels
from catena.targets.affinities import affinities
from catena.targets.boundaries import erode_boundaries
from data_prep.synthetic import synthesise

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/local_shape_descriptors/fib25.yaml"
TRAINED = ROOT / "runs/fib25"
PREDICTED = "volumes/medulla/volume.zarr/volumes/pred_affs"

ISOTROPIC, ANISOTROPIC = Coordinate(8, 8, 8), Coordinate(40, 8, 8)
FULL_EDGE, SMOKE_EDGE = 250, 96
FULL_SECTIONS, SMOKE_SECTIONS = 48, 24
BOUNDARY_SHARE, NOISE = 0.7, 0.5
SEED = 0


@dataclass(frozen=True)
class Source:
    """A volume to segment.

    Attributes
    ----------
    name
        Where the affinities come from, for tables.
    affinities
        (3, z, y, x) uint8 for the offsets -1 along z, y, x.
    labels
        (z, y, x) uint64 ground truth.
    voxel_size
        nm.
    """

    name: str
    affinities: NDArray[np.uint8]
    labels: NDArray[np.uint64]
    voxel_size: Coordinate

    @property
    def mvox(self) -> float:
        """Millions of voxels."""
        return self.labels.size / 1e6


@cache
def isotropic(smoke: bool) -> Source:
    """Return FIB-25 (or synthetic EM, if `CATENA_DATA` is unset), a corner of it for a smoke run."""
    edge = SMOKE_EDGE if smoke else FULL_EDGE
    if "CATENA_DATA" not in os.environ:
        if "CATENA_BENCH_AFFINITIES" in os.environ:
            raise ConfigError("CATENA_BENCH_AFFINITIES is scored with FIB-25's labels: set CATENA_DATA too")
        return synthetic(Coordinate(edge, edge, edge), ISOTROPIC)
    container = Path(os.environ["CATENA_DATA"]) / "fib25/labelled.zarr/volumes"
    labels = open_array(container / "labels/neuron_ids")
    prediction = _prediction()
    if prediction is not None:
        name, array = prediction
        short = list(short_range_channels(array.affinity_offsets, len(array.affinity_offsets)).all)
        return _corner(Source(name, array.read()[short], labels.read(array.roi), array.voxel_size), edge)
    part = (slice(0, edge),) * 3
    raw = open_array(container / "raw")
    truth = labels.data[part].astype(np.uint64)
    values = derived(raw.data[part], truth, raw.voxel_size)
    return Source("FIB-25 ground truth and raw, blurred, with noise", values, truth, raw.voxel_size)


@cache
def anisotropic(smoke: bool) -> Source:
    """Return synthetic sections."""
    sections, edge = (SMOKE_SECTIONS, SMOKE_EDGE) if smoke else (FULL_SECTIONS, FULL_EDGE)
    return synthetic(Coordinate(sections, edge, edge), ANISOTROPIC)


def synthetic(shape: Coordinate, voxel_size: Coordinate) -> Source:
    """Return affinities made from synthetic EM and its ground truth."""
    volume = synthesise(shape, voxel_size, seed=1)
    values = derived(volume.raw, volume.labels, voxel_size)
    return Source("synthetic EM: ground truth and raw, blurred, with noise", values, volume.labels, voxel_size)


def _corner(source: Source, edge: int) -> Source:
    part = (slice(0, edge),) * 3
    values = np.ascontiguousarray(source.affinities[(slice(None), *part)])
    return Source(source.name, values, source.labels[part].astype(np.uint64), source.voxel_size)


def _prediction() -> tuple[str, Array] | None:
    """Return a prediction of FIB-25 and its name: the one asked for, a run's, or one made with a run's checkpoint."""
    given = os.environ.get("CATENA_BENCH_AFFINITIES")
    if given is not None:
        return f"predicted: {Path(given).name} given by CATENA_BENCH_AFFINITIES", open_array(given)
    if (TRAINED / PREDICTED).is_dir():
        return "predicted for FIB-25 by fib25.yaml", open_array(TRAINED / PREDICTED)
    checkpoint = TRAINED / "checkpoints/best.pt"
    return ("predicted for FIB-25 by fib25.yaml", _predict(checkpoint)) if checkpoint.is_file() else None


def _predict(checkpoint: Path) -> Array:
    """Predict FIB-25 with a trained network; the result stays until the machine forgets its temporary files."""
    output = Path(tempfile.gettempdir()) / "catena_benchmark"
    settings = [f"inputs.checkpoint={checkpoint}", f"output={output}", "experiment=predicted"]
    command = [sys.executable, "-m", "catena", "run", str(CONFIG), "--to", "predict", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_array(output / "predicted" / PREDICTED)


def derived(raw: NDArray[np.uint8], labels: NDArray[np.uint64], voxel_size: Coordinate) -> NDArray[np.uint8]:
    """Return affinities that look predicted: the true ones, blurred, mixed with brightness and with smooth noise.

    Parameters
    ----------
    raw, labels
        (z, y, x).
    voxel_size
        nm.
    """
    blur = [float(min(voxel_size) / each) for each in voxel_size]
    thick = max(voxel_size) >= 2 * min(voxel_size)
    true, _ = affinities(erode_boundaries(labels, only_xy=thick), AFFINITY_OFFSETS)
    bright = pseudo_affinities(raw, voxel_size).astype(np.float32) / 255
    random = np.random.default_rng(SEED)
    mixed = np.empty(true.shape, np.float32)
    for channel in range(3):
        noise = gaussian_filter(random.standard_normal(raw.shape, np.float32), [2 * each for each in blur])
        boundary = gaussian_filter(true[channel].astype(np.float32), blur)
        mixed[channel] = BOUNDARY_SHARE * boundary + (1 - BOUNDARY_SHARE) * bright[channel] + NOISE * noise
    return np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)


def mirror_tiled(
    values: NDArray[np.uint8], shape: Coordinate, sections: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Return affinities continued by mirroring about their border voxels, as often as needed: there is no seam.

    Where a direction is reversed, an affinity (which joins a voxel with its lower neighbour) moves by one voxel.

    Parameters
    ----------
    values
        (3, z, y, x) for the offsets -1 along z, y, x.
    shape
        What to cover, voxels.
    sections
        Half-open range of sections to return; default all.
    """
    first, last = sections or (0, int(shape[0]))
    ranges = [np.arange(first, last), np.arange(shape[1]), np.arange(shape[2])]
    sizes = values.shape[1:]
    own = [reflect(each, size) for each, size in zip(ranges, sizes, strict=True)]
    # at the volume's own face there is no lower neighbour, and the value stays as it is
    lower = [reflect(np.maximum(each - 1, 0), size) for each, size in zip(ranges, sizes, strict=True)]
    joined = [np.maximum(here, below) for here, below in zip(own, lower, strict=True)]
    tiled = np.empty((3, *(each.size for each in ranges)), values.dtype)
    for channel in range(3):
        part = values[channel]
        for axis in range(3):
            part = np.take(part, joined[axis] if axis == channel else own[axis], axis=axis)
        tiled[channel] = part
    return tiled
