"""Draw a scene: which neurite and mitochondrion each voxel lies in, and how grey it is.

Space belongs to the neurite whose tube surface is nearest (an additively weighted Voronoi diagram of the
tubes), after a smooth random bending of space that makes cross-sections irregular. Distances are
analytic, so membranes stay sharp at any voxel size, and no voxel needs another one: the picture is the
same however the volume is cut into slabs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from data_prep.look import (
    ALONG,
    CRISTAE,
    FILAMENTS,
    FRAME,
    GRANULES,
    INSTANCE,
    LEVEL,
    REACH_NM,
    RETICULUM,
    SHIFT,
    VESICLES,
    Look,
)
from data_prep.texture import sample
from data_prep.tubes import AXIS, INVERSE_SQUARED_LENGTH, OWNER, Tubes, bin_at, from_axis, tube_distance

_BLOCK_NM = 42.0
_FAR = 1e9
_GAP_NM = 34.0  # further than this from every tube lies extracellular space
_BILAYER_NM = 8.5  # distance of a cell's own membrane from the boundary between two cells


@kernel
def render(
    look: Look,
    voxel_nm: NDArray[np.float64],
    shift_nm: NDArray[np.float64],
    begin: int,
    grey: NDArray[np.float32],
    owner: NDArray[np.int32],
    organelle: NDArray[np.int32],
) -> None:
    """Fill ``(z, y, x)`` arrays for the sections from `begin` on.

    Parameters
    ----------
    voxel_nm
        ``(3,)`` voxel size.
    shift_nm
        ``(sections, 2)`` y and x displacement of each section of the whole volume.
    grey, owner, organelle
        Outputs: noise-free grey level, neurite (0 = extracellular) and mitochondrion (0 = none).
    """
    nz, ny, nx = grey.shape
    bz = max(1, round(_BLOCK_NM / voxel_nm[0]))
    by = max(1, round(_BLOCK_NM / voxel_nm[1]))
    bx = max(1, round(_BLOCK_NM / voxel_nm[2]))
    places = np.empty((bz * by * bx, 3))
    near = np.empty(look.neurites.rows.shape)
    near_mito = np.empty(look.mitochondria.rows.shape)
    for z in range(0, nz, bz):
        for y in range(0, ny, by):
            for x in range(0, nx, bx):
                block = (slice(z, min(z + bz, nz)), slice(y, min(y + by, ny)), slice(x, min(x + bx, nx)))
                count = _bend_block(look.tile, voxel_nm, shift_nm, (begin, z, y, x), grey[block].shape, places)
                found = _nearby(look.neurites, places[:count], near, True)
                found_mito = _nearby(look.mitochondria, places[:count], near_mito, False)
                _fill_block(
                    near[:found],
                    near_mito[:found_mito],
                    look.cells,
                    look.tile,
                    look.blur_nm,
                    look.thickness_nm,
                    places,
                    grey[block],
                    owner[block],
                    organelle[block],
                )


@kernel
def _fill_block(
    near: NDArray[np.float64],
    near_mito: NDArray[np.float64],
    cells: NDArray[np.float64],
    tile: NDArray[np.float32],
    blur: float,
    thickness: float,
    places: NDArray[np.float64],
    grey: NDArray[np.float32],
    owner: NDArray[np.int32],
    organelle: NDArray[np.int32],
) -> None:
    count = 0
    for z in range(grey.shape[0]):
        for y in range(grey.shape[1]):
            for x in range(grey.shape[2]):
                pz, py, px = places[count, 0], places[count, 1], places[count, 2]
                value, label, inside = _voxel(near, near_mito, cells, tile, blur, thickness, pz, py, px)
                grey[z, y, x] = value
                owner[z, y, x] = label
                organelle[z, y, x] = inside
                count += 1


@kernel
def _bend_block(
    tile: NDArray[np.float32],
    voxel_nm: NDArray[np.float64],
    shift_nm: NDArray[np.float64],
    corner: tuple[int, int, int, int],
    shape: tuple[int, int, int],
    places: NDArray[np.float64],
) -> int:
    """Write the bent centres of a block's voxels and return how many there are."""
    begin, z0, y0, x0 = corner
    count = 0
    for z in range(begin + z0, begin + z0 + shape[0]):
        for y in range(y0, y0 + shape[1]):
            for x in range(x0, x0 + shape[2]):
                py = (y + 0.5) * voxel_nm[1] + shift_nm[z, 0]
                px = (x + 0.5) * voxel_nm[2] + shift_nm[z, 1]
                bent = _bend(tile, (z + 0.5) * voxel_nm[0], py, px)
                places[count, 0], places[count, 1], places[count, 2] = bent
                count += 1
    return count


