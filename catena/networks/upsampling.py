"""From a level to the one above: voxels repeated, learned, or interpolated, always exactly local."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from catena.networks.config import PerAxis, UNetConfig


class Linear(nn.Module):
    """Linear interpolation along every axis, without the voxels for which it would need one beyond the border.

    Between the centres of two coarse voxels lie `factor` fine ones. Those outside the outermost centres,
    half of `factor` at either end, are not returned: torch's trilinear upsampling would repeat the last
    coarse voxel there, so that a voxel's value would depend on where its patch ends. With ``padding:
    same`` they are, as everything nearer to the border than the context feels the padding anyhow.

    Written as weighted sums of neighbours: the gradient of torch's interpolation on GPUs is not the same
    twice.
    """

    def __init__(self, factor: PerAxis, *, padded: bool) -> None:
        super().__init__()
        self.factor = factor
        self.padded = padded

    def forward(self, x: Tensor) -> Tensor:
        """Upsample ``(b, c, z, y, x)``."""
        for axis, factor in enumerate(self.factor, start=2):
            if factor > 1:
                x = self._along(x, axis, factor)
        return x

    def _along(self, x: Tensor, axis: int, factor: int) -> Tensor:
        size = x.shape[axis]
        if self.padded:
            x = torch.cat((x.narrow(axis, 0, 1), x, x.narrow(axis, size - 1, 1)), axis)
        intervals = x.shape[axis] - 1
        low, high = x.narrow(axis, 0, intervals), x.narrow(axis, 1, intervals)
        shift = 0.0 if factor % 2 else 0.5  # odd factors: one of the fine voxels lies on the coarse one's centre
        between = [torch.lerp(low, high, (k + shift) / factor) for k in range(factor)]
        fine = torch.stack(between, axis + 1).flatten(axis, axis + 1)
        if factor % 2:
            fine = torch.cat((fine, x.narrow(axis, intervals, 1)), axis)
        return fine.narrow(axis, (factor + 1) // 2, size * factor) if self.padded else fine


def build_upsampling(config: UNetConfig, below_maps: int, maps: int, factor: PerAxis) -> tuple[nn.Module, int]:
    """Return the module that upsamples, and its number of feature maps."""
    scale = tuple(float(f) for f in factor)
    if config.upsampling == "transposed":
        return nn.ConvTranspose3d(below_maps, maps, factor, stride=factor), maps
    if config.upsampling == "nearest":
        return nn.Upsample(scale_factor=scale, mode="nearest"), below_maps
    # A pointwise convolution commutes with repetition and interpolation: done first, it costs a fraction.
    linear = config.upsampling == "linear"
    spread = (
        Linear(factor, padded=config.padding == "same") if linear else nn.Upsample(scale_factor=scale, mode="nearest")
    )
    return nn.Sequential(nn.Conv3d(below_maps, maps, 1), spread), maps
