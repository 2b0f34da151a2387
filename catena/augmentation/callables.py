"""Plain callables, and transforms of torchvision and MONAI, on volumes.

A callable is one of three things:

- a function of an image, ``f(image) -> image``, NumPy float32 ``(z, y, x)`` in [0, 1] (intensity);
- a ``torch.nn.Module``, called with a tensor ``(b, c, z, y, x)`` (intensity);
- a function of a dictionary, ``f(arrays) -> arrays``, by name (``image``, ``labels``, ``mask``, …),
  tensors ``(c, z, y, x)`` (geometric). MONAI's dictionary transforms are of this form.

Where it takes an argument ``rng``, it is given a ``numpy.random.Generator``.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catena.augmentation.adapter import Adapter, Arrays, Context


@dataclass
class ImageCallable(Adapter):
    """A function of one image, called for each crop; labels stay what they are."""

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return the changed images; several images of a crop see the same random numbers."""
        state = torch.get_rng_state()
        changed = {}
        for name in context.names("image"):
            torch.set_rng_state(state)
            changed[name] = self._changed(arrays[name], context)
        return changed

    def _changed(self, image: Tensor, context: Context) -> Tensor:
        if isinstance(self.augmentation, torch.nn.Module):
            return torch.as_tensor(self.augmentation(image))
        rng = np.random.default_rng(context.seed)
        values = [
            np.stack([np.asarray(_call(self.augmentation, channel, rng)) for channel in crop])
            for crop in image.cpu().numpy()
        ]
        return torch.from_numpy(np.stack(values).astype(np.float32)).to(image.device)


@dataclass
class DictionaryCallable(Adapter):
    """A function of all arrays of a crop by name; it must move labels by nearest neighbour itself."""

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return the arrays of all crops."""
        _seed_own_generator(self.augmentation, context.seed)
        rng = np.random.default_rng(context.seed)
        crops = []
        for index in range(len(next(iter(arrays.values())))):
            given = {name: arrays[name][index].clone() for name in context.roles}
            returned = _call(self.augmentation, given, rng)
            if not hasattr(returned, "keys") or not set(given) <= set(returned.keys()):
                raise self.refusal(
                    f"must return a dictionary with {', '.join(given)}, returned "
                    f"{sorted(returned.keys()) if hasattr(returned, 'keys') else type(returned).__name__}"
                )
            crops.append({name: _plain(returned[name]) for name in given})
        return {name: torch.stack([crop[name] for crop in crops]) for name in context.roles}


@dataclass
class TorchvisionTransform(Adapter):
    """A transform of ``torchvision.transforms.v2``: sections are images, all of a crop treated alike."""

    def check_roles(self, context: Context) -> None:
        """Refuse pixels that are not square, and vectors."""
        super().check_roles(context)
        if self.kind == "geometric" and context.voxel_size[1] != context.voxel_size[2]:
            raise self.refusal(
                f"turns pixels, which are not square ({context.voxel_size[1]:g} by {context.voxel_size[2]:g})"
            )
        if self.kind == "geometric" and context.names("vectors"):
            raise self.refusal(f"moves voxels in a way that {context.names('vectors')[0]} cannot be turned by")

    def apply(self, arrays: Arrays, context: Context) -> Arrays:
        """Return all arrays, those that are no images wrapped as masks."""
        from torchvision import tv_tensors

        names = [name for name in context.roles if self.kind != "intensity" or context.roles[name] == "image"]
        crops = []
        for index in range(len(arrays[names[0]])):
            sections = {name: arrays[name][index].transpose(0, 1) for name in names}
            wrapped = {
                name: tv_tensors.Image(each) if context.roles[name] == "image" else tv_tensors.Mask(each)
                for name, each in sections.items()
            }
            returned = self.augmentation(wrapped)
            crops.append({name: _plain(returned[name]).transpose(0, 1) for name in names})
        return {name: torch.stack([crop[name] for crop in crops]) for name in names}


def _call(function: Any, argument: Any, rng: np.random.Generator) -> Any:
    return function(argument, rng=rng) if takes_rng(function) else function(argument)


def takes_rng(function: Any) -> bool:
    """Tell whether a callable has an argument ``rng``; compiled ones without a signature have none."""
    try:
        return "rng" in inspect.signature(function).parameters
    except ValueError:
        return False


def _plain(array: Any) -> Tensor:
    """Return an array of any class, MONAI's and torchvision's tensors among them, as a plain tensor."""
    tensor = torch.as_tensor(array)
    return tensor.as_subclass(torch.Tensor).to(torch.float32)


def _seed_own_generator(augmentation: Any, seed: int) -> None:
    """Seed transforms that keep a generator of their own, as MONAI's do."""
    if hasattr(augmentation, "set_random_state"):
        augmentation.set_random_state(seed=seed % 2**32)
