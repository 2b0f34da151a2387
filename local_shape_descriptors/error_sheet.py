"""The picture of what a segmentation gets wrong: its worst mergers and splits, each where it is seen best."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array
from catena.errors import ArrayNotFoundError, ConfigError, nearest_names
from catena.evaluation import Contingency, ObjectError, mergers, splits, variation_of_information
from catena.lengths import to_nm
from catena.viewing.best_view import View, best_view, plane
from catena.viewing.colours import contrast_limits
from catena.viewing.error_sheet import ErrorSection, describe, name_of, share_of, write_error_sheet
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.objects import NEURONS
from local_shape_descriptors.scoring import Truth, count, counted_parts

Settings = LocalShapeDescriptorsConfig
Tell = Callable[[str], None]
WINDOW_VOX = 128
"""Edge of what is shown, in voxels along the axis of the smallest ones."""
LEAST_VISIBLE = 0.02
"""How much of the window either of two parts should fill, where they touch, for them to be shown."""


def write_errors(
    config: Settings, volume: str | None, region: str, number: int, path: Path, tell: Tell = lambda line: None
) -> Path | None:
    """Draw the worst mergers and splits of a volume's segmentation, and tell of each in a line.

    Parameters
    ----------
    volume
        By default the first one that has labels in the region.
    region
        ``train``, ``validation`` or ``test``.
    number
        How many mergers, and how many splits at most.
    path
        PNG file.

    Returns
    -------
    Path or None
        The file, or None where there is no error to draw.

    Raises
    ------
    ConfigError
        If the volume has no labels or no such region.
    ArrayNotFoundError
        If there is no segmentation yet.
    DataError
        If nothing in the region is labelled.
    """
    errors = Errors(config, volume_with_truth(config, volume, region), region)
    merged, split = mergers(errors.counted), splits(errors.counted)
    tell(f"{errors.volume}, {region}: {summary(errors.counted, len(merged), len(split))}")
    found = [*merged[:number], *split[:number]]
    if not found:
        return None
    sections = [errors.section(error, view) for error, view in zip(found, errors.views(found), strict=True)]
    for section in sections:
        tell(describe_section(section))
    title = f"{config.experiment}: {errors.volume}, {region}. Worst mergers and splits, by what they cost in VOI"
    return write_error_sheet(path, sections, title=title, limits=errors.contrast(sections))


def volume_with_truth(config: Settings, volume: str | None, region: str) -> str:
    """Return the volume to look at: the one named, or the first with labels in the region."""
    if volume is None:
        labelled = config.scored_with(region)
        if not labelled:
            raise ConfigError(f"no volume has labels and a region '{region}': errors are seen against ground truth")
        return labelled[0]
    settings = config.volume(volume)
    if settings.labels is None:
        raise ConfigError(f"volumes.{volume} has no labels: errors are seen against ground truth")
    if region not in settings.regions:
        raise ConfigError(f"volumes.{volume} has no region '{region}' ({nearest_names(region, settings.regions)})")
    return volume


def summary(counted: Contingency, merged: int, split: int) -> str:
    """Return how many mergers and splits there are, and what all of them cost together."""
    if not merged and not split:
        return "no error: every segment holds one body, and every body lies in one segment"
    voi = variation_of_information(counted)
    return (
        f"{merged} segments with several bodies ({voi.merge:.2f} bit), "
        f"{split} bodies in several segments ({voi.split:.2f} bit)"
    )


def pairs(error: ObjectError) -> list[tuple[int, int]]:
    """Return the ids of parts that may be shown next to one another, the two largest first.

    These two may lie far from one another and be joined through others.
    """
    ids = [part.id for part in (*error.parts[:2], *error.main_parts()[2:4])]
    return sorted(combinations(ids, 2), key=lambda pair: ids.index(pair[0]) + ids.index(pair[1]))


class Errors:
    """The segmentation of one region beside its truth.

    Attributes
    ----------
    counted
        Segments against bodies, as the scores count them.
    """

    def __init__(self, config: Settings, volume: str, region: str):
        self.volume, self.region = volume, region
        self.zeros = config.evaluate.zeros
        self.settings = config.volume(volume)
        self.truth = Truth(config, volume, region)
        self.geometry = self.truth.geometry
        self.segmentation = self._open_segmentation(config.volume_folder(volume))
        reference = self.segmentation if self.zeros == "common" else None
        self.counted = self.truth.require_labels(count(self.segmentation, self.truth, self.zeros, reference))
        smallest = min(self.geometry.voxel_size)
        self.window = Coordinate(max(1, round(WINDOW_VOX * smallest / each)) for each in self.geometry.voxel_size)

    def _open_segmentation(self, folder: Path) -> Array:
        path = folder / "volume.zarr" / "volumes" / NEURONS.segmentation_array
        if not path.exists():
            raise ArrayNotFoundError(f"there is no segmentation at {path} yet; make it with: catena segment CONFIG")
        return self.geometry.open(str(path))

    def views(self, errors: list[ObjectError]) -> list[View]:
        """Return where each error is seen best, in voxels of the region; the region is read once."""
        found: list[dict[int, View]] = [{} for _ in errors]
        reference = self.segmentation if self.zeros == "common" else None
        voxel_size = self.geometry.voxel_size
        for roi, segments, bodies in counted_parts(self.segmentation, self.truth, self.zeros, reference):
            begin = (roi.begin - self.truth.roi.begin) // voxel_size
            for error, known in zip(errors, found, strict=True):
                whole, parts = (segments, bodies) if error.kind == "merger" else (bodies, segments)
                inside = (whole == error.id) & (bodies != 0)  # only voxels with a truth were counted
                for rank, (one, other) in enumerate(pairs(error)):
                    view = best_view(inside & (parts == one), inside & (parts == other), voxel_size, self.window)
                    if view is not None and (rank not in known or view.score > known[rank].score):
                        known[rank] = view._replace(position=view.position + begin)
                    if rank in known and self._well_seen(known[rank]):
                        break
        return [self._first_seen([known[rank] for rank in sorted(known)]) for known in found]

    def _well_seen(self, view: View) -> bool:
        """Tell whether enough of either part is seen near the other."""
        return view.score >= LEAST_VISIBLE * WINDOW_VOX**2

    def _first_seen(self, views: list[View]) -> View:
        """Return the first view in which the parts are well seen, or else the best."""
        return next(filter(self._well_seen, views), max(views, key=lambda view: view.score))

    def section(self, error: ObjectError, view: View) -> ErrorSection:
        """Read what is shown of an error."""
        voxel_size, region = self.geometry.voxel_size, self.truth.roi
        cut = plane(view.axis, view.position, region.shape // voxel_size, self.window)
        begin = Coordinate(each.start for each in cut)
        roi = Roi(region.begin + begin * voxel_size, Coordinate(each.stop - each.start for each in cut) * voxel_size)
        rows, columns = (axis for axis in range(3) if axis != view.axis)
        nm = [to_nm(each, self.geometry.units_per_nm) for each in voxel_size]
        corner = region.begin + view.position * voxel_size
        z, y, x = (int(each) for each in (corner - self.settings.grid().offset) // voxel_size)
        z_nm, y_nm, x_nm = (to_nm(each, self.geometry.units_per_nm) for each in corner)
        return ErrorSection(
            error,
            np.take(self._raw(roi), 0, axis=view.axis),
            np.take(self.truth.read(roi), 0, axis=view.axis),
            np.take(self.segmentation.read(roi, outside="zero"), 0, axis=view.axis),
            view.axis,
            (nm[rows], nm[columns]),
            (int(view.position[rows] - begin[rows]), int(view.position[columns] - begin[columns])),
            (z, y, x),
            (z_nm, y_nm, x_nm),
            view.gap / self.geometry.units_per_nm,
        )

    def _raw(self, roi: Roi) -> NDArray[Any]:
        """Read raw; all alike for a volume that has none."""
        if self.settings.raw is None:
            return np.zeros(roi.shape // self.geometry.voxel_size, np.uint8)
        raw = self.geometry.open(self.settings.raw, voxel_size_nm=self.settings.voxel_size_nm)
        return raw.read(roi, outside="zero")

    @staticmethod
    def contrast(sections: list[ErrorSection]) -> tuple[float, float]:
        """Return the intensities shown as black and white in all sections alike."""
        return contrast_limits(np.concatenate([each.raw.ravel() for each in sections]))


def describe_section(section: ErrorSection) -> str:
    """Return one line on an error: what, of which parts, and where."""
    error = section.error
    whole, part = ("segment", "body") if error.kind == "merger" else ("body", "segment")
    shown = error.parts[: max(2, min(4, len(error.main_parts())))]
    parts = ", ".join(f"{name_of(part, each.id)} ({share_of(each, error)})" for each in shown)
    more = ", ..." if len(error.parts) > len(shown) else ""
    return f"  {describe(error)}: {name_of(whole, error.id)} = {parts}{more}, at {section.position()}"
