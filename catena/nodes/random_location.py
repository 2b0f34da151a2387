"""Move a request to a random place of a volume."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi


class RandomLocation(gp.BatchFilter):
    """Shift each request so that its target lies at a random place in `region`.

    Only the target is kept inside: the context that augmentation and descriptors add around it may
    reach outside, where the source mirrors its region. Hence a volume of any size can be trained on,
    and voxels at its border are seen as often as crops allow.

    Parameters
    ----------
    region
        World units, on the voxel grid. Where it is smaller than the target, the target covers it.
    target
        The box, in the coordinates of the requests that arrive here, that is kept inside `region`.
    """

    def __init__(self, region: Roi, target: Roi):
        self.region = region
        self.target = target

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Draw the shift from the request's seed and move all regions of interest by it."""
        voxel_size = self.spec.get_lcm_voxel_size(request.array_specs.keys())
        rng = np.random.default_rng(request.random_seed)
        self._shift = random_shift(rng, self.region, self.target, voxel_size)
        for spec in request.array_specs.values():
            spec.roi = spec.roi.shift(self._shift)
        return request

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Fetch the shifted request and move what came back to where it was asked for."""
        upstream = self.prepare(request.copy())
        batch = self.get_upstream_provider().request_batch(upstream)
        for key, spec in request.array_specs.items():
            batch[key].spec.roi = spec.roi
        return batch


def random_shift(rng: np.random.Generator, region: Roi, target: Roi, voxel_size: Coordinate) -> Coordinate:
    """Return a uniform shift, a multiple of `voxel_size`, after which `target` lies inside `region`.

    Along an axis where `region` is smaller than `target`, the shifted target contains it instead.
    """
    begins, ends = region.begin - target.begin, region.end - target.end
    shift = []
    for begin, end, size in zip(begins, ends, voxel_size, strict=True):
        low, high = sorted((int(begin), int(end)))
        shift.append(low + int(rng.integers(0, (high - low) // int(size) + 1)) * int(size))
    return Coordinate(shift)
