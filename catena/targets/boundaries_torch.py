"""Widened boundaries, and rims of objects, in torch, on whatever device the labels lie."""

from __future__ import annotations

import torch


def torch_erode_boundaries(labels: torch.Tensor, steps: int = 1, only_xy: bool = False) -> torch.Tensor:
    """Set voxels to 0 that lie within `steps` of another label, as :func:`catena.targets.erode_boundaries`.

    Parameters
    ----------
    labels
        ``(b, z, y, x)`` integers, 0 is background.
    steps
        Number of erosions by one voxel.
    only_xy
        Do not erode across sections.

    Returns
    -------
    torch.Tensor
        A copy of `labels`, eroded.
    """
    eroded = labels.clone()
    for _ in range(steps):
        boundary = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
        for axis in (2, 3) if only_xy else (1, 2, 3):
            size = labels.shape[axis] - 1
            different = eroded.narrow(axis, 0, size) != eroded.narrow(axis, 1, size)
            boundary.narrow(axis, 0, size).logical_or_(different)
            boundary.narrow(axis, 1, size).logical_or_(different)
        eroded.masked_fill_(boundary, 0)
    return eroded


def torch_contour(labels: torch.Tensor, only_xy: bool = False) -> torch.Tensor:
    """Return 1 at the rims of objects, as :func:`catena.targets.contour`: ``(b, 1, z, y, x)`` bool."""
    return ((labels != 0) & (torch_erode_boundaries(labels, 1, only_xy) == 0))[:, None]
