"""Skeletons of neurons: nodes in nanometres and the edges between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.errors import ArrayNotFoundError, DataError, GeometryError

_SWC_COLUMNS = "id, type, x, y, z, radius, parent"


@dataclass(frozen=True)
class Skeleton:
    """A tree (or a few) drawn along a neuron.

    Attributes
    ----------
    nodes_nm
        Positions ``(n, 3)`` float64, ``z, y, x``, nanometres.
    edges
        Rows of `nodes_nm` that are joined, ``(m, 2)`` int64.
    name
        Shown in messages.
    """

    nodes_nm: NDArray[np.float64]
    edges: NDArray[np.int64]
    name: str = ""

    def __post_init__(self) -> None:
        if self.nodes_nm.ndim != 2 or self.nodes_nm.shape[1] != 3:
            raise GeometryError(f"skeleton {self.name!r}: nodes must be (n, 3), found {self.nodes_nm.shape}")
        if self.edges.ndim != 2 or self.edges.shape[1] != 2:
            raise GeometryError(f"skeleton {self.name!r}: edges must be (m, 2), found {self.edges.shape}")
        if self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < len(self.nodes_nm):
            raise DataError(f"skeleton {self.name!r}: an edge names a node outside 0 … {len(self.nodes_nm) - 1}")

    @property
    def edge_lengths_nm(self) -> NDArray[np.float64]:
        """Length of every edge ``(m,)``."""
        ends = self.nodes_nm[self.edges]
        lengths: NDArray[np.float64] = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        return lengths

    def within(self, roi: Roi, units_per_nm: int = 1) -> Skeleton:
        """Keep the nodes inside `roi` (world units, half open) and the edges between them."""
        begin, end = (np.asarray(corner, float) / units_per_nm for corner in (roi.begin, roi.end))
        inside = np.all((self.nodes_nm >= begin) & (self.nodes_nm < end), axis=1)
        row = np.cumsum(inside) - 1
        kept = self.edges[inside[self.edges].all(axis=1)]
        return Skeleton(self.nodes_nm[inside], row[kept], self.name)


def read_swc(path: str | Path, nm_per_unit: float | Sequence[float] = 1.0) -> Skeleton:
    """Read an SWC file.

    Parameters
    ----------
    path
        Text file of lines ``id type x y z radius parent``; ``#`` starts a comment; a parent that is
        negative is a root.
    nm_per_unit
        Nanometres per unit of the file, which SWC does not record: 1 for nm, 1000 for µm, or the
        voxel size (``z, y, x``) for positions in voxels.

    Raises
    ------
    ArrayNotFoundError
        If there is no such file.
    DataError
        If a line has fewer than seven numbers, an id stands twice, or a parent is not in the file.
    """
    rows = _swc_rows(Path(path))
    node_ids, parents = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64)
    row_of = {int(node): row for row, node in enumerate(node_ids)}
    if len(row_of) != len(node_ids):
        raise DataError(f"{path}: a node id stands twice")
    lost = sorted({int(parent) for parent in parents if parent >= 0} - row_of.keys())
    if lost:
        raise DataError(f"{path}: parent {lost[0]} is not a node of the file")
    edges = [(row, row_of[int(parent)]) for row, parent in enumerate(parents) if parent >= 0]
    nodes_nm = rows[:, [4, 3, 2]] * np.asarray(nm_per_unit, float)
    return Skeleton(nodes_nm, np.array(edges, np.int64).reshape(-1, 2), Path(path).stem)


def _swc_rows(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise ArrayNotFoundError(f"no skeleton file at {path}")
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            rows.append([float(field) for field in fields[:7]])
        except ValueError:
            raise DataError(f"{path}, line {number}: expected numbers ({_SWC_COLUMNS}), found {line!r}") from None
        if len(fields) < 7:
            raise DataError(f"{path}, line {number}: expected 7 numbers ({_SWC_COLUMNS}), found {len(fields)}")
    return np.array(rows, np.float64).reshape(-1, 7)


def segments_at(
    segmentation: NDArray[np.unsignedinteger],
    nodes_nm: NDArray[np.float64],
    *,
    voxel_size: Coordinate,
    offset: Coordinate,
    units_per_nm: int = 1,
) -> NDArray[np.uint64]:
    """Return the segment at every node ``(n,)``; 0 for nodes outside the volume.

    Parameters
    ----------
    segmentation
        Labels ``(z, y, x)``.
    nodes_nm
        Positions ``(n, 3)``, nanometres; a node lies in voxel floor((p − offset) / voxel size).
    voxel_size, offset
        Of the segmentation, world units.
    units_per_nm
        World units per nanometre.
    """
    units = np.asarray(nodes_nm, float) * units_per_nm - np.asarray(offset, float)
    voxels = np.floor(units / np.asarray(voxel_size, float)).astype(np.int64)
    inside = np.all((voxels >= 0) & (voxels < segmentation.shape), axis=1)
    segments = np.zeros(len(voxels), np.uint64)
    segments[inside] = segmentation[tuple(voxels[inside].T)]
    return segments
