"""Find out what a foreign augmentation is."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

from catena.augmentation.adapter import Adapter
from catena.augmentation.callables import DictionaryCallable, ImageCallable, TorchvisionTransform
from catena.errors import ConfigError
from catena.nodes.extra_config import Kind


def adapt(augmentation: Any, kind: Kind | None = None) -> Adapter:
    """Return what applies `augmentation` to arrays with roles.

    Parameters
    ----------
    augmentation
        Of Kornia, torchvision v2 or MONAI, or any callable (see :mod:`catena.augmentation.callables`).
    kind
        What it does; needed only for a callable of no such package that moves voxels.

    Raises
    ------
    ConfigError
        If it cannot be called, or is of a form that cannot keep image and labels together.
    """
    if not callable(augmentation):
        raise ConfigError(f"an augmentation must be callable, found {augmentation!r}")
    adapter = _known(augmentation)
    if adapter is None:
        if kind == "mix":
            raise ImageCallable(augmentation).refusal("cannot mix crops: only augmentations of Kornia can")
        return DictionaryCallable(augmentation, kind) if kind == "geometric" else ImageCallable(augmentation)
    if kind is not None and kind != adapter.kind:
        raise adapter.refusal(f"is of kind {adapter.kind}, not {kind}")
    return adapter


def could_be_augmentation(found: Any) -> bool:
    """Tell of a class or function whether :func:`adapt` may take what it makes.

    It takes no abstract class, and of Kornia neither the base classes nor containers of several augmentations.
    """
    if not inspect.isclass(found):
        return inspect.isroutine(found)
    if inspect.isabstract(found):
        return False
    if not _of_kornia(found):
        return True
    from kornia import augmentation as kornia

    kinds = (kornia.AugmentationBase2D, kornia.AugmentationBase3D, kornia.MixAugmentationBaseV2)
    return issubclass(found, kinds) and not _is_base_of_kornia(found)


def _of_kornia(found: type) -> bool:
    modules = [each.__module__ for each in found.__mro__]
    return any(each.startswith("kornia.augmentation") for each in modules) and bool(importlib.util.find_spec("kornia"))


def _is_base_of_kornia(found: type) -> bool:
    """Tell a base class, which is not abstract to Python, by its module: they are all called `base`."""
    return found.__module__.startswith("kornia.augmentation") and found.__module__.endswith(".base")


def _known(augmentation: Any) -> Adapter | None:
    modules = [each.__module__ for each in type(augmentation).__mro__]
    if _of_kornia(type(augmentation)):
        from catena.augmentation.kornia_adapters import kornia_adapter

        if _is_base_of_kornia(type(augmentation)):
            raise ImageCallable(augmentation).refusal("is a base class, which changes nothing: name one of its kind")
        return kornia_adapter(augmentation)
    if any(each.startswith("torchvision.transforms") for each in modules):
        return _torchvision(augmentation, modules)
    if any(each.startswith("monai.transforms") for each in modules):
        return _monai(augmentation, modules)
    return None


_INTENSITIES_OF_MISC = {"GaussianBlur", "GaussianNoise", "Normalize", "ToDtype", "ConvertImageDtype"}
"""What changes images only, in the module in which torchvision keeps transforms of several kinds."""


def _torchvision(augmentation: Any, modules: list[str]) -> Adapter:
    if not any(each.startswith("torchvision.transforms.v2") for each in modules):
        raise ImageCallable(augmentation).refusal(
            "moves image and labels apart, as all of torchvision's first transforms do: use torchvision.transforms.v2"
        )
    changes_values = modules[0].endswith("_color") or (
        modules[0].endswith("_misc") and type(augmentation).__name__ in _INTENSITIES_OF_MISC
    )
    return TorchvisionTransform(augmentation, "intensity" if changes_values else "geometric")


def _monai(augmentation: Any, modules: list[str]) -> Adapter:
    if any(each.__name__ == "MapTransform" for each in type(augmentation).__mro__):
        return DictionaryCallable(augmentation, "geometric")
    if modules[0].startswith("monai.transforms.intensity"):
        return ImageCallable(augmentation)
    raise ImageCallable(augmentation).refusal(
        "takes one array, so that image and labels could move apart: use its dictionary form, whose name ends in 'd'"
    )
