"""What networks are trained on, computed from labels: pure functions on arrays."""

from catena.targets.affinities import affinities
from catena.targets.balance import balance_weights
from catena.targets.boundaries import erode_boundaries
from catena.targets.distance import distance
from catena.targets.foreground import contour, foreground
from catena.targets.shape_descriptors import descriptor_context_nm, descriptor_context_vox, shape_descriptors
from catena.targets.shape_descriptors_components import component_channels

__all__ = [
    "affinities",
    "balance_weights",
    "component_channels",
    "contour",
    "descriptor_context_nm",
    "descriptor_context_vox",
    "distance",
    "erode_boundaries",
    "foreground",
    "shape_descriptors",
]