@kernel
def _bend(tile: NDArray[np.float32], z: float, y: float, x: float) -> tuple[float, float, float]:
    """Displace a place smoothly; amplitudes stay well below wavelengths, so nothing folds over or is torn."""
    a, b = 1.0 / 95.0, 1.0 / 38.0
    bz = 28.0 * sample(tile, z * a, y * a, x * a) + 7.5 * sample(tile, z * b + 7.3, y * b, x * b)
    by = 28.0 * sample(tile, z * a + 21.4, y * a, x * a) + 7.5 * sample(tile, z * b + 29.1, y * b, x * b)
    bx = 28.0 * sample(tile, z * a + 42.7, y * a, x * a) + 7.5 * sample(tile, z * b + 50.6, y * b, x * b)
    return z + bz, y + by, x + bx


@kernel
def _nearby(tubes: Tubes, places: NDArray[np.float64], near: NDArray[np.float64], two_owners: bool) -> int:
    """Copy the rows of tubes that can be nearest, or second nearest of another owner, at any of `places`.

    Distances change by at most the distance moved, so a tube further from the middle of `places` than the
    second owner there plus twice their radius is out of the question everywhere. With `two_owners` false,
    all tubes that reach any of the places are copied.
    """
    if len(tubes.rows) == 0:
        return 0
    cz, cy, cx = places[:, 0].mean(), places[:, 1].mean(), places[:, 2].mean()
    spread = 0.0
    for k in range(len(places)):
        away = (places[k, 0] - cz) ** 2 + (places[k, 1] - cy) ** 2 + (places[k, 2] - cx) ** 2
        spread = max(spread, away)
    spread = np.sqrt(spread)
    here = bin_at(tubes, cz, cy, cx)
    begin, end = tubes.first[here], tubes.first[here + 1]
    limit = spread + 40.0
    if two_owners:
        best, second, owner = _FAR, _FAR, -1.0
        for item in range(begin, end):
            tube = tubes.items[item]
            distance, _ = tube_distance(tubes.rows, tube, cz, cy, cx)
            if distance < second:
                if distance < best:
                    if tubes.rows[tube, OWNER] != owner:
                        second = best
                    best, owner = distance, tubes.rows[tube, OWNER]
                elif tubes.rows[tube, OWNER] != owner:
                    second = distance
        limit = min(second, REACH_NM) + 2.2 * spread
    found = 0
    for item in range(begin, end):
        tube = tubes.items[item]
        distance, _ = tube_distance(tubes.rows, tube, cz, cy, cx)
        if distance <= limit:
            near[found] = tubes.rows[tube]
            found += 1
    return found


@kernel
def _voxel(
    near: NDArray[np.float64],
    near_mito: NDArray[np.float64],
    cells: NDArray[np.float64],
    tile: NDArray[np.float32],
    blur: float,
    thickness: float,
    z: float,
    y: float,
    x: float,
) -> tuple[float, int, int]:
    """Return grey level, neurite and mitochondrion at a (bent) place."""
    best, second, first, other, share, owner = _FAR, _FAR, -1, -1, 0.0, 0
    for k in range(len(near)):
        distance, at = tube_distance(near, k, z, y, x)
        if distance >= second:
            continue
        label = int(near[k, OWNER])
        if distance < best:
            if label != owner:
                second, other = best, first
            best, first, share, owner = distance, k, at, label
        elif label != owner:
            second, other = distance, k
    if first < 0:
        return cells[0, LEVEL], 0, 0
    depth, slant = _boundary(near, first, other, best, second, z, y, x)
    grey, inside = cells[0, LEVEL], 0
    if best > _GAP_NM:
        owner = 0
    else:
        grey = _cytoplasm(near, first, cells, tile, blur, share, depth, z, y, x)
        grey, inside = _mitochondrion(near_mito, tile, blur, thickness, owner, depth, grey, z, y, x)
    return _membrane(tile, blur, thickness, depth, slant, grey, z, y, x), owner, inside


