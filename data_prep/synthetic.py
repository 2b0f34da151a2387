"""Synthetic electron microscopy: neuropil with exact ground truth, from nothing but a shape, a voxel size and a seed.

>>> from funlib.geometry import Coordinate
>>> volume = synthesise(Coordinate(16, 32, 32), Coordinate(8, 8, 8), seed=1)
>>> volume.raw.shape, str(volume.raw.dtype), str(volume.labels.dtype)
((16, 32, 32), 'uint8', 'uint64')
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.errors import GeometryError
from data_prep.defects import Sections, is_anisotropic, plan_sections
from data_prep.imaging import expose
from data_prep.look import Look, draw_look
from data_prep.organelles import Mitochondria, place_mitochondria
from data_prep.rendering import render
from data_prep.scene import Scene, grow_scene

GENERATOR_VERSION = 1
"""Changes whenever the same arguments give another volume."""

_SLAB_NM = 64.0
_TRACEABLE_NM = 25.0  # thicker sections get coarser tissue, or its thinnest neurites could not be followed through them
_SMALLEST_VOX = 8
_COARSEST_NM = 20
_DUST_NM3 = 60 * 8.0**3  # smaller pieces of neurite are not annotated


@dataclass(frozen=True)
class SyntheticVolume:
    """A volume, its ground truth and the scene it was drawn from.

    Attributes
    ----------
    raw
        ``(z, y, x)`` uint8.
    labels
        ``(z, y, x)`` uint64, dense; 0 is extracellular space and dust. One id is one connected component (faces).
    mitochondria
        ``(z, y, x)`` uint64 instances, 0 elsewhere; each lies inside one neuron.
    voxel_size
        nm, z, y, x.
    seed
        What it was made from, with the shape and the voxel size.
    scene, organelles, sections
        Centre lines and calibres (nm), mitochondria, and what happened to each section.
    neurite_of_label
        ``(labels + 1,)`` int32: the neurite of the scene that a label is (a part of); entry 0 is 0.
    planned
        Whether `sections` are those that the seed gives.
    """

    raw: NDArray[np.uint8]
    labels: NDArray[np.uint64]
    mitochondria: NDArray[np.uint64]
    voxel_size: Coordinate
    seed: int
    scene: Scene
    organelles: Mitochondria
    sections: Sections
    neurite_of_label: NDArray[np.int32]
    planned: bool = True
    calibre: float = 1.0

    @property
    def roi(self) -> Roi:
        """The volume in world units (nm), from the origin."""
        return Roi(Coordinate(0, 0, 0), Coordinate(self.raw.shape) * self.voxel_size)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the volume was made from, as plain values."""
        recipe = synthetic_recipe(Coordinate(self.raw.shape), self.voxel_size, self.seed, self.calibre)
        return recipe if self.planned else {**recipe, "sections": "custom"}


def synthetic_recipe(shape_vox: Coordinate, voxel_size: Coordinate, seed: int, calibre: float = 1.0) -> dict[str, Any]:
    """Return what identifies a volume, as plain values: generator version, shape, voxel size, seed and calibre."""
    return {
        "generator_version": GENERATOR_VERSION,
        "shape_vox": [int(n) for n in shape_vox],
        "voxel_size": [int(n) for n in voxel_size],
        "seed": int(seed),
        "calibre": float(calibre),
    }


