"""Draw how far the block layout shows in fragments and segmentations: ``python docs/_figures/layouts.py``.

A phantom, affinities as a fair network would predict them, and the stages themselves, run with three block shapes.
Writes ``docs/images/layouts_fragments.png`` and ``docs/images/layouts_segmentation.png``.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catena.arrays import create_array, open_array
from catena.evaluation import Contingency, variation_of_information
from catena.plan import Selection
from catena.run import run
from catena.segmentation import relabel
from catena.targets import affinities, erode_boundaries
from catena.viewing.colours import label_colours
from data_prep.synthetic import synthesise
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.lookup_tables import LookupTables, tables_path
from local_shape_descriptors.task import TASK

IMAGES = Path(__file__).parents[1] / "images"
SHAPE, VOXEL_SIZE = Coordinate(96, 192, 192), Coordinate(8, 8, 8)
OFFSETS = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
LAYOUTS = (SHAPE, Coordinate(48, 64, 64), Coordinate(24, 96, 32))
METHODS = {
    "basins, whole graph (default)": ("basins", "graph"),
    "basins, waterz in blocks": ("basins", "blocks"),
    "seeded, waterz in blocks (published)": ("seeded", "blocks"),
}
SECTION = 50
DIFFERENT = np.array([255, 0, 0], np.uint8)


@dataclass(frozen=True)
class Segmented:
    """What one run made of the phantom; pieces of fragments that block faces cut are joined where that is known."""

    fragments: NDArray[np.uint64]
    segmentation: NDArray[np.uint64]
    threshold: float


def main() -> None:
    """Run every method in every layout and draw the section in the middle."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        volumes = phantom(folder)
        results = {name: segment_in_layouts(folder, volumes, *method) for name, method in METHODS.items()}
    fragments = {METHODS[name][0]: [each.fragments for each in results[name]] for name in list(METHODS)[::2]}
    draw(fragments, IMAGES / "layouts_fragments.png")
    draw(
        {name: [each.segmentation for each in ran] for name, ran in results.items()},
        IMAGES / "layouts_segmentation.png",
    )


def phantom(folder: Path) -> dict[str, Any]:
    """Write raw, labels and noisy, blurred affinities; return the volume's section of a configuration."""
    volume = synthesise(SHAPE, VOXEL_SIZE, seed=3)
    true, _ = affinities(erode_boundaries(volume.labels, 1), OFFSETS)
    noise = np.random.default_rng(0).standard_normal(true.shape).astype(np.float32)
    blurred = np.stack([gaussian_filter(each, 1.2) for each in true.astype(np.float32) + 1.2 * noise])
    predicted = np.rint(np.clip(blurred, 0, 1) * 255).astype(np.uint8)
    return {
        "raw": write(folder / "em.zarr/raw", volume.raw),
        "labels": write(folder / "em.zarr/labels", volume.labels),
        "inputs": {"affinities": write(folder / "em.zarr/affinities", predicted)},
        "regions": {"validation": {"z": [0, SHAPE[0]]}},
    }


def write(path: Path, values: NDArray[Any]) -> str:
    """Write an array with the geometry of the phantom."""
    channels = {"channels": 3, "attributes": {"offsets": [list(each) for each in OFFSETS]}} if values.ndim == 4 else {}
    roi = Roi((0, 0, 0), SHAPE * VOXEL_SIZE)
    chunks = Coordinate(48, 48, 48)
    array = create_array(path, roi=roi, voxel_size=VOXEL_SIZE, dtype=values.dtype, chunk_shape_vox=chunks, **channels)
    array.write(roi, values)
    return array.path


def segment_in_layouts(folder: Path, volume: dict[str, Any], method: str, scope: str) -> list[Segmented]:
    """Segment the phantom in every layout, at the threshold that is best for the first, the whole volume."""
    results: list[Segmented] = []
    for layout in LAYOUTS:
        values: dict[str, Any] = {
            "task": "local_shape_descriptors",
            "experiment": f"{method}_{scope}_{'x'.join(str(each) for each in layout)}",
            "output": str(folder / "runs"),
            "volumes": {"phantom": volume},
            "fragments": {"method": method, "block_shape_vox": list(layout)},
            "agglomerate": {"scope": scope},
        }
        if results:
            values["segmentation"] = {"threshold": results[0].threshold}
        config = LocalShapeDescriptorsConfig.parse(values)
        run(TASK, config, Selection(last="segmentation"))
        made = config.volume_folder("phantom")
        fragments, segmentation = (
            open_array(made / "volume.zarr/volumes" / name).read() for name in ("fragments", "segmentation")
        )
        tables = LookupTables.load(tables_path(config, made / "luts"))
        threshold = results[0].threshold if results else json.loads((made / "threshold.json").read_text())["threshold"]
        # below 0 there is no score: the table joins nothing but pieces
        results.append(Segmented(relabel(fragments, tables.ids, tables.at(0.0)), segmentation, threshold))
    return results


def draw(rows: dict[str, list[NDArray[np.uint64]]], path: Path) -> None:
    """Draw a row per method and a column per layout; what another layout makes differently is red."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), len(LAYOUTS), figsize=(9, 3.3 * len(rows)), squeeze=False)
    for line, (name, volumes) in zip(axes, rows.items(), strict=True):
        whole = volumes[0]
        for axis, layout, labels in zip(line, LAYOUTS, volumes, strict=True):
            voi = variation_of_information(Contingency.of(labels + np.uint64(1), whole + np.uint64(1))).sum
            colours = label_colours(named_as(labels, whole)[SECTION])
            colours[differing(labels, whole)[SECTION]] = DIFFERENT
            axis.imshow(colours, interpolation="nearest")
            title = "whole volume" if layout == SHAPE else f"blocks {'×'.join(str(n) for n in layout)}: VOI {voi:.3f}"
            axis.set_title(title, fontsize=9)
            axis.set_xticks([]), axis.set_yticks([])
        line[0].set_ylabel(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(path)


def named_as(labels: NDArray[np.uint64], reference: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return labels named by what they mostly overlap in the reference: the same bodies get the same colour."""
    ids, partners = best_partners(labels, reference)
    return partners[np.searchsorted(ids, labels)]


def differing(labels: NDArray[np.uint64], reference: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return the voxels that lie in a label and a reference label of which one is not the other's best partner."""
    return (named_as(labels, reference) != reference) | (named_as(reference, labels) != labels)


def best_partners(
    labels: NDArray[np.uint64], reference: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return every label, ascending, and the reference label it shares most voxels with."""
    one = np.uint64(1)  # what is 0 in the truth is not counted
    found, partners, counts = Contingency.of(labels + one, reference + one).pairs()
    order = np.lexsort((-counts, found))
    ids, first = np.unique(found[order], return_index=True)
    return ids - one, partners[order][first] - one


if __name__ == "__main__":
    main()