@kernel
def _boundary(
    near: NDArray[np.float64], first: int, other: int, best: float, second: float, z: float, y: float, x: float
) -> tuple[float, float]:
    """Return the distance to the nearest cell boundary and how much its normal points along z (0 to 1)."""
    uz, uy, ux = from_axis(near, first, z, y, x)
    u = 1.0 / (np.sqrt(uz * uz + uy * uy + ux * ux) + 1e-9)
    depth, slant = abs(_GAP_NM - best), abs(uz * u)
    if other >= 0 and best <= _GAP_NM:
        vz, vy, vx = from_axis(near, other, z, y, x)
        v = 1.0 / (np.sqrt(vz * vz + vy * vy + vx * vx) + 1e-9)
        gz, gy, gx = vz * v - uz * u, vy * v - uy * u, vx * v - ux * u
        # near the boundary second - best grows by |g| per nm along the normal g
        slope = max(np.sqrt(gz * gz + gy * gy + gx * gx), 0.6)
        between = (second - best) / slope
        if between < depth:
            depth, slant = between, min(abs(gz) / slope, 1.0)
    return depth, slant


@kernel
def _membrane(
    tile: NDArray[np.float32],
    blur: float,
    thickness: float,
    depth: float,
    slant: float,
    grey: float,
    z: float,
    y: float,
    x: float,
) -> float:
    """Lay the two membranes of a boundary over `grey`.

    A membrane is a Gaussian sheet; through a section of height t its image smears over t·slant, which
    makes slanted membranes broad and faint.
    """
    smear = 0.5 * thickness * slant
    if depth > smear + _BILAYER_NM + 4.0 * blur:
        return grey
    wide = np.sqrt(blur * blur + smear * smear / 3.0)  # the box's variance: close to the exact convolution
    near, far = (depth - _BILAYER_NM) / wide, (depth + _BILAYER_NM) / wide
    cover = (blur / wide) ** 0.6 * (np.exp(-0.5 * near * near) + np.exp(-0.5 * far * far))
    stain = min(max(0.87 + 0.12 * sample(tile, z / 70.0, y / 70.0, x / 70.0 + 13.0), 0.6), 1.0)
    cover = min(cover * stain, 0.95)
    return float(grey * (1.0 - cover) + 76.0 * cover)


@kernel
def _cytoplasm(
    near: NDArray[np.float64],
    tube: int,
    cells: NDArray[np.float64],
    tile: NDArray[np.float32],
    blur: float,
    share: float,
    depth: float,
    z: float,
    y: float,
    x: float,
) -> float:
    """Return the grey level of cytoplasm: clouds, granules, filaments, reticulum and vesicles."""
    cell = int(near[tube, OWNER])
    oz, oy, ox = cells[cell, SHIFT], cells[cell, SHIFT + 1], cells[cell, SHIFT + 2]
    grey = cells[cell, LEVEL] + 7.0 * sample(tile, z / 60.0 + oz, y / 60.0 + oy, x / 60.0 + ox)
    grain = sample(tile, z / 8.5 + oz, y / 8.5 + oy, x / 8.5 + ox)
    grey -= cells[cell, GRANULES] * (max(grain - 0.7, 0.0) - 0.15)
    inner = min(max((depth - 18.0) / 20.0, 0.0), 1.0)
    if inner == 0.0:
        return float(grey)
    streak_z, streak_y, streak_x = _filament_place(near, tube, share, z, y, x)
    grey += inner * cells[cell, FILAMENTS] * sample(tile, streak_z + oz, streak_y + oy, streak_x + ox)
    contrast = (cells[cell, LEVEL] - 60.0) / 90.0  # dark cytoplasm shows its organelles less
    gate = sample(tile, z / 90.0 + ox, y / 90.0 + oz, x / 90.0 + oy)
    if gate > 0.1 and depth > 30.0:
        ridge = (sample(tile, z / 26.0 + oy, y / 26.0 + ox, x / 26.0 + oz) - 0.95) / 0.2
        grey -= contrast * inner * min(2.0 * (gate - 0.1), 1.0) * cells[cell, RETICULUM] * np.exp(-0.5 * ridge * ridge)
    crowd = near[tube, VESICLES] + share * (near[tube, VESICLES + 1] - near[tube, VESICLES])
    if crowd > 0.15 and depth > 20.0:
        grey += contrast * _vesicle(blur, crowd, z, y, x)
    return float(grey)


