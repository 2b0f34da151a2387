"""The voxel grid that everything about one volume shares."""

from __future__ import annotations

from dataclasses import dataclass

from funlib.geometry import Coordinate, Roi

from catena.arrays import Array, open_array
from catena.blockwise.blocks import BlockGrid
from catena.task import Given, Job, input_path
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, block_shape


@dataclass(frozen=True)
class VolumeGeometry:
    """World units of a volume's results: those of raw, or of the affinities it starts from.

    Attributes
    ----------
    roi
        What is processed.
    voxel_size
        World units, z, y, x.
    units_per_nm
        World units per nanometre.
    """

    roi: Roi
    voxel_size: Coordinate
    units_per_nm: int

    @property
    def voxel_size_nm(self) -> tuple[float, ...]:
        """Voxel size in nanometres."""
        return tuple(each / self.units_per_nm for each in self.voxel_size)

    def open(self, path: str, mode: str = "r", voxel_size_nm: tuple[object, ...] | None = None) -> Array:
        """Open an array in this geometry's world units."""
        array = open_array(path, mode="r+" if mode == "r+" else "r", voxel_size_nm=voxel_size_nm)
        return array.in_units(self.units_per_nm)


def open_input(job: Job, name: str, geometry: VolumeGeometry) -> Array:
    """Open an array among a job's inputs in a geometry's world units; a voxel size that was configured holds."""
    source = job.inputs[name]
    return geometry.open(
        input_path(job, name), voxel_size_nm=source.voxel_size_nm if isinstance(source, Given) else None
    )


def volume_geometry(config: LocalShapeDescriptorsConfig, volume: str) -> VolumeGeometry:
    """Return the geometry of a volume of the experiment."""
    settings = config.volume(volume)
    grid = settings.grid()
    return VolumeGeometry(settings.process_roi(), grid.voxel_size, grid.units_per_nm)


def fragment_grid(config: LocalShapeDescriptorsConfig, geometry: VolumeGeometry, context_vox: Coordinate) -> BlockGrid:
    """Return the blocks that fragments, agglomeration and segmentation share: fragment ids encode them."""
    shape = block_shape(config.fragments.block_shape_vox, geometry.voxel_size, "fragments.block_shape_vox")
    return BlockGrid(geometry.roi, geometry.voxel_size, shape, context_vox)


def block_slices(inner: Roi, outer: Roi, voxel_size: Coordinate) -> tuple[slice, slice, slice]:
    """Return where `inner` lies in an array read from `outer`."""
    begin, shape = (inner.begin - outer.begin) // voxel_size, inner.shape // voxel_size
    z, y, x = (slice(int(b), int(b + n)) for b, n in zip(begin, shape, strict=True))
    return z, y, x
