"""Fragments to segmentation against volara 1.0.2: the same affinities and blocks, two workers, start-up included."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from benchmarks.blockwise.accuracy import Best, best_of
from benchmarks.blockwise.experiment import segment_blockwise, write_affinities
from benchmarks.blockwise.source import Source, isotropic
from benchmarks.blockwise.timing import step
from benchmarks.blockwise.volara_reference import BLOCK, CONTEXT, VARIANTS, run_volara
from benchmarks.result import Figure, show
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import AgglomerateConfig, FragmentsConfig, segment

FULL_SHAPE, SMOKE_SHAPE = Coordinate(256, 256, 256), Coordinate(60, 60, 60)
CHOICE_SHAPE = Coordinate(120, 120, 120)
Row = tuple[str | float, ...]
_CORNER = {axis: [0, 30] for axis in "zyx"}
SEEDED = {"method": "seeded", "seeded_context": CONTEXT[0]}


def measure(smoke: bool) -> dict[str, Figure]:
    """Return how many times as fast as volara we are, and how the accuracies differ."""
    source, shape = isotropic(smoke), SMOKE_SHAPE if smoke else FULL_SHAPE
    labels = source.labels[tuple(slice(0, n) for n in shape)]
    mvox = float(np.prod(shape)) / 1e6
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        affinities = write_affinities(folder / "all.zarr", source.affinities, source.voxel_size, shape, BLOCK)
        variant = next(iter(VARIANTS)) if smoke else choose_variant(folder, source)
        if not smoke:  # kernels are compiled once per installation
            segment_blockwise(folder, "warm_up", affinities, BLOCK, volume={"roi": _CORNER})
        with step("ours, default"):
            default = segment_blockwise(folder, "default", affinities, BLOCK)
        with step("ours, seeded"):
            seeded = segment_blockwise(folder, "seeded", affinities, BLOCK, fragments=SEEDED)
        with step(f"volara, {variant}"):
            volara = run_volara(folder / "volara", affinities, VARIANTS[variant])
        with step("scores"):
            ours = {run: best_of(run, labels) for run in (default, seeded)}
            references = {f"volara, {variant}": volara.best(labels), **whole_volume_waterz(source, labels)}
    rows: list[Row] = [
        _row("ours: basins, whole graph", ours[default], mvox, default.seconds),
        _row("ours: seeded, whole graph", ours[seeded], mvox, seeded.seconds),
        *(
            _row(name, best, mvox, volara.seconds if name.startswith("volara") else None)
            for name, best in references.items()
        ),
    ]
    title = f"{mvox:.1f} Mvoxel in blocks of {tuple(BLOCK)}, 2 workers, {source.name}"
    show(title, ("what", "seconds", "Mvoxel/s", "VOI", "split", "merge", "threshold or bias"), rows)
    stages: list[Row] = [(name, *run.stages.values()) for name, run in (("basins", default), ("seeded", seeded))]
    show("seconds of our stages", ("fragments", *default.stages), stages)
    return {
        "speedup_vs_volara": Figure(volara.seconds / default.seconds, "times", "higher"),
        "speedup_vs_volara_seeded": Figure(volara.seconds / seeded.seconds, "times", "higher"),
        "voi_minus_best_reference": Figure(
            ours[default].voi - min(each.voi for each in references.values()), "bit", "lower"
        ),
    }


def choose_variant(folder: Path, source: Source) -> str:
    """Return the settings with which volara is best on a part of the volume."""
    path = write_affinities(folder / "part.zarr", source.affinities, source.voxel_size, CHOICE_SHAPE, BLOCK)
    labels = source.labels[tuple(slice(0, n) for n in CHOICE_SHAPE)]
    found = {}
    for k, (name, settings) in enumerate(VARIANTS.items()):
        with step(f"volara, {name}, on {tuple(CHOICE_SHAPE)} voxels"):
            found[name] = run_volara(folder / f"variant_{k}", path, settings).best(labels)
    rows = [(name, best.voi, best.at) for name, best in found.items()]
    show("volara's settings, on a part", ("fragments", "VOI", "bias of the graph"), rows)
    return min(found, key=lambda name: found[name].voi)


def whole_volume_waterz(source: Source, labels: NDArray[np.uint64]) -> dict[str, Best]:
    """Return the scores of the published way on the whole volume at once: seeded watershed, then waterz."""
    scores = {}
    affinities = source.affinities[(slice(None), *(slice(0, n) for n in labels.shape))]
    for grow in (0, FragmentsConfig().grow):
        seeded, waterz = FragmentsConfig(method="seeded", grow=grow), AgglomerateConfig(scope="blocks")
        made = segment(affinities, AFFINITY_OFFSETS, source.voxel_size, seeded, waterz)
        scores[f"in memory: seeded, waterz, {'grown' if grow else 'boundary 0'}"] = best_of(made, labels)
    return scores


def _row(name: str, best: Best, mvox: float, seconds: float | None) -> Row:
    speed = ("–", "–") if seconds is None else (seconds, mvox / seconds)
    return name, *speed, best.voi, best.split, best.merge, best.at
