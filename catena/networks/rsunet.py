"""The residual symmetric U-Net (RSUNet), as settings of a U-Net."""

from __future__ import annotations

from typing import Any

RSUNET: dict[str, Any] = {
    "feature_maps": (18, 36, 48, 64, 80),
    "residual": True,
    "pre_activation": True,
    "skip": "add",
    "upsampling": "linear",
    "normalisation": "batch",
    "activation": "elu",
}
"""What makes a U-Net of four steps an RSUNet (Lee et al. 2017).

Residual blocks with normalisation and activation before their convolutions, additive skip connections,
linear upsampling, and nearly as many feature maps above as below.

Kernels and downsampling follow the voxel size, in plane first, as those published do. Another number
of levels needs other ``feature_maps``.

Examples
--------
>>> from funlib.geometry import Coordinate
>>> from catena.networks import unet_for_voxel_size
>>> unet = unet_for_voxel_size(Coordinate(40, 8, 8), levels=4, **RSUNET)
>>> unet.passes_down[0], unet.downsampling
(((1, 3, 3), (1, 3, 3)), ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)))
"""
