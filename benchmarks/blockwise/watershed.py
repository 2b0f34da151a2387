"""Kernels of one core: seeded watershed against scikit-image's, the local rule, relabelling."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from benchmarks.blockwise.source import Source, isotropic
from benchmarks.blockwise.timing import shortest, step
from benchmarks.result import Figure, show
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import Fragments, FragmentsConfig, extract_fragments, relabel, segment
from catena.segmentation.boundary import foreground
from catena.segmentation.distance import squared_distance
from catena.segmentation.seeds import maxima
from catena.segmentation.watershed import LEVELS_PER_EDGE, flood

EDGES = (1, 1, 1)


def measure(smoke: bool) -> dict[str, Figure]:
    """Return speeds in Mvoxel/s of one core; all voxels of the array count, boundary included."""
    source = isotropic(smoke)
    rates: dict[str, float] = {}
    config = FragmentsConfig()
    window = (config.seed_window,) * 3
    inside = foreground(source.affinities, (0, 1, 2), config.threshold)
    with step("distance and seeds"):
        seconds, squared = shortest(lambda: squared_distance(inside, EDGES))
        rates["distance transform (edt)"] = source.mvox / seconds
        seconds, seeds = shortest(lambda: maxima(squared, window))
        rates["seeds"] = source.mvox / seconds
    heights = np.rint(np.sqrt(squared) * LEVELS_PER_EDGE).astype(np.int32)
    with step("level queues"):
        seconds, flooded = shortest(lambda: flood(heights, seeds))
        ours = source.mvox / seconds
    with step("skimage.segmentation.watershed"):
        seconds, reference = shortest(lambda: watershed(-heights, seeds, mask=inside.astype(bool)))
        theirs = source.mvox / seconds
    rates |= {"watershed, level queues": ours, "watershed, scikit-image": theirs}
    with step("local rule, relabelling"):
        for name, rule in {"published, boundary stays 0": FragmentsConfig(grow=0), "default": config}.items():
            seconds, _ = shortest(partial(basins, source, rule))
            rates[f"basins, {name}"] = source.mvox / seconds
        made = segment(source.affinities, AFFINITY_OFFSETS, source.voxel_size, thresholds=[0.5])
        seconds, _ = shortest(lambda: relabel(made.fragments.labels, made.fragments.ids, made.tables[0]))
        rates["relabel"] = source.mvox / seconds
    same = agreement(flooded, reference, inside)
    show(f"one core, {source.mvox:.1f} Mvoxel, {source.name}", ("kernel", "Mvoxel/s"), list(rates.items()))
    print(f"the two watersheds give {same:.4%} of the voxels inside to the same seed; the others are ties")
    return {
        "watershed_speedup_vs_skimage": Figure(ours / theirs, "times", "higher"),
        "watershed_mvox_per_s": Figure(ours, "Mvoxel/s", "higher"),
        "watershed_agreement": Figure(same, "of voxels", "higher"),
        "basins_mvox_per_s": Figure(rates["basins, published, boundary stays 0"], "Mvoxel/s", "higher"),
        "basins_grown_mvox_per_s": Figure(rates["basins, default"], "Mvoxel/s", "higher"),
        "relabel_mvox_per_s": Figure(rates["relabel"], "Mvoxel/s", "higher"),
    }


def basins(source: Source, rule: FragmentsConfig) -> Fragments:
    """Return fragments of the whole volume."""
    return extract_fragments(source.affinities, AFFINITY_OFFSETS, rule, voxel_size=source.voxel_size)


def agreement(a: NDArray[np.uint32], b: NDArray[np.integer], inside: NDArray[np.uint8]) -> float:
    """Return the share of the voxels inside that two labellings from the same seeds agree on."""
    return float(np.count_nonzero((a == b) & (inside > 0)) / np.count_nonzero(inside))
