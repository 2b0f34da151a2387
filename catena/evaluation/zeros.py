"""How the voxels that a segmentation leaves at 0 enter its score; published numbers differ by more than a bit.

``one_object``
    0 is one label like any other: all unlabelled voxels count as one big segment.
``filled``
    Each unlabelled voxel takes the nearest label first, as if the objects were grown into the gaps.
``common``
    Only voxels that a reference segmentation labels are scored, so that two segmentations are
    compared on the same tissue; a segmentation may be its own reference.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import ArrayLike, NDArray

from catena.errors import ConfigError, GeometryError

ZeroPolicy = Literal["one_object", "filled", "common"]
ZERO_POLICIES: tuple[ZeroPolicy, ...] = ("one_object", "filled", "common")


def apply_zero_policy(
    segmentation: NDArray[np.unsignedinteger],
    truth: NDArray[np.unsignedinteger],
    policy: ZeroPolicy,
    *,
    voxel_size: Coordinate,
    reference: NDArray[np.unsignedinteger] | None = None,
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
    """Return the segmentation and the truth that are to be counted under `policy`.

    Parameters
    ----------
    segmentation, truth
        Labels ``(z, y, x)``. With ``one_object`` and ``common`` a volume may be given block by
        block; ``filled`` needs all of it at once (see :func:`fill_zeros`).
    policy
        One of ``one_object``, ``filled``, ``common``.
    voxel_size
        World units, ``z, y, x``; ``filled`` measures distances with it.
    reference
        Labels ``(z, y, x)`` for ``common``: voxels where it is 0 are left out.

    Raises
    ------
    ConfigError
        If `policy` is unknown, or ``common`` comes without a reference.
    GeometryError
        If the reference has another shape.
    """
    if policy == "one_object":
        return segmentation, truth
    if policy == "filled":
        return fill_zeros(segmentation, voxel_size), truth
    if policy == "common":
        return segmentation, _only_where(truth, reference)
    raise ConfigError(f"unknown policy for zeros {policy!r}; expected one of {', '.join(ZERO_POLICIES)}")


def fill_zeros(segmentation: NDArray[np.unsignedinteger], voxel_size: Coordinate) -> NDArray[np.unsignedinteger]:
    """Give every voxel of label 0 the label of the nearest labelled voxel.

    Works in memory, at about 12 bytes per voxel beside the labels. For a volume that does not fit,
    call it on blocks with at least as much context as the widest gap is deep: a voxel's label is
    then the same as in the whole volume but for ties. Filling fragments and looking segments up
    afterwards gives what filling the segmentation would, so a threshold sweep fills once.

    Parameters
    ----------
    segmentation
        Labels ``(z, y, x)``.
    voxel_size
        World units, ``z, y, x``; the distance is the physical one.

    Returns
    -------
    NDArray
        Labels of the same dtype; unchanged where there is no label at all.
    """
    from scipy.ndimage import distance_transform_edt

    background = segmentation == 0
    if not background.any() or background.all():
        return segmentation
    nearest = distance_transform_edt(
        background, sampling=[float(each) for each in voxel_size], return_distances=False, return_indices=True
    )
    filled: NDArray[np.unsignedinteger] = segmentation[tuple(nearest)]
    return filled


def _only_where(truth: NDArray[np.unsignedinteger], reference: ArrayLike | None) -> NDArray[np.unsignedinteger]:
    if reference is None:
        raise ConfigError(
            "the policy 'common' needs a reference segmentation; name one, or use 'one_object' or 'filled'"
        )
    labelled = np.asarray(reference) != 0
    if labelled.shape != truth.shape:
        raise GeometryError(f"the reference has shape {labelled.shape} but the truth {truth.shape}")
    return np.where(labelled, truth, truth.dtype.type(0))
