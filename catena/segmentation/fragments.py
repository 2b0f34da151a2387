"""Fragments of one block: arrays in, labels and the rows that describe them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cc3d
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import ConfigError, DataError, GeometryError
from catena.segmentation.ascent import SMOOTHING_REACH, STAY, ascent_field, field_reach, steepest_neighbours
from catena.segmentation.basins import MEETING_REACH, label_basins
from catena.segmentation.boundary import ShortRange, foreground, quantise, short_range_channels
from catena.segmentation.config import FragmentsConfig
from catena.segmentation.distance import Box, squared_distance, voxel_edges
from catena.segmentation.growth import growth_reach, spread, ways_inside
from catena.segmentation.mutex import mutex_watershed, signed_channels
from catena.segmentation.seeds import maxima
from catena.segmentation.watershed import LEVELS_PER_EDGE, flood


@dataclass(frozen=True)
class Fragments:
    """The fragments of one block's core.

    Attributes
    ----------
    labels
        (z, y, x) uint64 of the core, 0 at the boundary, as far as fragments do not grow into it.
    ids
        (n,) uint64, ascending. ``id = block_index · voxels_per_block + index + 1``, where `index` is the row-major
        index, in a full block, of the fragment's root: so the block that owns a fragment is known from its id.
    sizes
        (n,) int64 voxels in the core.
    roots
        (n, 3) int64 position in the core, in voxels, of the voxel that stands for the fragment.
    pointers
        (n,) int8: where the tree goes on from its root, across a block face: 9·(dz+1) + 3·(dy+1) + (dx+1), or 13 where
        it ends in the block. Always 13 but for basins.
    """

    labels: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    roots: NDArray[np.int64]
    pointers: NDArray[np.int8]


def fragment_context(config: FragmentsConfig, voxel_size: Coordinate) -> Coordinate:
    """Return the context in voxels that a block reads on every side.

    For basins it makes the fragments, once joined, exactly those of the whole volume; for other methods it only keeps
    the effect of the block's faces small. At the volume's own faces it is cut off, never padded.
    """
    in_plane = config.sectionwise(voxel_size)
    if config.method == "basins":
        climbing = field_reach(voxel_size, config.distance_cap, in_plane)
        growing = growth_reach(voxel_size, config.grow, in_plane)
        needed = Coordinate(max(pair) + 1 for pair in zip(climbing, growing, strict=True))  # 1: who is pointed to
        reach = needed + _reach_vox(MEETING_REACH, voxel_size, in_plane)
        return Coordinate(0, *reach[1:]) if in_plane else reach
    reach_vox = config.mutex_context if config.method == "mutex" else config.seeded_context
    return _reach_vox(reach_vox, voxel_size, in_plane)


def _reach_vox(reach: int, voxel_size: Coordinate, in_plane: bool) -> Coordinate:
    """Return a reach in voxels of the smallest edge as voxels along each axis."""
    edges = voxel_edges(voxel_size)
    smallest = min(edges[1:] if in_plane else edges)
    z, y, x = (-(-reach * smallest // edge) for edge in edges)
    return Coordinate(0 if in_plane else z, y, x)


def extract_fragments(
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    config: FragmentsConfig,
    *,
    voxel_size: Coordinate,
    core: Box | None = None,
    block_index: int = 0,
    block_shape_vox: Coordinate | None = None,
    core_begin_vox: Coordinate | None = None,
    mask: NDArray[np.generic] | None = None,
) -> Fragments:
    """Cut the core of a block into fragments.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8, or floating point in [0, 1]: the core with :func:`fragment_context` around it, cut off where
        the volume ends (not padded).
    affinity_offsets
        Offset of every channel in voxels; the short-range ones must be among them, others only mutex looks at. Where
        no offset leads out of its section (a 2D model), every section is treated on its own.
    config
        Method and thresholds.
    voxel_size
        In world units.
    core
        Where the core lies in the array; default everything.
    block_index
        Row-major index of the block in the volume.
    block_shape_vox
        Shape of a full block; default the core's. Blocks at the end of the volume may have a smaller core.
    core_begin_vox
        Position of the core's first voxel in the volume; needed for every block but the first.
    mask
        (z, y, x) of the whole array, optional: nothing is inside where it is 0.

    Raises
    ------
    GeometryError
        If shapes, offsets or the core do not fit together.
    DataError
        If the affinities are of another dtype or range.
    ConfigError
        If the method cannot work with these offsets.

    Examples
    --------
    >>> everywhere = np.full((3, 2, 2, 4), 255, np.uint8)
    >>> offsets = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
    >>> extract_fragments(everywhere, offsets, FragmentsConfig(), voxel_size=Coordinate(8, 8, 8)).sizes
    array([16])
    """
    affinities = quantise(affinities)
    short, config = fragment_channels(affinity_offsets, affinities.shape[0], config, voxel_size)
    core, shape, begin = _place(affinities.shape[1:], core, block_index, block_shape_vox, core_begin_vox)
    in_plane = config.sectionwise(voxel_size)
    used = short.in_plane if in_plane else short.all
    inside = foreground(affinities, used, config.threshold, mask)
    if config.method == "basins":
        return _basins(inside, config, voxel_size, core, block_index, shape, begin, mask)
    if config.method == "seeded":
        found = _seeded(inside, config, voxel_size)
    else:
        signed = signed_channels(affinity_offsets, short, config, in_plane=in_plane)
        found = mutex_watershed(affinities, inside, signed, begin - Coordinate(each.start for each in core))
    if config.epsilon_agglomerate > 0:
        from catena.segmentation.block_agglomeration import merge_below

        found = merge_below(found, affinities, short, config.epsilon_agglomerate)
    _drop(found, affinities, used, config)
    if config.grow:
        free = (inside == 0) if mask is None else (inside == 0) & (mask != 0)  # not what was dropped
        labelled = (found > 0).astype(np.uint8)
        spread(found, ways_inside(labelled, voxel_size, config.grow, free, in_plane=in_plane))
    return _cut(found[core], block_index, shape, in_plane)


def fragment_channels(
    affinity_offsets: Sequence[Coordinate], channels: int, config: FragmentsConfig, voxel_size: Coordinate
) -> tuple[ShortRange, FragmentsConfig]:
    """Return the short-range channels, and the configuration with `per_section` decided.

    Raises
    ------
    GeometryError
        If a short-range offset is missing.
    ConfigError
        If the method cannot work with these offsets.
    """
    short = short_range_channels(affinity_offsets, channels)
    if short.z is None and config.per_section is False:
        raise ConfigError(
            "fragments.per_section is false, but no affinity leads from section to section, as in a 2D model: the"
            f" offsets are {[tuple(each) for each in affinity_offsets]}; leave per_section out"
        )
    in_plane = config.sectionwise(voxel_size) or short.z is None
    if config.method == "mutex":
        signed_channels(affinity_offsets, short, config, in_plane=in_plane)
    return short, config.model_copy(update={"per_section": in_plane})


def _place(
    array_shape: tuple[int, ...],
    core: Box | None,
    block_index: int,
    block_shape_vox: Coordinate | None,
    core_begin_vox: Coordinate | None,
) -> tuple[Box, Coordinate, Coordinate]:
    """Check where the core lies, and fill in the defaults."""
    if core is None:
        core = cast(Box, tuple(slice(0, n) for n in array_shape))
    bounds = [each.indices(n) for each, n in zip(core, array_shape, strict=True)]
    if any(step != 1 or stop <= start for start, stop, step in bounds):
        raise GeometryError(f"the core {core} is empty or not contiguous in an array of shape {array_shape}")
    given = [
        (each.start or 0, n if each.stop is None else each.stop) for each, n in zip(core, array_shape, strict=True)
    ]
    if any((start, stop) != bound[:2] for (start, stop), bound in zip(given, bounds, strict=True)):
        raise GeometryError(f"the core {core} does not lie in the array of shape {array_shape}")
    core = cast(Box, tuple(slice(start, stop) for start, stop, _ in bounds))
    core_shape = Coordinate(stop - start for start, stop, _ in bounds)
    shape = core_shape if block_shape_vox is None else block_shape_vox
    if any(n > m for n, m in zip(core_shape, shape, strict=True)):
        raise GeometryError(f"the core of shape {tuple(core_shape)} is larger than a block, {tuple(shape)}")
    if core_begin_vox is None:
        if block_index != 0:
            raise GeometryError(f"block {block_index} needs core_begin_vox, the position of its core in the volume")
        core_begin_vox = Coordinate(0, 0, 0)
    return core, shape, core_begin_vox


def _basins(
    inside: NDArray[np.uint8],
    config: FragmentsConfig,
    voxel_size: Coordinate,
    core: Box,
    block_index: int,
    shape: Coordinate,
    begin: Coordinate,
    mask: NDArray[np.generic] | None,
) -> Fragments:
    in_plane = config.sectionwise(voxel_size)
    first = begin - Coordinate(each.start for each in core)
    context = fragment_context(config, voxel_size)
    valid = _valid_part(core, inside.shape, context, _reach_vox(MEETING_REACH, voxel_size, in_plane))
    near = _around(valid, SMOOTHING_REACH + 1, inside.shape, in_plane)  # 1: who is pointed to
    field = ascent_field(inside, voxel_size, config.distance_cap, first, in_plane=in_plane, part=near)
    pointers = steepest_neighbours(field, in_plane=in_plane)[_within(valid, near)]
    if config.grow:
        near = _around(valid, 1, inside.shape, in_plane)
        growing = ways_inside(inside, voxel_size, config.grow, mask, in_plane=in_plane, part=near)
        pointers = np.where(inside[valid], pointers, growing[_within(valid, near)])
    local, roots = label_basins(pointers, _within(core, valid), cast(tuple[int, int, int], tuple(shape)))
    at = np.stack(np.unravel_index(roots - 1, tuple(shape)), axis=1).astype(np.int64)
    ways = pointers[_within(core, valid)][at[:, 0], at[:, 1], at[:, 2]].astype(np.int8)
    return _described(local, roots, at, ways, block_index, shape)


def _around(part: Box, reach: int, array_shape: tuple[int, ...], in_plane: bool) -> Box:
    """Return the part with `reach` voxels more on every side, as far as the array goes; in plane, only there."""
    z, y, x = (slice(max(p.start - reach, 0), min(p.stop + reach, n)) for p, n in zip(part, array_shape, strict=True))
    return (part[0] if in_plane else z), y, x


def _within(inner: Box, outer: Box) -> Box:
    """Return where `inner` lies in an array cut out at `outer`."""
    parts = zip(inner, outer, strict=True)
    return cast(Box, tuple(slice(i.start - o.start, i.stop - o.start) for i, o in parts))


def _valid_part(core: Box, array_shape: tuple[int, ...], context: Coordinate, further: Coordinate) -> Box:
    """Return where pointers are those of the volume: up to the array's face where that is the volume's own face."""
    parts = []
    for each, n, needed, meeting in zip(core, array_shape, context, further, strict=True):
        low = each.start - meeting if each.start >= needed else 0
        high = each.stop + meeting if n - each.stop >= needed else n
        parts.append(slice(low, high))
    return cast(Box, tuple(parts))


def _seeded(inside: NDArray[np.uint8], config: FragmentsConfig, voxel_size: Coordinate) -> NDArray[np.uint32]:
    in_plane = config.sectionwise(voxel_size)
    edges = voxel_edges(voxel_size)
    smallest = min(edges[1:] if in_plane else edges)
    squared = squared_distance(inside, edges, in_plane=in_plane)
    window = tuple(max(1, round(config.seed_window * smallest / edge)) for edge in edges)
    seeds = maxima(squared, cast(tuple[int, int, int], window), in_plane=in_plane)
    heights = np.rint(np.sqrt(squared) * (LEVELS_PER_EDGE / smallest)).astype(np.int32)
    return flood(heights, seeds, in_plane=in_plane)


def _cut(fragments: NDArray[np.uint32], block_index: int, shape: Coordinate, in_plane: bool) -> Fragments:
    """Name what the core's faces leave of fragments.

    Cut there a fragment may fall apart, and one id is one connected component (growth goes across edges and corners).
    """
    if in_plane:
        sections = [cc3d.connected_components(each, connectivity=8, out_dtype=np.uint32) for each in fragments]
        pieces = np.zeros(fragments.shape, np.uint64)
        count = 0
        for piece, section in zip(pieces, sections, strict=True):
            piece[:] = section + np.uint64(count) * (section > 0)
            count += int(section.max(initial=0))
    else:
        pieces = cc3d.connected_components(np.ascontiguousarray(fragments), connectivity=26, out_dtype=np.uint64)
    local, roots = _first_voxels(pieces, cast(tuple[int, int, int], tuple(shape)))
    at = np.stack(np.unravel_index(roots - 1, tuple(shape)), axis=1).astype(np.int64)
    return _described(local, roots, at, np.full(roots.size, STAY, np.int8), block_index, shape)


def _drop(
    fragments: NDArray[np.uint32], affinities: NDArray[np.uint8], channels: Sequence[int], config: FragmentsConfig
) -> None:
    """Set fragments to 0, in place, whose mean affinity or size is too low."""
    if config.minimum_mean_affinity == 0 and config.minimum_size == 0:
        return
    flat = fragments.ravel()
    sizes = np.bincount(flat)
    total = sum(np.bincount(flat, weights=affinities[each].ravel()) for each in channels)
    mean = total / (np.maximum(sizes, 1) * 255 * len(channels))
    dropped = (mean < config.minimum_mean_affinity) | (sizes < config.minimum_size)
    fragments[dropped[fragments]] = 0


def _described(
    local: NDArray[np.int64],
    roots: NDArray[np.int64],
    at: NDArray[np.int64],
    ways: NDArray[np.int8],
    block_index: int,
    shape: Coordinate,
) -> Fragments:
    voxels = int(np.prod(shape))
    base = block_index * voxels
    if base + voxels >= 2**63:
        raise GeometryError(f"block {block_index} of {voxels} voxels would need fragment ids of 2^63 or more")
    sizes = np.bincount(local.ravel(), minlength=voxels + 1)[roots]
    labels = local.view(np.uint64)
    if base:
        _lift_labels(labels, np.uint64(base))
    return Fragments(labels, roots.astype(np.uint64) + np.uint64(base), sizes.astype(np.int64), at, ways)


@kernel
def _lift_labels(labels: NDArray[np.uint64], base: np.uint64) -> None:
    flat = labels.ravel()
    for at in range(flat.size):
        if flat[at]:
            flat[at] += base


def _first_voxels(
    pieces: NDArray[np.uint64], block: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Name every piece by 1 + the row-major index, in a full block, of its first voxel."""
    local = np.empty(pieces.shape, np.int64)
    names = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
    _name_by_first_voxel(pieces, np.asarray(block, np.int64), names, local)
    return local, np.sort(names[1:])


@kernel
def _name_by_first_voxel(
    pieces: NDArray[np.uint64], block: NDArray[np.int64], names: NDArray[np.int64], local: NDArray[np.int64]
) -> None:
    depth, height, width = pieces.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                piece = pieces[z, y, x]
                if piece and names[piece] == 0:
                    names[piece] = (z * block[1] + y) * block[2] + x + 1
                local[z, y, x] = names[piece]


def owner(ids: NDArray[np.uint64], block_shape_vox: Coordinate) -> NDArray[np.int64]:
    """Return the row-major index of the block that owns each fragment.

    Raises
    ------
    DataError
        If an id is 0, the background.
    """
    if ids.size and ids.min() == 0:
        raise DataError("fragment id 0 is the background; no block owns it")
    return ((ids - np.uint64(1)) // np.uint64(np.prod(block_shape_vox))).astype(np.int64)
