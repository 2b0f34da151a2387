"""Local shape descriptors: neurons from raw electron microscopy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catena.targets import descriptor_context_nm, shape_descriptors
    from catena.targets.shape_descriptors_torch import torch_shape_descriptors
    from local_shape_descriptors.instance_segmenter import segment_affinities, segment_volume

_HOME = {
    "descriptor_context_nm": "catena.targets",
    "shape_descriptors": "catena.targets",
    "torch_shape_descriptors": "catena.targets.shape_descriptors_torch",
    "segment_affinities": "local_shape_descriptors.instance_segmenter",
    "segment_volume": "local_shape_descriptors.instance_segmenter",
}

__all__ = [
    "descriptor_context_nm",
    "segment_affinities",
    "segment_volume",
    "shape_descriptors",
    "torch_shape_descriptors",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, not before: the command line starts without numba and torch."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
