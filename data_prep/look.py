"""How each neurite of a scene looks under the microscope: grey level, grain, frames that filaments follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.organelles import Mitochondria
from data_prep.scene import MARGIN_NM, NeuriteKind, Scene
from data_prep.texture import TILE, noise_tile
from data_prep.tubes import EXTRAS, Tubes, index_tubes

REACH_NM = 240.0
"""Tubes further than this from a place (surface to place) cannot show there."""

# Columns of `Look.cells`; the shift takes three.
LEVEL, GRANULES, FILAMENTS, RETICULUM, SHIFT = 0, 1, 2, 3, 4
# Columns of a neurite tube's row; the frame takes three, the vesicle density one for either end.
FRAME, ALONG, VESICLES = EXTRAS, EXTRAS + 3, EXTRAS + 4
# Columns of a mitochondrion tube's row.
CRISTAE, INSTANCE = EXTRAS, EXTRAS + 1

_VISIBLE = 0.6  # share of a section, from its surface down, that makes the image
_DARK = 0.25  # share of neurites with dark cytoplasm


class Look(NamedTuple):
    """All that the renderer reads; a named tuple because compiled kernels take it as it is.

    Attributes
    ----------
    neurites
        Tubes with a unit vector across each (transported along the neurite; filaments run in this frame), the
        arc length before it, and the vesicle density at both ends.
    mitochondria
        Tubes with the arc length before each, and the mitochondrion it is part of; the owner is the neurite.
    cells
        ``(neurites + 1, 7)``, entry 0 for extracellular space: grey level of the cytoplasm, contrast of its ribosomes,
        of its microtubule-like streaks and of membranes inside it, and a place in the noise tile.
    tile
        Noise tile.
    blur_nm
        Standard deviation of the image of a thin membrane.
    thickness_nm
        Height of what one section shows, over which slanted membranes smear.
    """

    neurites: Tubes
    mitochondria: Tubes
    cells: NDArray[np.float64]
    tile: NDArray[np.float32]
    blur_nm: float
    thickness_nm: float


def draw_look(scene: Scene, organelles: Mitochondria, voxel_nm: NDArray[np.float64], seed: int) -> Look:
    """Draw the look of everything in a scene, imaged with voxels of `voxel_nm` (z, y, x)."""
    return Look(
        neurites=_neurite_tubes(scene),
        mitochondria=_mitochondrion_tubes(scene, organelles),
        cells=_draw_cells(scene, seed),
        tile=noise_tile(seed),
        blur_nm=float(np.hypot(5.0, 0.5 * voxel_nm[1:].mean())),
        thickness_nm=_VISIBLE * float(voxel_nm[0]),
    )


def _draw_cells(scene: Scene, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, 5])
    size = scene.neurites + 1
    dark = rng.random(size) < _DARK
    level = np.where(dark, rng.normal(126.0, 7.0, size), rng.normal(168.0, 11.0, size))
    level[0] = 150.0
    granules = rng.uniform(6.0, 26.0, size) * np.where(scene.kind == NeuriteKind.AXON, 0.7, 1.0)
    filaments, reticulum = rng.uniform(3.0, 9.0, size), rng.uniform(20.0, 60.0, size)
    return np.column_stack([level, granules, filaments, reticulum, rng.uniform(0, TILE, (size, 3))])


def _neurite_tubes(scene: Scene) -> Tubes:
    parent, child = scene.segments()
    along = _arc_length(scene)[parent]
    vesicles = np.stack([scene.vesicles[parent], scene.vesicles[child]], axis=1)
    return index_tubes(
        scene.nodes_nm[parent],
        scene.nodes_nm[child],
        np.stack([scene.radius_nm[parent], scene.radius_nm[child]], axis=1),
        scene.neurite[child],
        np.column_stack([_frames(scene)[child], along, vesicles]),
        np.full(3, -MARGIN_NM),
        scene.extent_nm + MARGIN_NM,
        REACH_NM,
    )


def _mitochondrion_tubes(scene: Scene, organelles: Mitochondria) -> Tubes:
    return index_tubes(
        organelles.start_nm,
        organelles.end_nm,
        organelles.radius_nm,
        organelles.owner,
        np.column_stack([organelles.along_nm, organelles.instance]),
        np.full(3, -MARGIN_NM),
        scene.extent_nm + MARGIN_NM,
        REACH_NM,
    )


def _arc_length(scene: Scene) -> NDArray[np.float64]:
    """Return the distance from the root to each node along the tree, nm."""
    along = np.zeros(len(scene.parent))
    links = np.linalg.norm(scene.nodes_nm - scene.nodes_nm[scene.parent], axis=1)
    for node, parent in enumerate(scene.parent):
        if parent >= 0:
            along[node] = along[parent] + links[node]
    return along


def _frames(scene: Scene) -> NDArray[np.float64]:
    """Return for each node a unit vector across the tube that ends there, turning as little as possible."""
    frames = np.tile(np.array([0.0, 0.6, 0.8]), (len(scene.parent), 1))
    axes = scene.nodes_nm - scene.nodes_nm[scene.parent]
    for node, parent in enumerate(scene.parent):
        if parent < 0:
            continue
        axis = axes[node] / max(float(np.linalg.norm(axes[node])), 1e-9)
        across = frames[parent] - (frames[parent] @ axis) * axis
        length = float(np.linalg.norm(across))
        frames[node] = across / length if length > 1e-3 else frames[parent]
    return frames
