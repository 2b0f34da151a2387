"""Sections through the errors of a segmentation: a row per error, raw, truth and segmentation side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from catena.errors import DataError
from catena.evaluation.errors import ObjectError, Part
from catena.viewing.colours import image_as_rgb
from catena.viewing.contact_sheet import outlines
from catena.viewing.figure import FAINT, INK, new_figure, save_figure
from catena.viewing.scale_bar import draw_scale_bar

STRONG = np.array(
    [(255, 130, 0), (30, 120, 255), (0, 190, 80), (230, 60, 190), (250, 225, 40), (70, 215, 235)], np.uint8
)
"""Colours of an error's parts, largest first; the first two are told apart by colour-blind readers, too."""

_PLANES = (("y", "x"), ("z", "x"), ("z", "y"))
_COLUMNS = ("raw", "ground truth", "segmentation")
_LIFT, _STRONG_FILL, _FAINT_FILL, _FAINT_LINE = 0.25, 0.5, 0.18, 0.35
_PANEL_IN, _CAPTION_IN, _GAP_IN, _ROW_GAP_IN = 2.3, 2.15, 0.06, 0.16
_MARGIN_IN, _HEAD_IN = 0.12, 0.62
_LINE_IN = 0.165

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ErrorSection:
    """One error where it is seen best.

    Attributes
    ----------
    error
        What is shown.
    raw, truth, segmentation
        The section, ``(rows, columns)`` of one shape.
    axis
        Along which it is cut: 0 shows y by x, 1 z by x, 2 z by y.
    pixel_nm
        Size of a pixel, rows and columns.
    mark
        Row and column where the parts meet.
    position_vox, position_nm
        Where that is in the volume, ``z, y, x``.
    gap_nm
        Between the parts there, voxel centre to voxel centre; infinite if they are far apart.
    """

    error: ObjectError
    raw: NDArray[Any]
    truth: NDArray[Any]
    segmentation: NDArray[Any]
    axis: int
    pixel_nm: tuple[float, float]
    mark: tuple[int, int]
    position_vox: tuple[int, int, int]
    position_nm: tuple[float, float, float]
    gap_nm: float

    @property
    def size_nm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.raw.shape
        return rows * self.pixel_nm[0], columns * self.pixel_nm[1]

    def position(self) -> str:
        """Return where it is, in words."""
        vox, nm = (", ".join(f"{each:g}" for each in at) for at in (self.position_vox, self.position_nm))
        return f"z, y, x = {vox} voxels ({nm} nm)" + (f", {self.distance}" if self.distance else "")

    @property
    def distance(self) -> str:
        """How far the parts are from one another, in words; empty where they touch.

        What joins or cuts those that do not may lie outside the region.
        """
        if self.gap_nm <= 3 * max(self.pixel_nm):
            return ""
        return f"parts {self.gap_nm:.0f} nm apart" if np.isfinite(self.gap_nm) else "parts far apart"


def describe(error: ObjectError) -> str:
    """Return what is wrong and what it costs, in a few words.

    >>> from catena.evaluation import Contingency, mergers
    >>> describe(mergers(Contingency.of([1, 1, 1, 1, 2], [7, 7, 8, 8, 8]))[0])
    'merger of 2 bodies, 0.80 bit'
    """
    bits = f"{error.bits:.2f}" if error.bits >= 0.005 else f"{error.bits:.1g}"
    several, what = ("bodies", "merger of") if error.kind == "merger" else ("segments", "split into")
    if (main := len(error.main_parts())) > 1:
        return f"{what} {main} {several}, {bits} bit"
    return f"specks of {len(error.parts) - 1} {several}, {bits} bit"


def name_of(kind: str, id_: int) -> str:
    """Return what an object is called; segment 0 is what the segmentation left out."""
    return "no segment" if kind == "segment" and id_ == 0 else f"{kind} {id_}"


def share_of(part: Part, error: ObjectError) -> str:
    """Return how much of an object a part holds.

    >>> share_of(Part(7, 3), ObjectError("merger", 1, 0.1, (Part(8, 997), Part(7, 3))))
    '0.3 %'
    """
    percent = 100 * part.voxels / error.voxels
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"


