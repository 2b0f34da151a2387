"""Weights that make both classes of a binary target count alike, in torch."""

from __future__ import annotations

import torch


def torch_balance_weights(
    target: torch.Tensor, mask: torch.Tensor, clip: tuple[float, float] = (0.05, 0.95)
) -> torch.Tensor:
    """Weight the voxels of every member of a batch by itself, as :func:`catena.targets.balance_weights`.

    Nothing is brought to the CPU, so a GPU need not wait.

    Parameters
    ----------
    target, mask
        ``(b, …)`` bool of one shape: the target, and where it is known.
    clip
        Bounds of the fraction of a class.

    Returns
    -------
    torch.Tensor
        float32 of the shape of `target`, 0 where it is not known.
    """
    axes = tuple(range(1, target.ndim))
    total = mask.sum(axes, keepdim=True)
    positive = (target & mask).sum(axes, keepdim=True)
    fraction = (positive.double() / total.clamp(min=1)).clamp(*clip)
    here, elsewhere = ((0.5 / each).float() for each in (fraction, 1 - fraction))
    return torch.where(target, here, elsewhere) * mask