def synthesise(
    shape_vox: Coordinate,
    voxel_size: Coordinate,
    seed: int,
    *,
    calibre: float = 1.0,
    sections: Sections | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> SyntheticVolume:
    """Make a volume of synthetic neuropil.

    Parameters
    ----------
    shape_vox, voxel_size
        z, y, x; voxel size in nm. With z at least twice as large as y and x, sections are cut sections:
        some are missing (black), some displaced, and contrast jumps from one to the next.
    seed
        Not negative. The result depends on `shape_vox`, `voxel_size`, `seed`, `calibre` and `sections` only.
    calibre
        How many times as thick as in fly neuropil neurites are; thicker ones are easier to trace.
    sections
        What happens to each section instead of what :func:`data_prep.defects.plan_sections` draws.
    workers
        Threads.
    progress
        Called with the number of sections each time some are done.

    Raises
    ------
    GeometryError
        If shape, voxel size, seed, sections or workers cannot be used.
    """
    check(shape_vox, voxel_size, seed, workers)
    if not 0.5 <= calibre <= 4:
        raise GeometryError(f"calibre must lie between 0.5 and 4, found {calibre:g}")
    anisotropic = is_anisotropic(voxel_size)
    planned = sections is None
    if sections is None:
        sections = plan_sections(shape_vox[0], anisotropic, seed)
    if len(sections.missing) != shape_vox[0]:
        raise GeometryError(f"{len(sections.missing)} sections are described, but the volume has {shape_vox[0]}")
    voxel_nm = np.array(voxel_size, np.float64)
    scene = grow_scene(np.array(shape_vox) * voxel_nm, seed, scale=calibre * max(1.0, voxel_nm[0] / _TRACEABLE_NM))
    organelles = place_mitochondria(scene, seed)
    look = draw_look(scene, organelles, voxel_nm, seed)
    raw, owner, inside = _draw(look, sections, shape_vox, voxel_nm, seed, anisotropic, workers, progress)
    dust_vox = _DUST_NM3 / float(np.prod(voxel_nm))
    labels, neurite_of_label = _components(owner, dust_vox)
    instances = _instances(inside, labels, dust_vox)
    return SyntheticVolume(
        raw,
        labels,
        instances,
        Coordinate(voxel_size),
        seed,
        scene,
        organelles,
        sections,
        neurite_of_label,
        planned,
        calibre,
    )


def _draw(
    look: Look,
    sections: Sections,
    shape_vox: Coordinate,
    voxel_nm: NDArray[np.float64],
    seed: int,
    anisotropic: bool,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """Return image, neurite and mitochondrion of every voxel, drawn slab by slab."""
    shape = tuple(int(n) for n in shape_vox)
    raw, owner, inside = np.empty(shape, np.uint8), np.empty(shape, np.int32), np.empty(shape, np.int32)
    shift_nm = sections.shift_vox * voxel_nm[1:]
    step = max(1, round(_SLAB_NM / voxel_nm[0]))

    def draw(begin: int) -> int:
        slab = slice(begin, min(begin + step, shape[0]))
        grey = np.empty(raw[slab].shape, np.float32)
        render(look, voxel_nm, shift_nm, begin, grey, owner[slab], inside[slab])
        raw[slab] = expose(grey, begin, sections, anisotropic, seed)
        return len(grey)

    with ThreadPoolExecutor(workers) as pool:
        for done in pool.map(draw, range(0, shape[0], step)):
            if progress is not None:
                progress(done)
    return raw, owner, inside


def check(shape_vox: Coordinate, voxel_size: Coordinate, seed: int, workers: int = 1) -> None:
    """Raise :class:`GeometryError` if :func:`synthesise` could not use these arguments."""
    if len(shape_vox) != 3 or min(shape_vox) < _SMALLEST_VOX:
        raise GeometryError(f"shape must be z, y, x of at least {_SMALLEST_VOX} voxels each, found {tuple(shape_vox)}")
    if len(voxel_size) != 3 or min(voxel_size) < 1:
        raise GeometryError(f"voxel size must be z, y, x in whole nanometres, found {tuple(voxel_size)}")
    if max(voxel_size[1:]) > _COARSEST_NM or voxel_size[0] > 3 * _COARSEST_NM:
        raise GeometryError(
            f"voxel size {tuple(voxel_size)} nm is too coarse to show neurites of 100 nm: at most "
            f"{_COARSEST_NM} nm in y and x and {3 * _COARSEST_NM} nm in z"
        )
    if seed < 0:
        raise GeometryError(f"seed must not be negative, found {seed}")
    if workers < 1:
        raise GeometryError(f"at least one worker is needed, found {workers}")


def _components(owner: NDArray[np.int32], dust_vox: float) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Label the face-connected pieces of each neurite; return labels and the neurite of each."""
    pieces, count = cc3d.connected_components(owner, connectivity=6, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    keep = sizes >= dust_vox
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.uint64)
    neurite_of_label = np.zeros(int(keep.sum()) + 1, np.int32)
    inside = keep[pieces]
    neurite_of_label[renumbered[pieces[inside]]] = owner[inside]
    return renumbered[pieces], neurite_of_label


def _instances(inside: NDArray[np.int32], labels: NDArray[np.uint64], dust_vox: float) -> NDArray[np.uint64]:
    """Label the face-connected pieces of each mitochondrion within each neuron label."""
    pieces, count = cc3d.connected_components(np.where(labels > 0, inside, 0), connectivity=6, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    keep = sizes >= dust_vox
    keep[0] = False
    renumbered: NDArray[np.uint64] = np.where(keep, np.cumsum(keep), 0).astype(np.uint64)
    instances: NDArray[np.uint64] = renumbered[pieces]
    return instances