@kernel
def _filament_place(
    near: NDArray[np.float64], tube: int, share: float, z: float, y: float, x: float
) -> tuple[float, float, float]:
    """Return where to read noise that is drawn out along the neurite, like microtubules cut lengthwise or across."""
    bz, by, bx = near[tube, AXIS], near[tube, AXIS + 1], near[tube, AXIS + 2]
    length = 1.0 / np.sqrt(near[tube, INVERSE_SQUARED_LENGTH])
    dz, dy, dx = from_axis(near, tube, z, y, x)
    ez, ey, ex = near[tube, FRAME], near[tube, FRAME + 1], near[tube, FRAME + 2]
    fz, fy, fx = (by * ex - bx * ey) / length, (bx * ez - bz * ex) / length, (bz * ey - by * ez) / length
    along = near[tube, ALONG] + share * length
    return (dz * ez + dy * ey + dx * ex) / 11.0, (dz * fz + dy * fy + dx * fx) / 11.0, along / 130.0


@kernel
def _hash(z: int, y: int, x: int, salt: int) -> float:
    """Return a number in [0, 1) that depends on a lattice cell."""
    h = np.uint64(z & 0xFFFFF) * np.uint64(0x9E3779B97F4A7C15)
    h ^= np.uint64(y & 0xFFFFF) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= np.uint64(x & 0xFFFFF) * np.uint64(0x165667B19E3779F9)
    h += np.uint64(salt) * np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(29)
    return float(h >> np.uint64(40)) / 16777216.0


@kernel
def _vesicle(blur: float, crowd: float, z: float, y: float, x: float) -> float:
    """Return the darkening by synaptic vesicles: rings of about 40 nm on a jittered lattice."""
    pitch = 46.0
    cz, cy, cx = int(np.floor(z / pitch)), int(np.floor(y / pitch)), int(np.floor(x / pitch))
    grey = -6.0 * crowd
    for iz in range(cz - 1, cz + 2):
        for iy in range(cy - 1, cy + 2):
            for ix in range(cx - 1, cx + 2):
                if _hash(iz, iy, ix, 1) > crowd:
                    continue
                dz = (iz + 0.2 + 0.6 * _hash(iz, iy, ix, 2)) * pitch - z
                dy = (iy + 0.2 + 0.6 * _hash(iz, iy, ix, 3)) * pitch - y
                dx = (ix + 0.2 + 0.6 * _hash(iz, iy, ix, 4)) * pitch - x
                distance = np.sqrt(dz * dz + dy * dy + dx * dx)
                if distance < 40.0:
                    ring = (distance - 17.0) / (0.9 * blur)
                    grey -= 42.0 * np.exp(-0.5 * ring * ring)
    return max(grey, -60.0)


@kernel
def _mitochondrion(
    near: NDArray[np.float64],
    tile: NDArray[np.float32],
    blur: float,
    thickness: float,
    owner: int,
    depth: float,
    grey: float,
    z: float,
    y: float,
    x: float,
) -> tuple[float, int]:
    """Lay mitochondria over the cytoplasm: double membrane, dark matrix, cristae across the axis."""
    best, tube, share = _FAR, -1, 0.0
    for k in range(len(near)):
        if near[k, OWNER] == owner:
            distance, at = tube_distance(near, k, z, y, x)
            if distance < best:
                best, tube, share = distance, k, at
    if tube < 0 or best > 40.0:
        return grey, 0
    surface = max(best + 7.0 * sample(tile, z / 50.0 + 31.0, y / 50.0, x / 50.0), 19.0 - depth)
    uz, uy, ux = from_axis(near, tube, z, y, x)
    slant = abs(uz) / (np.sqrt(uz * uz + uy * uy + ux * ux) + 1e-9)
    soft = 0.8 * blur + 0.25 * thickness * slant
    if surface > 3.0 * soft + 8.0:
        return grey, 0
    cover = 1.0 / (1.0 + np.exp(1.7 * surface / soft))
    along = near[tube, CRISTAE] + share / np.sqrt(near[tube, INVERSE_SQUARED_LENGTH])
    swirl = sample(tile, z / 34.0, y / 34.0 + 17.0, x / 34.0)
    inner = min(max((-surface - 10.0) / 12.0, 0.0), 1.0)
    matrix = 89.0 + 6.0 * swirl + inner * 8.0 * np.sin(2.0 * np.pi * (along / 42.0 + 0.7 * swirl))
    skin = (surface + 3.0) / (0.8 * blur)
    matrix -= 12.0 * np.exp(-0.5 * skin * skin)
    return grey * (1.0 - cover) + matrix * cover, int(near[tube, INSTANCE]) if surface <= 0.0 else 0
