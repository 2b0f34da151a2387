"""Whether the block layout shows in the result, and what that independence costs in accuracy."""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from benchmarks.blockwise.accuracy import best_of, difference
from benchmarks.blockwise.experiment import Finished, segment_blockwise, write_affinities
from benchmarks.blockwise.source import Source, anisotropic, isotropic
from benchmarks.blockwise.timing import step
from benchmarks.result import Figure, show
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import AgglomerateConfig, FragmentsConfig, Segmentation, segment

LAYOUTS = (Coordinate(84, 42, 21), Coordinate(42, 21, 84), Coordinate(21, 84, 42))
"""Any two differ by a factor of two or four along every axis; 216 blocks each in 250 voxels cubed."""

SECTION_LAYOUTS = (Coordinate(16, 32, 64), Coordinate(8, 64, 128), Coordinate(4, 128, 32))
BLOCKS_SCOPE_LAYOUTS = (Coordinate(84, 84, 84), Coordinate(42, 84, 42), Coordinate(84, 42, 84))
"""For waterz in blocks no edge is shorter than nearly twice its context of 24 voxels."""

SMOKE_LAYOUTS, SMOKE_SECTION_LAYOUTS = (Coordinate(32, 16, 32),), ()
PUBLISHED_BLOCK, SMOKE_PUBLISHED_BLOCK = Coordinate(84, 84, 84), Coordinate(48, 48, 48)
VALIDATION = (150, 190)
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
BLOCKS = {"scope": "blocks"}


def measure(smoke: bool) -> dict[str, Figure]:
    """Return the largest difference between layouts, for the default and for waterz in blocks, and the accuracies."""
    largest = compare_layouts(isotropic(smoke), SMOKE_LAYOUTS if smoke else LAYOUTS)
    sections = SMOKE_SECTION_LAYOUTS if smoke else SECTION_LAYOUTS
    if sections:
        largest = max(largest, compare_layouts(anisotropic(smoke), sections))
    block = SMOKE_PUBLISHED_BLOCK if smoke else PUBLISHED_BLOCK
    scope = compare_blocks_scope(isotropic(smoke), (block,) if smoke else BLOCKS_SCOPE_LAYOUTS)
    grown = FragmentsConfig().grow
    accuracy = compare_with_published(isotropic(smoke), block, (grown,) if smoke else (0, grown))
    return {
        "layout_voi_max": Figure(largest, "bit", "lower"),
        "layout_voi_blocks_scope": Figure(scope, "bit", "lower"),
        "accuracy_difference_seeded": Figure(accuracy, "bit", "lower"),
    }


def compare_layouts(source: Source, layouts: tuple[Coordinate, ...]) -> float:
    """Return the largest VOI between any two of: the segmentation in each layout, and that of the whole volume.

    All of these thresholds count: the one that is best in the whole volume, and :data:`THRESHOLDS`.
    """
    with step("whole volume in memory"):
        whole = segment(source.affinities, AFFINITY_OFFSETS, source.voxel_size)
    best = best_of(whole, source.labels).at
    thresholds = sorted({*THRESHOLDS, best})
    results: dict[str, dict[float, NDArray[np.uint64]]] = {"whole volume": _at(whole, thresholds)}
    with tempfile.TemporaryDirectory() as temporary:
        for layout in layouts:
            name, ran = _run(Path(temporary), source, layout)
            results[name] = _at(ran, thresholds)
    found = {
        (a, b): [difference(results[a][each], results[b][each]) for each in thresholds]
        for a, b in combinations(results, 2)
    }
    columns = ("a", "b", *(f"{each:g}{' (best)' if each == best else ''}" for each in thresholds))
    show(
        f"VOI between layouts at each threshold, bits; {source.name}",
        columns,
        [(*pair, *values) for pair, values in found.items()],
    )
    return max(value for values in found.values() for value in values)


def compare_blocks_scope(source: Source, layouts: tuple[Coordinate, ...]) -> float:
    """Return the largest VOI between waterz in blocks and waterz on the whole volume.

    The threshold is the one that is best for the whole volume in the validation region (all sections, if there are
    not so many).
    """
    merge = AgglomerateConfig(scope="blocks")
    with step("waterz on the whole volume"):
        whole = segment(source.affinities, AFFINITY_OFFSETS, source.voxel_size, agglomerate=merge)
    labels = source.labels.copy()
    if labels.shape[0] >= VALIDATION[1]:
        labels[: VALIDATION[0]], labels[VALIDATION[1] :] = 0, 0
    threshold = best_of(whole, labels).at
    expected = whole.at(threshold)
    found = {"whole volume": (0.0, best_of(whole, source.labels).voi)}
    with tempfile.TemporaryDirectory() as temporary:
        for layout in layouts:
            name, ran = _run(Path(temporary), source, layout, agglomerate=BLOCKS)
            found[name] = difference(ran.segmentation(threshold), expected), best_of(ran, source.labels).voi
    show(
        f"waterz in blocks against the whole volume, threshold {threshold:g}; {source.name}",
        ("blocks", "VOI to the whole volume", "best VOI to the truth"),
        [(name, *values) for name, values in found.items()],
    )
    return max(apart for apart, _ in found.values())


def compare_with_published(source: Source, block: Coordinate, grows: tuple[int, ...]) -> float:
    """Return the best VOI of the default minus that of the published way: seeded fragments and waterz, in blocks.

    The published way is tried with each growth into the boundary (0 as published), and the best of them counts.
    The default's is that of the whole volume, which is that of every layout.
    """
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for grow in grows:
            seeded = {"method": "seeded", "grow": grow}
            _, ran = _run(Path(temporary), source, block, fragments=seeded, agglomerate=BLOCKS)
            name = f"published: seeded, waterz in blocks, {'grown' if grow else 'boundary 0'}"
            found[name] = best_of(ran, source.labels)
    whole = segment(source.affinities, AFFINITY_OFFSETS, source.voxel_size)
    found["default: basins, whole graph"] = best_of(whole, source.labels)
    show(
        f"accuracy in blocks of {tuple(block)}; {source.name}",
        ("what", "VOI", "split", "merge", "threshold"),
        [(name, best.voi, best.split, best.merge, best.at) for name, best in found.items()],
    )
    *published, default_best = found.values()
    return default_best.voi - min(each.voi for each in published)


def _run(folder: Path, source: Source, layout: Coordinate, **settings: Any) -> tuple[str, Finished]:
    name = "x".join(str(int(each)) for each in layout)
    with step(f"blocks of {name} {settings or ''}"):
        experiment = f"{name}_{len(list(folder.glob('*.yaml')))}"
        path, shape = folder / f"{name}.zarr", Coordinate(source.labels.shape)
        if not path.exists():
            write_affinities(path, source.affinities, source.voxel_size, shape, Coordinate(64, 64, 64))
        return f"{name}", segment_blockwise(folder, experiment, path / "volumes/pred_affs", layout, **settings)


def _at(result: Finished | Segmentation, thresholds: list[float]) -> dict[float, NDArray[np.uint64]]:
    if isinstance(result, Finished):
        return {each: result.segmentation(each) for each in thresholds}
    return {each: result.at(each) for each in thresholds}
