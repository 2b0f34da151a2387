"""Draw the targets of a small synthetic volume: ``python docs/_figures/targets.py``.

Writes ``docs/images/targets.png``: raw, labels, affinities, foreground, contour, distance, descriptors of two
sigmas and of a sphere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.targets import affinities, contour, distance, erode_boundaries, foreground, shape_descriptors
from catena.viewing.colours import label_colours
from data_prep.synthetic import synthesise

IMAGES = Path(__file__).parents[1] / "images"
SHAPE, VOXEL_SIZE = Coordinate(48, 96, 96), Coordinate(8, 8, 8)
SECTION = SHAPE[0] // 2
OFFSETS = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]


def main() -> None:
    """Compute all targets and draw the section in the middle."""
    volume = synthesise(SHAPE, VOXEL_SIZE, seed=1)
    joined, _ = affinities(erode_boundaries(volume.labels, 1), OFFSETS)
    narrow = shape_descriptors(volume.labels, VOXEL_SIZE, 40)
    wide = shape_descriptors(volume.labels, VOXEL_SIZE, 80)
    ball = shape_descriptors(volume.labels, VOXEL_SIZE, 80, mode="sphere")
    rows = [
        {
            "raw": grey(volume.raw[SECTION]),
            "labels": label_colours(volume.labels[SECTION]),
            "mitochondria": label_colours(volume.mitochondria[SECTION]),
            "affinities z, y, x": colours(joined.astype(np.float32)),
        },
        {
            "foreground, mitochondria": share(foreground(volume.mitochondria)),
            "contour": share(contour(volume.labels)),
            "distance, 64 nm": share(distance(volume.labels, VOXEL_SIZE, 64)),
            "distance, mitochondria": share(distance(volume.mitochondria, VOXEL_SIZE, 64)),
        },
        *(
            {f"mean offset, {name}": colours(lsds[:3]), "variance": colours(lsds[3:6])}
            | {"correlation": colours(lsds[6:9]), "size": grey(lsds[9, SECTION])}
            for name, lsds in (("σ 40 nm", narrow), ("σ 80 nm", wide), ("sphere of 80 nm", ball))
        ),
    ]
    draw(rows, IMAGES / "targets.png")


def colours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return three channels z, y, x as red, green and blue, the section in the middle."""
    return np.moveaxis(values[:, SECTION], 0, -1)


def share(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return one channel in [0, 1], 0 black and 1 white, the section in the middle."""
    return np.repeat(values[0, SECTION, :, :, None].astype(np.float64), 3, axis=-1)


def grey(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return a section in shades of grey, from its least to its largest value."""
    scaled = (values - float(values.min())) / max(float(np.ptp(values)), 1e-9)
    return np.repeat(scaled[..., None], 3, axis=-1)


def draw(rows: list[dict[str, NDArray[np.generic]]], path: Path) -> None:
    """Draw a panel per picture."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure, axes = plt.subplots(len(rows), 4, figsize=(7.2, 1.95 * len(rows)))
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, (title, picture) in zip(line, row.items(), strict=False):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, fontsize=8)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    with Image.open(path) as drawn:
        few_colours = drawn.convert("RGB").quantize(192)
    few_colours.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
