"""The row-major grid of blocks that a volume is cut into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.errors import GeometryError

LARGEST_ID = 2**63 - 1  # SQLite, PostgreSQL and MongoDB all have signed 64-bit integers only


@dataclass(frozen=True)
class Block:
    """One block of a :class:`BlockGrid`.

    Attributes
    ----------
    index
        Row-major number in the grid; blocks at the far border count like any other.
    position
        Place in the grid, in blocks, ``z, y, x``.
    write_roi
        What the block writes, world units; cropped to the grid's total region.
    read_roi
        `write_roi` grown by the context on all sides; may reach outside the region.
    voxel_size
        World units.
    block_shape_vox
        Shape of a full block, cropped or not.
    """

    index: int
    position: Coordinate
    write_roi: Roi
    read_roi: Roi
    voxel_size: Coordinate
    block_shape_vox: Coordinate

    @property
    def voxels_per_block(self) -> int:
        """Voxels of a full block: the number of ids every block has to itself."""
        return prod(int(each) for each in self.block_shape_vox)

    @property
    def id_offset(self) -> int:
        """Fragment ids of this block lie in ``id_offset + 1 … id_offset + voxels_per_block``."""
        return self.index * self.voxels_per_block

    @property
    def write_shape_vox(self) -> Coordinate:
        """Shape of what the block writes, after cropping."""
        return self.write_roi.shape // self.voxel_size

    @property
    def core(self) -> tuple[slice, ...]:
        """Slices that cut `write_roi` out of an array that covers `read_roi`."""
        begin = (self.write_roi.begin - self.read_roi.begin) // self.voxel_size
        return tuple(
            slice(int(low), int(low) + int(size)) for low, size in zip(begin, self.write_shape_vox, strict=True)
        )


@dataclass(frozen=True)
class BlockGrid:
    """Blocks of `block_shape_vox` that cover `roi` without gap or overlap, the last ones cropped.

    Parameters
    ----------
    roi
        Region to cover, world units, on the voxel grid.
    voxel_size
        World units.
    block_shape_vox
        Shape of a full block in voxels.
    context_vox
        Voxels read around a block on either side, per axis.

    Raises
    ------
    GeometryError
        If the region is empty, unbounded or off the voxel grid, a shape is not positive, or ids of the last block
        would not fit 63 bits.

    Examples
    --------
    >>> grid = BlockGrid(Roi((0, 0, 0), (80, 80, 80)), Coordinate(8, 8, 8), Coordinate(4, 4, 8), Coordinate(1, 1, 1))
    >>> len(grid), grid.shape
    (18, (3, 3, 2))
    >>> grid.block(17).write_roi
    [64:80, 64:80, 64:80] (16, 16, 16)
    """

    roi: Roi
    voxel_size: Coordinate
    block_shape_vox: Coordinate
    context_vox: Coordinate

    def __post_init__(self) -> None:
        _require_bounded(self.roi)
        dims = self.roi.dims
        for name in ("voxel_size", "block_shape_vox", "context_vox"):
            _require_whole(name, getattr(self, name), dims, least=0 if name == "context_vox" else 1)
        for name in ("offset", "shape"):
            _require_on_grid(f"{name} of the region to cover", getattr(self.roi, name), self.voxel_size)
        if len(self) * self.voxels_per_block > LARGEST_ID:
            raise GeometryError(
                f"{len(self)} blocks of {self.voxels_per_block} voxels need ids beyond 63 bits; cover a smaller region"
            )

    @property
    def block_shape(self) -> Coordinate:
        """Shape of a full block, world units."""
        return self.block_shape_vox * self.voxel_size

    @property
    def context(self) -> Coordinate:
        """Context of a block, world units."""
        return self.context_vox * self.voxel_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-int(n) // int(b)) for n, b in zip(self.roi.shape, self.block_shape, strict=True))

    @property
    def voxels_per_block(self) -> int:
        """Voxels of a full block."""
        return prod(int(each) for each in self.block_shape_vox)

    @property
    def voxels(self) -> int:
        """Voxels of the whole region."""
        return prod(int(each) for each in self.roi.shape // self.voxel_size)

    def __len__(self) -> int:
        return prod(self.shape)

    def __iter__(self) -> Iterator[Block]:
        return (self.block(index) for index in range(len(self)))

    def block(self, index: int) -> Block:
        """Return block `index`.

        Raises
        ------
        GeometryError
            If there is no such block.
        """
        if not 0 <= index < len(self):
            raise GeometryError(f"there is no block {index}; blocks are numbered 0 to {len(self) - 1}")
        position = Coordinate(int(each) for each in np.unravel_index(index, self.shape))
        full = Roi(self.roi.begin + position * self.block_shape, self.block_shape)
        write_roi = full.intersect(self.roi)
        return Block(
            index=int(index),
            position=position,
            write_roi=write_roi,
            read_roi=write_roi.grow(self.context, self.context),
            voxel_size=self.voxel_size,
            block_shape_vox=self.block_shape_vox,
        )

    def index_at(self, point: Coordinate) -> int:
        """Return the number of the block that holds `point` (world units).

        Raises
        ------
        GeometryError
            If `point` lies outside the region.
        """
        if not self.roi.contains(point):
            raise GeometryError(f"{point} lies outside the region {self.roi}")
        position = (point - self.roi.begin) // self.block_shape
        return int(np.ravel_multi_index(tuple(int(each) for each in position), self.shape))

    def blocks_intersecting(self, roi: Roi) -> NDArray[np.int64]:
        """Return the numbers of the blocks that write into `roi` (world units), sorted."""
        common = roi.intersect(self.roi)
        if common.empty:
            return np.empty(0, dtype=np.int64)
        low = (common.begin - self.roi.begin) // self.block_shape
        high = (common.end - self.roi.begin - 1) // self.block_shape
        axes = [np.arange(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)]
        return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), self.shape).reshape(-1).astype(np.int64)

    def owners(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the number of the block that made each fragment id (ids are not 0)."""
        return ((ids.astype(np.uint64) - np.uint64(1)) // np.uint64(self.voxels_per_block)).astype(np.int64)

    def require_aligned_chunks(self, chunk_shape_vox: Coordinate, array_roi: Roi, name: str = "the array") -> None:
        """Refuse an output array in which two blocks would write the same chunk, and lose each other's voxels.

        Parameters
        ----------
        chunk_shape_vox
            Spatial chunk shape of the array.
        array_roi
            What the array covers, world units.
        name
            What to call the array in an error.

        Raises
        ------
        GeometryError
            If block faces inside the region do not lie on chunk faces.
        """
        begin = (self.roi.begin - array_roi.begin) // self.voxel_size
        axes = zip(begin, self.block_shape_vox, chunk_shape_vox, self.shape, strict=True)
        if any(blocks > 1 and (start % chunk or size % chunk) for start, size, chunk, blocks in axes):
            raise GeometryError(
                f"{name}: blocks of {self.block_shape_vox} voxels, the first at voxel {begin}, cut chunks of "
                f"{chunk_shape_vox} voxels; choose a block shape and a start that are multiples of the chunk shape"
            )

    def to_json(self) -> dict[str, list[int]]:
        """Return the grid as plain values that :meth:`from_json` reads back."""
        parts = {"offset": self.roi.offset, "shape": self.roi.shape, "voxel_size": self.voxel_size}
        parts |= {"block_shape_vox": self.block_shape_vox, "context_vox": self.context_vox}
        return {name: [int(each) for each in values] for name, values in parts.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the grid that :meth:`to_json` wrote."""
        return cls(
            roi=Roi(values["offset"], values["shape"]),
            voxel_size=Coordinate(values["voxel_size"]),
            block_shape_vox=Coordinate(values["block_shape_vox"]),
            context_vox=Coordinate(values["context_vox"]),
        )


def _require_bounded(roi: Roi) -> None:
    if roi.unbounded or roi.empty:
        raise GeometryError(f"cannot cut {roi} into blocks: it must be bounded and not empty")


def _require_whole(name: str, values: Coordinate, dims: int, least: int) -> None:
    if len(values) != dims or any(each < least for each in values):
        raise GeometryError(f"{name} must be {dims} numbers of at least {least}, found {tuple(values)}")


def _require_on_grid(name: str, values: Coordinate, voxel_size: Coordinate) -> None:
    if len(values) != len(voxel_size):
        raise GeometryError(f"{name} {tuple(values)} and the voxel size {tuple(voxel_size)} differ in length")
    if any(value % size for value, size in zip(values, voxel_size, strict=True)):
        nearest = tuple(round(value / size) * size for value, size in zip(values, voxel_size, strict=True))
        raise GeometryError(
            f"{name} {tuple(values)} is not a multiple of the voxel size {tuple(voxel_size)}; the nearest is {nearest}"
        )
