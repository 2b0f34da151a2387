"""Local shape descriptors: neurons from raw electron microscopy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catena.targets import descriptor_context_nm, shape_descriptors
    from catena.targets.shape_descriptors_torch import torch_shape_descriptors

__all__ = ["descriptor_context_nm", "shape_descriptors", "torch_shape_descriptors"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, not before: the command line starts without numba and torch."""
    if name == "torch_shape_descriptors":
        from catena.targets.shape_descriptors_torch import torch_shape_descriptors

        return torch_shape_descriptors
    if name in __all__:
        from catena import targets

        return getattr(targets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
