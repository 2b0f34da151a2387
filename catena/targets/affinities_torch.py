"""Affinities in torch, on whatever device the labels lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from funlib.geometry import Coordinate

from catena.targets.affinities import pair_slices


def torch_affinities(
    labels: torch.Tensor, offsets: Sequence[Coordinate], known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute affinities of a batch of labels and where they are known, as :func:`catena.targets.affinities`.

    Parameters
    ----------
    labels
        ``(b, z, y, x)`` integers, 0 is background.
    offsets
        In voxels.
    known
        ``(b, z, y, x)`` bool, where the labels (background included) are known.

    Returns
    -------
    affinities, mask
        ``(b, k, z, y, x)`` bool, on the device of `labels`.
    """
    batch, *shape = labels.shape
    values = torch.zeros((batch, len(offsets), *shape), dtype=torch.bool, device=labels.device)
    mask = torch.zeros_like(values)
    for k, offset in enumerate(offsets):
        here, there = ((slice(None), *each) for each in pair_slices(tuple(shape), offset))
        values[:, k][here] = (labels[here] == labels[there]) & (labels[here] != 0)
        mask[:, k][here] = known[here] & known[there]
    return values, mask
