"""Moments of a batch of objects about each of their own voxels, in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.fft import next_fast_len

from catena.targets.shape_descriptors_batches import Batch
from catena.targets.shape_descriptors_windows import BallWindow

POWERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))
"""Of z, y, x in the ten moments: mass, z, y, x, zz, yy, xx, zy, zx, yx."""


def gaussian_moments(batch: Batch, kernels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ``(10, objects, z, y, x)`` in the target boxes, in units of sigma, float64.

    `kernels` are those of a Gaussian window, one per axis, on the device of the batch.

    A pass along an axis is a product with a banded matrix, from the source's extent to the target's; passes are
    shared between moments as in :mod:`catena.targets.moments`. On matrices of a few hundred rows that is faster
    than convolution, on GPUs and CPUs alike.
    """
    z, y, x = (_bands(batch, kernel, axis) for axis, kernel in enumerate(kernels))
    along_x = torch.einsum("kzyx,kaux->akzyu", batch.masks.to(torch.float64), x)
    along_y = {
        (power, order): each
        for power in range(3)
        for order, each in enumerate(torch.einsum("akzyu,kvy->akzvu", along_x[: 3 - power], y[:, power]))
    }
    del along_x
    return torch.stack([torch.einsum("kzvu,kwz->kwvu", along_y[b, c], z[:, a]) for a, b, c in POWERS])


def _bands(batch: Batch, kernel: torch.Tensor, axis: int) -> torch.Tensor:
    """Return ``(objects, 3, target, source)``: d^a G(d) of the steps d from each target to each source position."""
    size = kernel.shape[1]
    padded = torch.nn.functional.pad(kernel, (1, 1))
    source = batch.sources[:, axis, None, None] + _range(batch.source_shape[axis], batch)
    target = batch.targets[:, axis, None, None] + _range(batch.target_shape[axis], batch)[:, None]
    steps = (source - target + size // 2 + 1).clamp(0, size + 1)
    return padded[:, steps].movedim(0, 1)


def ball_moments(batch: Batch, window: BallWindow) -> torch.Tensor:
    """Return ``(10, objects, z, y, x)`` in the target boxes, in units of sigma and of the ball's voxels, float64.

    A ball is not separable: its moments are correlations, by Fourier transforms. In units of voxels they are
    whole numbers, so that rounding makes them exact.
    """
    shape = [
        next_fast_len(size + radius, real=True) for size, radius in zip(batch.source_shape, window.radii, strict=True)
    ]
    device = batch.masks.device
    spectrum = torch.fft.rfftn(batch.masks.to(torch.float64), shape)
    inside = torch.as_tensor(window.inside, device=device)
    steps = (inside.nonzero() - torch.tensor(window.radii, device=device)).unbind(1)
    where = tuple(step % size for step, size in zip(steps, shape, strict=True))
    count = int(inside.sum())
    moments = []
    for powers in POWERS:
        kernel = torch.zeros(shape, dtype=torch.float64, device=device)
        unit = 1.0
        weights = torch.ones(count, dtype=torch.float64, device=device)
        for step, power, each in zip(steps, powers, window.units, strict=True):
            weights, unit = weights * step**power, unit * each**power
        kernel.index_put_(where, weights, accumulate=True)
        found = torch.fft.irfftn(spectrum * torch.fft.rfftn(kernel).conj(), shape)
        moments.append(found.round() * (unit / count))
    z, y, x = batch.target_shape  # boxes of sources and targets are the same
    return torch.stack(moments)[:, :, :z, :y, :x]


def _range(size: int, batch: Batch) -> torch.Tensor:
    return torch.arange(size, device=batch.masks.device)
