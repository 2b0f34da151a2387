"""Local shape descriptors: statistics of the part of an object that lies near a voxel."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import fastremap
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import DataError
from catena.targets.moments import fill_descriptors
from catena.targets.moments_objects import Scaling, Scene, bounding_boxes
from catena.targets.moments_sphere import fill_sphere_descriptors
from catena.targets.shape_descriptors_components import Components
from catena.targets.shape_descriptors_settings import DescriptorSettings, Roi, Sigma, sigma_per_axis
from catena.targets.shape_descriptors_windows import GaussianWindow, Mode, reach_in_sigma


def shape_descriptors(
    labels: NDArray[np.integer],
    voxel_size: Coordinate,
    sigma_nm: Sigma,
    downsample: int = 1,
    threads: int = 1,
    roi: Roi | None = None,
    *,
    mode: Mode = "gaussian",
    components: Components | None = None,
    labels_subset: Collection[int] | None = None,
    units_per_nm: int = 1,
    in_plane: bool = False,
) -> NDArray[np.float32]:
    """Compute the local shape descriptors of every labelled voxel.

    Around each voxel the part of its own object inside a window describes itself: the offset of its
    centre of mass, its variances and correlations, its mass. All sums are float64.

    Parameters
    ----------
    labels
        ``(z, y, x)`` or ``(y, x)`` integers, 0 is background.
    voxel_size
        One number per axis, in the unit of `sigma_nm`.
    sigma_nm
        Reach of the window: one number, or one per axis.
    downsample
        Compute at every n-th voxel along each axis and repeat: n = 2 is about eight times faster.
        A voxel of an object none of whose sampled voxels lies within the window gets a centred,
        massless descriptor.
    threads
        Objects worked on at once; data-loading workers want 1.
    roi
        Where descriptors are wanted, in voxels of `labels`, one slice per axis; everywhere by default.
        The values are those of the whole array, sampled voxels counted from its first, but only what
        they depend on is computed.
    mode
        ``gaussian``: a Gaussian of standard deviation sigma, normalised over its whole volume, that ends at 3
        sigma. ``sphere``: every voxel whose centre lies within sigma counts the same; an ellipsoid if sigma
        differs between axes, a disc in 2D.
    components
        Channels wanted, in the order wanted: ``mean_offset``, ``variance``, ``correlation``, ``size``, a
        sequence of these, or indices of channels as in ``"0129"``. All by default. Without variances and
        correlations less is computed.
    labels_subset
        Describe only these labels; all other voxels are 0.
    units_per_nm
        How many units of `voxel_size` and `sigma_nm` are a nanometre, where fractional voxel sizes are carried
        in finer units. Only the floor of the variances, 0.001 nm², depends on it.
    in_plane
        Describe every section ``(y, x)`` of ``(z, y, x)`` on its own.

    Returns
    -------
    ndarray
        ``(10, z, y, x)`` float32 in [0, 1], 0 in the background. Channels: mean offset z, y, x (over
        sigma, or half of it for a sphere, halved, + ½); variance zz, yy, xx (over sigma²); Pearson
        correlation zy, zx, yx (halved, + ½); size, the part of the window's mass that lies in the object.
        In 2D ``(6, y, x)``, in plane ``(6, z, y, x)``: offset y, x; variance yy, xx; correlation yx; size.
        With `components` those only. As large as `roi`. Objects end at the array's border: give
        :func:`descriptor_context_nm` more than `roi` on every side for values that do not depend on where
        the array was cut.

    Raises
    ------
    DataError
        If the labels are not integers in two or three dimensions, or mode or components are unknown.
    GeometryError
        If voxel size, sigma, roi and labels differ in dimensions, a value is not positive, or the roi is
        empty or leaves the labels.

    References
    ----------
    Sheridan et al. 2022, Local shape descriptors for neuron segmentation, Nature Methods.

    Examples
    --------
    >>> labels = np.ones((4, 4, 4), np.uint64)
    >>> shape_descriptors(labels, Coordinate(8, 8, 8), 80.0, components="mean_offset").shape
    (3, 4, 4, 4)
    """
    if labels.ndim not in (2, 3) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers (z, y, x) or (y, x); found {labels.dtype} of shape {labels.shape}")
    settings = DescriptorSettings.parse(
        labels.shape, voxel_size, sigma_nm, downsample, roi, mode, components, units_per_nm, in_plane
    )
    volume = labels if labels.ndim == 3 else labels[None]
    described = _described(volume, settings, labels_subset, threads)
    return described if labels.ndim == 3 else described[:, 0]


def descriptor_context_nm(sigma_nm: Sigma, mode: Mode = "gaussian") -> tuple[int, ...]:
    """Return the context per axis (z, y, x) that makes descriptors independent of where the labels were cut."""
    return tuple(int(np.ceil(reach_in_sigma(mode) * each)) for each in sigma_per_axis(sigma_nm, 3))


def descriptor_context_vox(
    sigma: Sigma, voxel_size: Coordinate, mode: Mode = "gaussian", *, in_plane: bool = False
) -> Coordinate:
    """Return the context of :func:`descriptor_context_nm` in whole voxels; none along z in plane."""
    depth, *plane = descriptor_context_nm(sigma, mode)
    reach = (0 if in_plane else depth, *plane)
    return Coordinate(-(-each // size) for each, size in zip(reach, voxel_size, strict=True))


def _described(
    labels: NDArray[np.integer], settings: DescriptorSettings, subset: Collection[int] | None, threads: int
) -> NDArray[np.float32]:
    dense, strided, numbers = _dense(labels[settings.roi], labels[settings.seen])
    scene = _scene(dense, strided, settings)
    boxes = scene.targets
    present = np.flatnonzero(boxes[:, 3] > boxes[:, 0])
    if subset is not None:
        wanted = [numbers[int(each)] for each in subset if int(each) in numbers]
        present = np.intersect1d(present, np.array(wanted, dtype=np.int64))
    out = np.zeros((len(settings.channels), *dense.shape), dtype=np.float32)
    fill = _filler(scene, settings, out)
    # Largest first, dealt out in turn, so that threads end at about the same time.
    volumes = np.prod(boxes[present, 3:] - boxes[present, :3], axis=1)
    order = present[np.argsort(-volumes, kind="stable")]
    if threads == 1:
        fill(order)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [order[i : i + 1] for i in range(len(order))]))
    return out


def _scene(dense: NDArray[np.int32], strided: NDArray[np.int32], settings: DescriptorSettings) -> Scene:
    steps, origin = np.array(settings.steps), settings.origin
    targets = bounding_boxes(dense, int(dense.max(initial=0)))
    empty = targets[:, 3] <= targets[:, 0]
    targets[:, :3] = (targets[:, :3] + origin) // steps
    targets[:, 3:] = -(-(targets[:, 3:] + origin) // steps)
    targets[empty] = 0
    return Scene(dense, origin, strided, steps, targets, bounding_boxes(strided, len(targets) - 1))


def _filler(
    scene: Scene, settings: DescriptorSettings, out: NDArray[np.float32]
) -> Callable[[NDArray[np.int64]], None]:
    """Return what writes the descriptors of given objects."""
    window = settings.window
    scaling = Scaling(settings.floors, window.offset_scale, np.array(settings.channels))
    if isinstance(window, GaussianWindow):
        kernels = window.kernels
        tables = np.zeros((3, kernels[2].shape[1] + 1))
        np.cumsum(kernels[2], axis=1, out=tables[:, 1:])
        return lambda chosen: fill_descriptors(scene, chosen, kernels, tables, settings.order, scaling, out)
    halves, units = window.halves, np.array(window.units)
    return lambda chosen: fill_sphere_descriptors(scene, chosen, halves, units, scaling, out)


def _dense(
    wanted: NDArray[np.integer], around: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int32], dict[int, int]]:
    """Return both renumbered alike, the labels of `wanted` first, background 0, and the number of each label."""
    both = np.concatenate([wanted.ravel(), around.ravel()])
    renumbered, numbers = fastremap.renumber(both, preserve_zero=True, in_place=True)
    first, second = np.split(renumbered.astype(np.int32), [wanted.size])
    return first.reshape(wanted.shape), second.reshape(around.shape), numbers
