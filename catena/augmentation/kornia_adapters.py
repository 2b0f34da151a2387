"""Kornia's augmentations on volumes.

Kornia's own ``AugmentationSequential`` raises for masks in 3D, so parameters are drawn once and
applied array by array. Its 2D augmentations take the sections of a volume as channels (all moved
alike) or as a batch of images (intensities, each section on its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catena.augmentation.adapter import Adapter, Arrays, Context
from catena.augmentation.roles import NEAREST

_OUT_OF_PLANE = ("yaw", "pitch")
_COPYING_MIXES = ("RandomTransplantation", "RandomTransplantation3D", "RandomCutMixV2")


def kornia_adapter(augmentation: Any) -> Adapter | None:
    """Return the adapter of an augmentation of Kornia, or None if it is none."""
    from kornia import augmentation as kornia
    from kornia.augmentation._3d.intensity.base import IntensityAugmentationBase3D

    if isinstance(augmentation, torch.nn.Sequential):
        raise KorniaIntensity(augmentation).refusal("is a container: list its members one by one instead")
    if isinstance(augmentation, kornia.MixAugmentationBaseV2):
        return KorniaMix(augmentation, "mix")
    flat = isinstance(augmentation, kornia.AugmentationBase2D)
    if not flat and not isinstance(augmentation, kornia.AugmentationBase3D):
        return None
    intensity = (kornia.IntensityAugmentationBase2D, IntensityAugmentationBase3D)
    if isinstance(augmentation, intensity):
        return KorniaIntensity(augmentation, "intensity", flat)
    return KorniaGeometric(augmentation, "geometric", flat)


@dataclass
class KorniaIntensity(Adapter):
    """Changes images only; a 2D augmentation draws anew for every section unless it is ``same_on_batch``."""

    flat: bool = False

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return the images, all changed with the same parameters."""
        params, changed = None, {}
        for name in context.names("image"):
            image = arrays[name]
            planes = image.transpose(1, 2).flatten(0, 1) if self.flat else image
            if params is None:
                params = self.augmentation.forward_parameters(planes.shape)
            values = self.augmentation(planes, params=params)
            changed[name] = values.reshape(image.transpose(1, 2).shape).transpose(1, 2) if self.flat else values
        return changed


