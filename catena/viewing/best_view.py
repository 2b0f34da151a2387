"""The section of a volume that shows best where two of its parts meet."""

from __future__ import annotations

from typing import NamedTuple

import edt
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import GeometryError

_SECTIONS = 32
"""Sections looked at along each axis: those with the most voxels close to the other part."""

Mask = NDArray[np.bool_]


class View(NamedTuple):
    """A section through a volume.

    Attributes
    ----------
    axis
        Along which the section is cut: 0 shows y by x, 1 z by x, 2 z by y.
    position
        Voxel ``z, y, x`` at which the parts meet; the section goes through it.
    gap
        Between the parts there, world units from voxel centre to voxel centre; infinite where one of them is missing.
    visible
        Voxels of the smaller part that a window about `position` shows.
    score
        What makes one view better than another: `visible`, less the wider `gap` is.
    """

    axis: int
    position: Coordinate
    gap: float
    visible: int
    score: float


def best_view(first: Mask, second: Mask, voxel_size: Coordinate, window_vox: Coordinate) -> View | None:
    """Return the section in which two parts of a volume lie close to one another and most of both is seen.

    The nearest pair of voxels alone would not do: it may be a stray one far from where the parts run side by side. What
    counts is the number of voxels that are seen, so that sections of anisotropic data are cut where they have their
    resolution unless the parts meet across sections only. Of equal views the first along z, then y, then x is taken.

    Parameters
    ----------
    first, second
        Voxels ``(z, y, x)`` of the parts. Where one of them is empty, the other alone is shown.
    voxel_size
        World units.
    window_vox
        What is to be seen about the position, in voxels along each axis. A gap of an eighth of it halves the score.

    Returns
    -------
    View or None
        None if both are empty.

    Raises
    ------
    GeometryError
        If the shapes differ.
    """
    if first.shape != second.shape:
        raise GeometryError(f"two parts of one volume have the shapes {first.shape} and {second.shape}")
    box = _bounding_box(first | second)
    if box is None:
        return None
    first, second = first[box], second[box]
    alone = not (first.any() and second.any())
    if alone:
        first = second = first | second
    distance = _distance(first, second, voxel_size)
    half = max(n * v for n, v in zip(window_vox, voxel_size, strict=True)) / 8
    views = (
        _view_in(axis, section, first, second, distance, voxel_size, window_vox, half)
        for axis in range(3)
        for section in _sections(distance, axis, half)
    )
    best = max(views, key=lambda view: view.score)
    best = best._replace(position=best.position + Coordinate(each.start for each in box))
    return best._replace(gap=float("inf"), score=0.0) if alone else best


def plane(axis: int, position: Coordinate, shape: Coordinate, window_vox: Coordinate) -> tuple[slice, slice, slice]:
    """Return the voxels of a window about `position`, one section deep along `axis`.

    The window is moved into the volume of `shape` where it would reach beyond it, and is cut where it is larger.

    >>> plane(0, Coordinate(3, 0, 5), Coordinate(9, 9, 9), Coordinate(4, 4, 4))
    (slice(3, 4, None), slice(0, 4, None), slice(3, 7, None))
    """

    def along(each: int) -> slice:
        if each == axis:
            return slice(int(position[each]), int(position[each]) + 1)
        width = min(window_vox[each], shape[each])
        begin = min(max(position[each] - width // 2, 0), shape[each] - width)
        return slice(int(begin), int(begin + width))

    return along(0), along(1), along(2)


def _bounding_box(mask: Mask) -> tuple[slice, slice, slice] | None:
    if not mask.any():
        return None
    taken = [np.flatnonzero(mask.any(axis=tuple(each for each in range(3) if each != axis))) for axis in range(3)]
    z, y, x = (slice(int(each[0]), int(each[-1]) + 1) for each in taken)
    return z, y, x


def _distance(first: Mask, second: Mask, voxel_size: Coordinate) -> NDArray[np.float32]:
    """Return how far the voxels of `second` are from `first`, and infinity everywhere else."""
    size = tuple(float(each) for each in voxel_size)
    distance: NDArray[np.float32] = edt.edt(~first, anisotropy=size, black_border=False, parallel=1)
    distance[~second] = np.inf
    return distance


def _sections(distance: NDArray[np.float32], axis: int, half: float) -> NDArray[np.intp]:
    """Return the sections along `axis` to look at, ascending."""
    others = tuple({0, 1, 2} - {axis})
    close = np.count_nonzero(distance <= max(half, float(distance.min())), axis=others)
    most = np.argsort(-close, kind="stable")[:_SECTIONS]
    return np.sort(most[close[most] > 0])


def _view_in(
    axis: int,
    section: int,
    first: Mask,
    second: Mask,
    distance: NDArray[np.float32],
    voxel_size: Coordinate,
    window_vox: Coordinate,
    half: float,
) -> View:
    """Return the best view in one section; of equal ones that nearest to the middle of them."""
    away = np.take(distance, section, axis=axis)
    window = [int(each) for number, each in enumerate(window_vox) if number != axis]
    seen = np.minimum(*(_window_sums(np.take(each, section, axis=axis), window) for each in (first, second)))
    score = seen / (1 + away / half)
    places = np.argwhere((score == score.max()) & np.isfinite(away))
    place = tuple(places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))])
    position = Coordinate(np.insert(place, axis, section))
    return View(axis, position, float(away[place]), int(seen[place]), float(score[place]))


def _window_sums(mask: Mask, window: list[int]) -> NDArray[np.int64]:
    """Return how many voxels of a section ``(rows, columns)`` a window about each of its voxels holds."""
    total = np.pad(mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))
    begins = [np.arange(n) - width // 2 for n, width in zip(mask.shape, window, strict=True)]
    (top, bottom), (left, right) = (
        (begin.clip(0), (begin + width).clip(max=n)) for begin, n, width in zip(begins, mask.shape, window, strict=True)
    )
    rows: NDArray[np.int64] = total[bottom] - total[top]
    return rows[:, right] - rows[:, left]
