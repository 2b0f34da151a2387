"""Draw what the augmentations do: ``python docs/_figures/augmentations.py``.

Synthetic sections, with every augmentation switched on, through ``catena view-augmentations``.
Writes ``docs/images/augmentations.png``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate, Roi
from PIL import Image

from catena.arrays import create_array
from data_prep.synthetic import synthesise
from local_shape_descriptors.augmentation_sheet import write_augmentation_sheet
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

IMAGE = Path(__file__).parents[1] / "images" / "augmentations.png"
SHAPE, VOXEL_SIZE = Coordinate(32, 192, 192), Coordinate(40, 8, 8)
AUGMENT: dict[str, Any] = {
    "copy_paste": {"min_voxels": 2000, "max_objects": 3},
    "motion_blur": {"max_length": 15},
    "stripes": {},
    "cut_blur": {"max_fraction": 0.6},
    "cut_noise": {"max_fraction": 0.6},
    "defects": {"missing_probability": 0.02, "artefact_probability": 0.05, "partly_missing_probability": 0.05},
    "extra": [
        {"kornia.augmentation.RandomMotionBlur3D": {"kernel_size": 5, "angle": 35.0, "direction": 0.5, "p": 0.5}},
        {"kornia.augmentation.RandomElasticTransform": {"alpha": [4.0, 4.0], "sigma": [12.0, 12.0], "p": 0.5}},
    ],
}


def main() -> None:
    """Synthesise sections, and draw two crops of them."""
    volume = synthesise(SHAPE, VOXEL_SIZE, seed=5)
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, values in (("raw", volume.raw), ("labels", volume.labels)):
            roi = Roi((0, 0, 0), SHAPE * VOXEL_SIZE)
            array = create_array(
                Path(folder) / "em.zarr" / name,
                roi=roi,
                voxel_size=VOXEL_SIZE,
                dtype=values.dtype,
                chunk_shape_vox=SHAPE,
            )
            array.write(roi, values)
            paths[name] = array.path
        config = LocalShapeDescriptorsConfig.parse(
            {
                "experiment": "synthetic_sections",
                "volumes": {"phantom": {**paths, "regions": {"train": {"z": [0, 32]}}}},
                "model": {"padding": "same", "levels": 1},
                "train": {"input_shape_vox": [12, 96, 96]},
                "augment": AUGMENT,
                "seed": 2,
            }
        )
        write_augmentation_sheet(config, IMAGE, number=2)
    picture = Image.open(IMAGE)
    smaller = picture.convert("RGB").resize((picture.width * 3 // 5, picture.height * 3 // 5), Image.Resampling.BOX)
    smaller.quantize(64).save(IMAGE, optimize=True)
    print(IMAGE)


if __name__ == "__main__":
    main()