def part_colours(error: ObjectError) -> dict[int, Picture]:
    """Return the colour of each part that is shown, by its id: the two largest, and others that are no specks."""
    shown = max(2, min(len(error.main_parts()), len(STRONG)))
    return {part.id: colour for part, colour in zip(error.parts[:shown], STRONG, strict=False)}


def borders(parts: NDArray[Any], shown: Iterable[int], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which pixels inside an object lie where two of its parts that are shown meet."""
    ids = np.array(list(shown), parts.dtype)
    numbers = np.where(inside & np.isin(parts, ids), np.searchsorted(np.sort(ids), parts) + 1, 0)
    between = np.zeros(parts.shape, bool)
    for axis in (0, 1):
        low, high = np.split(np.moveaxis(numbers, axis, 0), [-1])[0], np.moveaxis(numbers, axis, 0)[1:]
        np.moveaxis(between, axis, 0)[1:] |= (low != high) & (low != 0) & (high != 0)
    return between


class Painted(NamedTuple):
    """Pixels that are shown in a colour; `strong` in full and outlined, others faintly."""

    pixels: NDArray[np.bool_]
    colour: Picture
    strong: bool = True


def paint(grey: Picture, labels: NDArray[Any], objects: Sequence[Painted]) -> Picture:
    """Return a section with some objects in colours and faint outlines of all labels.

    Parameters
    ----------
    grey
        Raw, ``(rows, columns, 3)``.
    labels
        ``(rows, columns)``; 0 has no outline.
    objects
        What is painted, in this order.
    """
    pale = grey * np.float32(1 - _LIFT) + 255 * _LIFT  # colours drown in dark cytoplasm
    picture = pale.copy()
    for pixels, colour, strong in objects:
        fill = np.float32(_STRONG_FILL if strong else _FAINT_FILL)
        picture[pixels] = pale[pixels] * (1 - fill) + colour * fill
    faint = outlines(labels)
    picture[faint] *= 1 - _FAINT_LINE
    for pixels, colour, strong in objects:
        if strong:
            picture[outlines(pixels)] = colour
    painted: Picture = np.rint(picture).astype(np.uint8)
    return painted


def pictures(section: ErrorSection, limits: tuple[float, float] | None = None) -> tuple[Picture, Picture, Picture]:
    """Return raw, truth and segmentation of an error, ``(rows, columns, 3)`` each.

    What is in strong colours covers the same pixels in truth and segmentation: the segment that is a merger or the body
    that is split. Where it is in parts, each has its colour, and is faintly seen beyond it; where it is one, it has the
    colour of the largest part.
    """
    grey = image_as_rgb(section.raw, limits)
    merged = section.error.kind == "merger"
    whole, parts = (section.segmentation, section.truth) if merged else (section.truth, section.segmentation)
    inside = (whole == section.error.id) & (section.truth != 0)
    one, several = [Painted(inside, STRONG[0])], []
    for each, colour in part_colours(section.error).items():
        if each:
            several.append(Painted((parts == each) & ~inside, colour, strong=False))
        several.append(Painted((parts == each) & inside, colour))
    truth, segmentation = (several, one) if merged else (one, several)
    panels = grey, paint(grey, section.truth, truth), paint(grey, section.segmentation, segmentation)
    # where it is in one colour: the border that is missing there, or that should not be elsewhere
    panels[2 if merged else 1][borders(parts, part_colours(section.error), inside)] = 255
    return panels


class _Row(NamedTuple):
    """Sizes of a row in inches."""

    height: float
    panel: tuple[float, float]


def write_error_sheet(
    path: str | Path,
    sections: Sequence[ErrorSection],
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> Path:
    """Write a PNG file with a row for each error, and return its path.

    Parameters
    ----------
    path
        PNG file; its folder is made.
    sections
        The errors, from top to bottom.
    title
        Above everything.
    limits
        Intensities of raw shown as black and white; of each section its own by default.

    Raises
    ------
    DataError
        If there is no error to show.
    OutputError
        If the file cannot be written.
    """
    if not sections:
        raise DataError("a sheet of errors needs at least one")
    inch_per_nm = _PANEL_IN / max(max(each.size_nm) for each in sections)
    rows = [_row(each, inch_per_nm) for each in sections]
    width = _CAPTION_IN + len(_COLUMNS) * (_PANEL_IN + _GAP_IN) + _MARGIN_IN
    height = _HEAD_IN + sum(row.height + _ROW_GAP_IN for row in rows)
    figure = new_figure(width, height)
    figure.text(_MARGIN_IN / width, 1 - 0.1 / height, title, va="top", size=10, color=INK, weight="bold")
    for column, name in enumerate(_COLUMNS):
        centre = _CAPTION_IN + column * (_PANEL_IN + _GAP_IN) + _PANEL_IN / 2
        figure.text(centre / width, 1 - (_HEAD_IN - 0.06) / height, name, ha="center", va="bottom", size=9, color=INK)
    top = _HEAD_IN
    for section, row in zip(sections, rows, strict=True):
        _draw_caption(figure, section, top)
        for column, picture in enumerate(pictures(section, limits)):
            left = _CAPTION_IN + column * (_PANEL_IN + _GAP_IN) + (_PANEL_IN - row.panel[1]) / 2
            _draw_panel(figure, picture, section, (left, top), row.panel, bar=column == 0)
        top += row.height + _ROW_GAP_IN
    return save_figure(figure, path)


def _row(section: ErrorSection, inch_per_nm: float) -> _Row:
    height, width = (each * inch_per_nm for each in section.size_nm)
    written = sum(_LINE_IN + line.above for line in _caption(section))
    return _Row(max(height, written), (height, width))


def _draw_panel(
    figure: Any,
    picture: Picture,
    section: ErrorSection,
    corner: tuple[float, float],
    panel: tuple[float, float],
    *,
    bar: bool,
) -> None:
    width, height = figure.get_size_inches()
    (left, top), (tall, wide) = corner, panel
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.imshow(picture, aspect="auto", interpolation="nearest")  # the panel has the physical aspect ratio
    axes.set(xticks=[], yticks=[], autoscale_on=False)
    for spine in axes.spines.values():
        spine.set(color=FAINT, linewidth=0.4)
    row, column = section.mark
    ring: Mapping[str, Any] = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "linestyle": "none"}
    axes.plot(column, row, markeredgecolor="black", markeredgewidth=2.4, **ring)
    axes.plot(column, row, markeredgecolor="white", markeredgewidth=1.1, **ring)
    if bar:
        draw_scale_bar(axes, section.size_nm[1], tall)


class _Line(NamedTuple):
    """A line of a caption."""

    text: str
    style: Mapping[str, Any] = {}
    square: Picture | None = None
    above: float = 0.0


def _caption(section: ErrorSection) -> list[_Line]:
    """Return what is wrong, of what it is made and where it is."""
    error, merged = section.error, section.error.kind == "merger"
    bold, faint = {"size": 9, "weight": "bold"}, {"color": FAINT}
    whole = name_of("segment" if merged else "body", error.id)
    lines = [_Line(text, bold) for text in describe(error).split(", ")]
    lines.append(_Line(f"{whole} {'holds' if merged else 'lies in'}", above=0.04))
    shown = part_colours(error)
    for part in error.parts[: len(shown)]:
        name = name_of("body" if merged else "segment", part.id)
        lines.append(_Line(f"{name}, {share_of(part, error)}", square=shown[part.id]))
    if others := len(error.parts) - len(shown):
        specks = "specks of " if len(error.main_parts()) <= len(shown) else ""
        lines.append(_Line(f"and {specks}{others} more", faint))
    z, y, x = (f"{each:g}" for each in section.position_vox)
    lines.append(_Line(f"z {z}, y {y}, x {x}", above=0.04))
    lines.append(_Line(", ".join(f"{each:g}" for each in section.position_nm) + " nm"))
    down, right = _PLANES[section.axis]
    lines.append(_Line(f"{down} down, {right} to the right", faint))
    if section.distance:
        lines.append(_Line(section.distance, faint))
    return lines


def _draw_caption(figure: Any, section: ErrorSection, top: float) -> None:
    """Write a caption left of a row."""
    width, height = figure.get_size_inches()
    for line in _caption(section):
        top += line.above
        left = _MARGIN_IN
        if line.square is not None:
            box = (left / width, 1 - (top + 0.115) / height)
            figure.add_artist(Rectangle(box, 0.1 / width, 0.1 / height, color=line.square / 255, linewidth=0))
            left += 0.16
        figure.text(left / width, 1 - top / height, line.text, **{"size": 7.5, "color": INK, "va": "top", **line.style})
        top += _LINE_IN