@dataclass
class KorniaGeometric(Adapter):
    """Moves all arrays; rotations of sections stay in plane."""

    flat: bool = False

    def check_roles(self, context: Context) -> None:
        """Refuse vectors where it is not known how they turn."""
        super().check_roles(context)
        if context.names("vectors") and not hasattr(self.augmentation, "generate_transformation_matrix"):
            raise self.refusal(f"moves voxels in a way that {context.names('vectors')[0]} cannot be turned by")

    def try_out(self, context: Context) -> None:
        """Try it on a small batch, in which every crop is moved."""
        shape = (2, 1, 2, 64, 64) if self.flat else (2, 1, 16, 16, 16)
        trial = (torch.arange(torch.Size(shape).numel()) % 7).reshape(shape).to(torch.float32)
        params = self._draw(trial, context)
        params["batch_prob"] = torch.ones_like(params["batch_prob"])
        moved = self._move(trial, params, nearest=True)
        if moved.shape != shape:
            raise self.refusal("changes the shape of a crop")
        if not torch.isin(moved, trial).all():
            raise self.refusal("interpolates labels, and has no way not to")
        matrix = self._matrix(trial, params)
        if matrix is not None:
            self._check_plane(matrix, context)

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return all arrays, moved with the same parameters."""
        first = arrays[context.names("image", *NEAREST)[0]]
        params = self._draw(first, context)
        matrix = self._matrix(first, params)
        if matrix is not None:
            self._check_plane(matrix, context)
        moved = {}
        for name, role in context.roles.items():
            moved[name] = self._move(arrays[name], params, nearest=role in NEAREST)
            if role == "vectors" and matrix is not None:
                moved[name] = turned(moved[name], matrix, context.voxel_size)
        return moved

    def _draw(self, array: Tensor, context: Context) -> dict[str, Tensor]:
        """Draw parameters; turns out of the plane of anisotropic voxels are set to 0."""
        params: dict[str, Tensor] = self.augmentation.forward_parameters(self._planes(array).shape)
        z, y, x = context.voxel_size
        if z != y or z != x:
            for name in _OUT_OF_PLANE:
                if name in params:
                    params[name] = torch.zeros_like(params[name])
            if params.get("angles", torch.empty(0)).shape[-1:] == (3,):
                params["angles"] = params["angles"] * torch.tensor([0.0, 0.0, 1.0], device=params["angles"].device)
        return params

    def _planes(self, array: Tensor) -> Tensor:
        return array.flatten(1, 2) if self.flat else array

    def _move(self, array: Tensor, params: dict[str, Tensor], *, nearest: bool) -> Tensor:
        from kornia.constants import Resample

        flags = self.augmentation.flags
        if nearest and "resample" in flags:
            flags = {**flags, "resample": Resample.NEAREST}
        moved: Tensor = self.augmentation.apply_func(self._planes(array), params, flags)
        return moved.reshape(*array.shape[:3], *moved.shape[-2:]) if self.flat else moved

    def _matrix(self, array: Tensor, params: dict[str, Tensor]) -> Tensor | None:
        """Return where directions ``z, y, x`` in voxels go, ``(b, 3, 3)``, if the map is linear in them."""
        if not hasattr(self.augmentation, "generate_transformation_matrix"):
            return None
        planes = self._planes(array)
        matrix = self.augmentation.generate_transformation_matrix(planes, params, self.augmentation.flags)
        if bool((matrix[:, -1, :-1].abs() > 1e-6).any()):
            raise self.refusal("is a perspective: directions differ from voxel to voxel")
        size = matrix.shape[-1] - 1
        linear = torch.eye(3, device=matrix.device, dtype=matrix.dtype).repeat(len(array), 1, 1)
        linear[:, 3 - size :, 3 - size :] = matrix[:, :size, :size].flip(1, 2)  # kornia's order is x, y, z
        return linear

    def _check_plane(self, matrix: Tensor, context: Context) -> None:
        """Refuse a map that turns one axis into another of a different voxel size."""
        sizes = torch.tensor(context.voxel_size, device=matrix.device)
        differ = sizes[:, None] != sizes[None]
        if bool((matrix.abs()[:, differ] > 1e-4).any()):
            shown = ", ".join(f"{size:g}" for size in context.voxel_size)
            raise self.refusal(
                f"turns axes into one another whose voxel sizes differ ({shown}); "
                "use an augmentation that stays in plane"
            )


def turned(vectors: Tensor, matrix: Tensor, voxel_size: tuple[float, float, float]) -> Tensor:
    """Return `vectors` ``(b, 3, z, y, x)`` in world units, after voxels moved by `matrix` ``(b, 3, 3)``."""
    sizes = torch.tensor(voxel_size, device=matrix.device, dtype=matrix.dtype)
    in_world = sizes[:, None] * matrix / sizes[None]
    return torch.einsum("bij,bjzyx->bizyx", in_world.to(vectors.dtype), vectors)


@dataclass
class KorniaMix(Adapter):
    """Copies voxels from one crop of a batch into another, in all arrays alike."""

    def check_roles(self, context: Context) -> None:
        """Refuse mixes that blend, which labels cannot follow, and arrays that a cut makes wrong."""
        super().check_roles(context)
        name = type(self.augmentation).__name__
        if name not in _COPYING_MIXES:
            raise self.refusal(
                f"mixes crops in a way that labels cannot follow; use one of {', '.join(_COPYING_MIXES)}"
            )
        if context.names("vectors"):
            raise self.refusal(f"cuts objects, to whose other parts {context.names('vectors')[0]} point")
        if "Transplantation" in name and not context.names("labels"):
            raise self.refusal("chooses objects by their labels, and there is no array with this role")

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return all arrays, with the same voxels copied."""
        names = list(context.roles)
        flat = "Transplantation" not in type(self.augmentation).__name__
        if len(arrays[names[0]]) < 2:
            raise self.refusal("mixes the crops of a batch, and there is only one")
        if not flat:
            labels = arrays[context.names("labels")[0]][:, 0]
            mixed = self.augmentation(
                *(arrays[name] for name in names), labels, data_keys=[*("input" for _ in names), "mask"]
            )
            return dict(zip(names, mixed[:-1], strict=True))
        params, copied = None, {}
        for name in names:
            planes = arrays[name].flatten(1, 2)
            out = self.augmentation(planes, params=params, data_keys=["input"])
            params = self.augmentation._params
            copied[name] = out.reshape(arrays[name].shape)
        return copied
