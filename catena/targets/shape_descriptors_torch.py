"""Local shape descriptors in torch, on whatever device the labels lie: within a training step, on its GPU."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from funlib.geometry import Coordinate

from catena.errors import DataError
from catena.targets.moments_torch import ball_moments, gaussian_moments
from catena.targets.shape_descriptors_batches import Batch, Objects, find_objects, similar_objects
from catena.targets.shape_descriptors_components import Components
from catena.targets.shape_descriptors_settings import DescriptorSettings, Roi, Sigma
from catena.targets.shape_descriptors_windows import GaussianWindow, Mode


def torch_shape_descriptors(
    labels: torch.Tensor,
    voxel_size: Coordinate,
    sigma_nm: Sigma,
    downsample: int = 1,
    roi: Roi | None = None,
    *,
    mode: Mode = "gaussian",
    components: Components | None = None,
    labels_subset: Collection[int] | None = None,
    units_per_nm: int = 1,
) -> torch.Tensor:
    """Compute the local shape descriptors of every labelled voxel, of one volume or of a batch.

    The same values as :func:`catena.targets.shape_descriptors`, whose parameters these are. Objects of similar
    extent are treated together. Sums are float64, which neither autocast nor TF32 touches.

    Parameters
    ----------
    labels
        ``(z, y, x)`` or ``(b, z, y, x)`` integers, 0 is background; with a voxel size of two axes ``(y, x)`` or
        ``(b, y, x)``. Equal labels in different members of a batch are different objects.
    voxel_size, sigma_nm, downsample, roi, mode, components, labels_subset, units_per_nm
        See :func:`catena.targets.shape_descriptors`; the roi has no slice for the batch.

    Returns
    -------
    torch.Tensor
        ``(10, z, y, x)`` or ``(b, 10, z, y, x)`` float32 in [0, 1] on the device of `labels`; six channels in 2D.

    Raises
    ------
    DataError
        If the labels are no integers or have other axes, or mode or components are unknown.
    GeometryError
        If sigma, roi and voxel size differ in dimensions, a value is not positive, or the roi is empty or leaves
        the labels.
    """
    dimensions = len(voxel_size)
    if dimensions not in (2, 3) or labels.ndim - dimensions not in (0, 1) or not _whole(labels):
        raise DataError(
            f"labels must be integers with the {dimensions} axes of the voxel size, or one more for a batch; found "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
    shape = tuple(labels.shape[-dimensions:])
    settings = DescriptorSettings.parse(shape, voxel_size, sigma_nm, downsample, roi, mode, components, units_per_nm)
    volumes = labels.reshape(-1, *((1,) * (3 - dimensions)), *shape)
    with torch.no_grad():
        described = _described(find_objects(volumes, settings, labels_subset), settings)
    if dimensions == 2:
        described = described[:, :, 0]
    return described if labels.ndim > dimensions else described[0]


def _whole(labels: torch.Tensor) -> bool:
    return not (labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool)


def _described(objects: Objects, settings: DescriptorSettings) -> torch.Tensor:
    """Return ``(b, channels, z, y, x)``."""
    batch, *shape = objects.shape
    device = objects.owners.device
    channels = torch.tensor(settings.channels, device=device)
    out = torch.zeros((batch, *shape, len(channels)), dtype=torch.float32, device=device)
    lines, describe = out.view(-1, len(channels)), _describer(settings, device)
    for each in similar_objects(objects, settings):
        values = describe(each)[..., channels].to(torch.float32)
        z, y, x = (objects.positions[each.chosen] - each.targets[each.members]).T
        lines[objects.voxels[each.chosen]] = values[each.members, z, y, x]
    return out.movedim(-1, 1).contiguous()


def _describer(settings: DescriptorSettings, device: torch.device) -> Callable[[Batch], torch.Tensor]:
    """Return what makes descriptors ``(objects, z, y, x, 10)`` in the objects' target boxes, float64."""
    window, floors = settings.window, torch.as_tensor(settings.floors, device=device)
    if isinstance(window, GaussianWindow):
        kernels = [torch.as_tensor(each, device=device) for each in window.kernels]
        return lambda batch: _normalised(gaussian_moments(batch, kernels), floors, window.offset_scale)
    return lambda batch: _normalised(ball_moments(batch, window), floors, window.offset_scale)


_PAIRS = ((0, 1), (0, 2), (1, 2))


def _normalised(moments: torch.Tensor, floors: torch.Tensor, offset_scale: float) -> torch.Tensor:
    """Turn moments ``(10, …)`` in units of sigma into descriptors ``(…, 10)``."""
    mass = moments[0]
    relative = moments[1:] * torch.where(mass > 0, 1 / mass, 0)
    mean, squares, products = relative[:3], relative[3:6], relative[6:]
    floors = floors.view(3, *[1] * mass.ndim)
    variance = torch.maximum(squares - mean**2, floors)
    correlation = [
        (product - mean[i] * mean[j]) / torch.sqrt(variance[i] * variance[j])
        for product, (i, j) in zip(products, _PAIRS, strict=True)
    ]
    values = [*(mean * offset_scale + 0.5), *variance, *(each / 2 + 0.5 for each in correlation), mass]
    return torch.stack(values, dim=-1).clamp(0, 1)
