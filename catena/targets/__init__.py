"""What networks are trained on, computed from labels: pure functions on arrays."""

from catena.targets.affinities import affinities
from catena.targets.balance import balance_weights
from catena.targets.boundaries import erode_boundaries
from catena.targets.descriptors import descriptor_context_nm, shape_descriptors

__all__ = ["affinities", "balance_weights", "descriptor_context_nm", "erode_boundaries", "shape_descriptors"]
