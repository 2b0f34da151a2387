"""One picture of a volume and everything made from it: a row per plane, a column per array."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import ConfigError, GeometryError, nearest_names
from catena.viewing.colours import channels_as_rgb, contrast_limits, image_as_rgb, label_colours, overlay_labels
from catena.viewing.figure import FAINT, INK, new_figure, save_figure
from catena.viewing.kinds import Kind, kind_of
from catena.viewing.planes import Planes, cut_planes
from catena.viewing.scale_bar import draw_scale_bar

_ROWS = ("xy", "xz", "yz")
_DPI = 200
_PANEL_IN = (2.0, 4.0)  # the longest side of a panel: one pixel per voxel between these
_GAP_IN = 0.06
_LEFT_IN, _TOP_IN, _TITLE_IN, _MARGIN_IN = 0.36, 0.30, 0.26, 0.10

Picture = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class _Layout(NamedTuple):
    """Sizes in inches; one scale for all panels."""

    inch_per_nm: float
    widths: tuple[float, float, float]
    heights: tuple[float, float, float]
    column: float
    figure: tuple[float, float]
    top: float


def write_preview(
    path: str | Path,
    panels: Mapping[str, NDArray[Any] | Planes],
    voxel_size: Coordinate,
    *,
    units_per_nm: int = 1,
    position_vox: Coordinate | None = None,
    kinds: Mapping[str, Kind] | None = None,
    overlay: str | None = None,
    title: str | None = None,
) -> Path:
    """Write a PNG with the xy, xz and yz planes of several arrays side by side.

    Parameters
    ----------
    path
        PNG file; its folder is made.
    panels
        Title → volume ``([c,] z, y, x)``, or three planes of one (see
        :func:`catena.viewing.planes.read_planes`, which reads no more of an array on disk). A
        column each, in this order, all of one spatial shape. Intensities are shown in grey,
        channels as colours (affinities, descriptors), labels in the colours of
        :func:`catena.viewing.colours.label_colours`.
    voxel_size
        World units, ``z, y, x``; panels have the physical aspect ratio.
    units_per_nm
        World units per nanometre, for the scale bar.
    position_vox
        Voxel the planes go through; the centre by default. Volumes only.
    kinds
        What a panel shows, where :func:`catena.viewing.kinds.kind_of` would be wrong.
    overlay
        Title of a panel of labels that is drawn over the first image in a column of its own.
    title
        Above everything.

    Raises
    ------
    GeometryError
        If there is no panel, or their shapes differ.
    ConfigError
        If `overlay` or `kinds` names no panel, or `overlay` has no image to lie on.
    OutputError
        If the file cannot be written.
    """
    planes = {
        name: each if isinstance(each, Planes) else cut_planes(each, position_vox) for name, each in panels.items()
    }
    shape = _common_shape(planes)
    known = _kinds(planes, kinds or {})
    pictures = {name: _picture(each, known[name]) for name, each in planes.items()}
    if overlay is not None:
        pictures = _with_overlay(pictures, planes, known, overlay)
    size_nm = tuple(float(n * v) / units_per_nm for n, v in zip(shape, voxel_size, strict=True))
    layout = _layout(size_nm, max(shape), len(pictures), title is not None)
    return save_figure(_draw(pictures, layout, title), path)


def _common_shape(planes: Mapping[str, Planes]) -> Coordinate:
    if not planes:
        raise GeometryError("a preview needs at least one panel")
    shapes = {name: each.shape_vox for name, each in planes.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise GeometryError(f"all panels of a preview must have one shape in voxels, found {found}")
    return next(iter(shapes.values()))


def _kinds(planes: Mapping[str, Planes], given: Mapping[str, Kind]) -> dict[str, Kind]:
    for name in given:
        if name not in planes:
            raise ConfigError(f"no panel {name!r} to show as {given[name]}; {nearest_names(name, planes)}")
    return {
        name: given.get(name, kind_of(each.xy.dtype, each.xy.shape[0] if each.xy.ndim == 3 else None))
        for name, each in planes.items()
    }


def _picture(planes: Planes, kind: Kind) -> Picture:
    if kind == "labels":
        return label_colours(planes.xy), label_colours(planes.xz), label_colours(planes.yz)
    if kind == "channels":
        return channels_as_rgb(planes.xy), channels_as_rgb(planes.xz), channels_as_rgb(planes.yz)
    limits = contrast_limits(np.concatenate([each.ravel() for each in planes]))
    return image_as_rgb(planes.xy, limits), image_as_rgb(planes.xz, limits), image_as_rgb(planes.yz, limits)


def _with_overlay(
    pictures: Mapping[str, Picture], planes: Mapping[str, Planes], kinds: Mapping[str, Kind], overlay: str
) -> dict[str, Picture]:
    """Return the pictures with one more, after the first image: that image under the labels `overlay`."""
    image = next((name for name, kind in kinds.items() if kind == "image"), None)
    if overlay not in planes or kinds[overlay] != "labels":
        labels = [name for name, kind in kinds.items() if kind == "labels"]
        raise ConfigError(f"no panel of labels {overlay!r} to overlay; {nearest_names(overlay, labels)}")
    if image is None:
        raise ConfigError(f"no panel shows an image that {overlay!r} could be drawn over")
    blended = [overlay_labels(*each) for each in zip(pictures[image], planes[overlay], strict=True)]
    widened: dict[str, Picture] = {}
    for name, picture in pictures.items():
        widened[name] = picture
        if name == image:
            widened[f"{overlay} on {image}"] = (blended[0], blended[1], blended[2])
    return widened


def _layout(size_nm: tuple[float, ...], voxels: int, columns: int, titled: bool) -> _Layout:
    z, y, x = size_nm
    longest = float(np.clip(voxels / _DPI, *_PANEL_IN))
    scale = longest / max(size_nm)
    widths, heights = (x * scale, x * scale, y * scale), (y * scale, z * scale, z * scale)
    column = max(widths)
    top = _TOP_IN + (_TITLE_IN if titled else 0.0)
    width = _LEFT_IN + columns * (column + _GAP_IN) - _GAP_IN + _MARGIN_IN
    height = top + sum(heights) + 2 * _GAP_IN + _MARGIN_IN
    return _Layout(scale, widths, heights, column, (width, height), top)


def _draw(pictures: Mapping[str, Picture], layout: _Layout, title: str | None) -> Any:
    figure = new_figure(*layout.figure, dpi=_DPI)
    width, height = layout.figure
    for column, (name, picture) in enumerate(pictures.items()):
        left = _LEFT_IN + column * (layout.column + _GAP_IN)
        top = layout.top
        for row in range(3):
            box = (left, height - top - layout.heights[row], layout.widths[row], layout.heights[row])
            axes = _draw_panel(figure, picture[row], box, layout.figure)
            if row == 0:
                centre = (left + layout.column / 2) / width
                figure.text(
                    centre, 1 - (layout.top - 0.08) / height, name, ha="center", va="bottom", size=8.5, color=INK
                )
            if column == 0:
                middle = 1 - (top + layout.heights[row] / 2) / height
                figure.text(0.2 / width, middle, _ROWS[row], ha="center", va="center", size=8.5, color=INK, rotation=90)
                if row == 0:
                    draw_scale_bar(axes, layout.widths[0] / layout.inch_per_nm, layout.heights[0])
            top += layout.heights[row] + _GAP_IN
    if title is not None:
        figure.text(_LEFT_IN / width, 1 - 0.1 / height, title, ha="left", va="top", size=10, color=INK, weight="bold")
    return figure


def _draw_panel(
    figure: Any, picture: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[float, float]
) -> Any:
    left, bottom, width, height = box
    axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))
    axes.imshow(picture, aspect="auto", interpolation="nearest")  # the box has the physical aspect ratio
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=FAINT, linewidth=0.4)
    return axes
