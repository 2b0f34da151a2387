from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.errors import ConfigError, DataError, GeometryError
from catena.inference import load_network
from catena.networks import UNetShapes, network_shapes
from catena.nodes.augment_config import AugmentConfig, DeformConfig
from catena.training import TrainConfig, TrainExecution
from catena.training.dataset import Crop
from local_shape_descriptors.crops import NeuronCrops
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.trainer import default_input_shape, train
from local_shape_descriptors.training_volumes import TrainingVolume, common_voxel_size, open_source

VOXEL = Coordinate(8, 8, 8)
MODEL = ModelConfig(levels=1, feature_maps=2, growth=2, lsd_sigma_nm=24)
NO_AUGMENT = AugmentConfig(enabled=False)
EXECUTION = TrainExecution(device="cpu", threads=1, data_workers=0)


def bricks(shape: tuple[int, int, int], brick: int = 8) -> np.ndarray:
    """Labels 1, 2, … in cubes of `brick` voxels."""
    index = np.indices(shape) // brick
    labels: np.ndarray = (index[0] * 16 + index[1] * 4 + index[2] + 1).astype(np.uint64)
    return labels


def store(path: Path, values: np.ndarray, *, offset=(0, 0, 0), voxel_size=VOXEL) -> str:
    roi = Roi(offset, Coordinate(values.shape) * voxel_size)
    array = create_array(
        path, roi=roi, voxel_size=voxel_size, dtype=values.dtype, chunk_shape_vox=Coordinate(16, 16, 16)
    )
    array.write(roi, values)
    return str(path)


def volume(folder: Path, labels: np.ndarray, **settings) -> TrainingVolume:
    """Store labels, and as raw an image that is brighter the higher the label."""
    raw = store(folder / "v.zarr/raw", (labels * 3 % 256).astype(np.uint8))
    return TrainingVolume(raw, store(folder / "v.zarr/labels", labels), **{"name": "bricks", **settings})


def crops_of(
    *volumes: TrainingVolume, model=MODEL, augment=NO_AUGMENT, output=(12, 12, 12), min_labelled=0.5
) -> NeuronCrops:
    sources = tuple(open_source(each) for each in volumes)
    voxel_size, units = common_voxel_size(sources)
    network = model.network(voxel_size)
    shapes = network_shapes(network)
    input_shape = shapes.input_shape_vox(Coordinate(output))
    return NeuronCrops(
        sources,
        network,
        model,
        augment.resolved(voxel_size),
        voxel_size,
        units,
        input_shape,
        shapes.output_shape_vox(input_shape),
        shapes.output_begin_vox(input_shape),
        min_labelled,
    )


def inner(raw: np.ndarray, crops: NeuronCrops) -> np.ndarray:
    """The part of raw that the network's output covers."""
    begin, shape = crops.output_begin, crops.output_shape
    return raw[(..., *(slice(b, b + n) for b, n in zip(begin, shape, strict=True)))]


def boundaries_fit(crop: Crop, crops: NeuronCrops) -> None:
    """Where raw changes between two voxels there is a boundary, and the affinity across it is 0."""
    raw = inner(crop.raw, crops)[0]
    affinities = crop.targets["affinities"]
    for axis in range(3):
        upper = tuple(slice(1, None) if each == axis else slice(None) for each in range(3))
        step = np.diff(raw, axis=axis) != 0
        assert step.any()
        assert not affinities[axis][upper][step].any()


@pytest.mark.parametrize("output", [(12, 12, 12), (10, 12, 14)])
def test_targets_lie_where_the_image_says(tmp_path, output):
    crops = crops_of(volume(tmp_path, bricks((32, 32, 32))), output=output)
    with crops() as crop:
        for seed in range(4):
            made = crop(seed)
            boundaries_fit(made, crops)
            assert made.weights["affinities"][:, 1:, 1:, 1:].min() > 0


def test_targets_stay_on_the_image_when_mirrored_transposed_and_deformed(tmp_path):
    geometry = AugmentConfig.parse(
        {
            # every section is shifted by whole voxels, so raw keeps its sharp steps
            "deform": DeformConfig(
                probability=1, jitter=(0, 0, 0), rotate=False, shift_probability=0.3, max_misalignment=2
            ).model_dump(),
            "intensity": {"scale": [1, 1], "shift": [0, 0]},
            "noise": {"noise_probability": 0, "blur_probability": 0},
        }
    )
    crops = crops_of(volume(tmp_path, bricks((32, 32, 32))), augment=geometry)
    with crops() as crop:
        seen = [crop(seed) for seed in range(12)]
    for each in seen:
        boundaries_fit(each, crops)
    assert len({each.raw.tobytes() for each in seen}) == 12


def test_raw_is_between_minus_one_and_one_and_shapes_are_the_networks(tmp_path):
    crops = crops_of(volume(tmp_path, bricks((32, 32, 32))), augment=AugmentConfig())
    with crops() as crop:
        made = crop(0)
    assert made.raw.shape == (1, *crops.input_shape)
    assert np.abs(made.raw).max() <= 1
    assert {head: each.shape[0] for head, each in made.targets.items()} == {"lsds": 10, "affinities": 3}
    for head, target in made.targets.items():
        assert target.shape[1:] == crops.output_shape
        assert made.weights[head].shape[1:] == crops.output_shape
        assert target.dtype == made.weights[head].dtype == np.float32


def test_a_crop_depends_on_its_seed_alone(tmp_path):
    crops = crops_of(volume(tmp_path, bricks((32, 32, 32))), augment=AugmentConfig())
    with crops() as crop:
        first = [crop(seed) for seed in (3, 4)]
    with crops() as crop:
        second = [crop(seed) for seed in (4, 3)]
    np.testing.assert_array_equal(first[0].raw, second[1].raw)
    np.testing.assert_array_equal(first[1].targets["lsds"], second[0].targets["lsds"])
    np.testing.assert_array_equal(first[1].weights["affinities"], second[0].weights["affinities"])


def test_unlabelled_and_masked_voxels_are_not_in_the_loss(tmp_path):
    labels = bricks((32, 32, 32))
    labels[:, :, 20:] = 0  # unlabelled
    mask = np.zeros(labels.shape, np.uint8)
    mask[:, 6:, :] = 1
    masked = store(tmp_path / "v.zarr/mask", mask)
    crops = crops_of(volume(tmp_path, labels, labels_mask=masked), min_labelled=0.2, output=(28, 28, 28))
    assert crops.sources[0].labelled == Roi((0, 48, 0), (256, 208, 160))
    with crops() as crop:
        made = crop(0)
    # The output covers all of the labelled box: 32 × 26 × 20 voxels of it or less.
    known = made.weights["lsds"][0] > 0
    assert 0 < known.sum() <= 32 * 26 * 20
    assert (made.targets["lsds"][:, ~known] * 1).max() <= 1
    both_ends = made.weights["affinities"][2] > 0
    assert known.sum() <= both_ends.sum() + 20 * 28 * 28
    assert not made.weights["affinities"][:, ~_near(known)].any()


def _near(known: np.ndarray) -> np.ndarray:
    """Voxels within two of a known one: erosion takes rims out of the descriptors' weight only."""
    from scipy.ndimage import binary_dilation

    near: np.ndarray = binary_dilation(known, np.ones((5, 5, 5)))
    return near


def test_labelled_background_is_trained_on(tmp_path):
    labels = bricks((32, 32, 32))
    labels[8:16] = 0
    unlabelled = crops_of(volume(tmp_path / "a", labels), min_labelled=0.0)
    background = crops_of(volume(tmp_path / "b", labels, background_labelled=True), min_labelled=0.0)
    with unlabelled() as without, background() as with_background:
        for seed in range(3):
            known = without(seed).weights["affinities"] > 0
            more = with_background(seed)
            assert (more.weights["affinities"] > 0).all()
            assert not more.targets["affinities"][~known].any()
            assert not known.all()


def test_heads_of_other_objects_have_targets_from_their_own_labels(tmp_path):
    labels = bricks((32, 32, 32))
    others = np.where(labels % 3 == 0, labels, 0)
    paths = {"mitochondria": store(tmp_path / "v.zarr/mitochondria", others)}
    heads = {
        "affinities": {},
        "mitochondria": {"target": "affinities", "labels": "mitochondria"},
        "inside": {"target": "foreground", "labels": "mitochondria"},
        "rim": {"target": "contour"},
        "depth": {"target": "distance", "distance_nm": 16},
    }
    model = ModelConfig.parse({"type": "aff", "levels": 1, "feature_maps": 2, "growth": 2, "heads": heads})
    crops = crops_of(volume(tmp_path, labels, other_labels=paths), model=model)
    with crops() as crop:
        made = crop(0)
    assert {head: len(each) for head, each in made.targets.items()} == model.channels
    inside = made.targets["inside"][0] > 0
    raw = inner(made.raw, crops)[0]
    assert not (inside & ~np.isin(raw, crops_raw(others[others > 0]))).any()
    assert inside.any()
    assert not made.targets["mitochondria"][0][~inside].any()
    assert made.targets["rim"].mean() == pytest.approx(1 - (6 / 8) ** 3, abs=0.15)
    assert made.targets["depth"].min() > 0.7  # nothing is background
    assert all(each.min() > 0 for head, each in made.weights.items() if head not in ("affinities", "mitochondria"))

    unlabelled = crops_of(volume(tmp_path / "other", labels), model=model)
    with unlabelled() as crop:
        made = crop(0)
    assert not made.weights["inside"].any()
    assert made.weights["rim"].any()


def test_heads_whose_labels_no_volume_has_are_refused(tmp_path):
    model = MODEL.model_copy(update={"heads": ModelConfig(type="mtlsdmito").heads})
    with pytest.raises(
        ConfigError, match=r"heads.mitochondria is trained on the labels 'mitochondria', which no .*brick"
    ):
        train([volume(tmp_path, bricks((32, 32, 32)))], tmp_path, model)


def test_affinities_across_more_than_a_crop_are_refused(tmp_path):
    model = ModelConfig.parse(
        {**MODEL.model_dump(mode="json"), "heads": {}, "neighbourhood": [[-1, 0, 0], [0, -24, 0]]}
    )
    config = TrainConfig(iterations=1, input_shape_vox=(24, 24, 24))
    with pytest.raises(
        ConfigError, match=r"the affinity offset \[0, -24, 0\] reaches outside the crop of \[24, 24, 24\]"
    ):
        train([volume(tmp_path, bricks((32, 32, 32)))], tmp_path, model, config)


def test_a_volume_smaller_than_a_crop_is_mirrored_and_only_itself_counts(tmp_path):
    labels = bricks((6, 14, 14))
    crops = crops_of(volume(tmp_path, labels), min_labelled=0.0, output=(24, 24, 24))
    with crops() as crop:
        made = crop(0)
    counted = made.weights["affinities"][0] > 0
    # affinities along z need both ends inside: one section less
    assert counted.sum() == 5 * 14 * 14
    assert np.isin(inner(made.raw, crops), np.unique(crops_raw(labels))).all()


def crops_raw(labels: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (labels * 3 % 256).astype(np.float32) * np.float32(2 / 255) - 1
    return scaled


def test_nothing_outside_the_region_is_read(tmp_path):
    labels = bricks((32, 32, 32))
    raw = np.where(labels % 2 == 1, 50, 60).astype(np.uint8)
    raw[16:] = 250  # must not be seen
    labels[16:] = 0
    paths = store(tmp_path / "v.zarr/raw", raw), store(tmp_path / "v.zarr/labels", labels)
    crops = crops_of(TrainingVolume(*paths, region=Roi((0, 0, 0), (128, 256, 256))))
    with crops() as crop:
        assert all(crop(seed).raw.max() < 0 for seed in range(5))


def test_volumes_are_drawn_by_size_or_weight(tmp_path):
    one, two = (bricks((24, 24, 24)) * 0 + label for label in (10, 20))
    for name, labels in (("one", one), ("two", two)):
        store(tmp_path / f"{name}.zarr/raw", (labels + np.arange(24) % 2).astype(np.uint8))
        store(tmp_path / f"{name}.zarr/labels", labels)

    def paths(name: str) -> tuple[str, str]:
        return str(tmp_path / f"{name}.zarr/raw"), str(tmp_path / f"{name}.zarr/labels")

    half = Roi((0, 0, 0), (96, 192, 192))
    by_size = crops_of(TrainingVolume(*paths("one"), region=half), TrainingVolume(*paths("two")))
    assert [each.weight for each in by_size.sources] == [12 * 24 * 24, 24 * 24 * 24]
    weighted = crops_of(TrainingVolume(*paths("one"), weight=9.0), TrainingVolume(*paths("two"), weight=1.0))
    with weighted() as crop:
        dark = np.array([crop(seed).raw.mean() < -0.88 for seed in range(60)])
    assert 0.75 < dark.mean() < 1


def test_too_few_labels_anywhere_is_said_with_figures(tmp_path):
    labels = np.zeros((32, 32, 32), np.uint64)
    labels[::8, ::8, ::8] = 5
    crops = crops_of(volume(tmp_path, labels), min_labelled=0.5)
    with crops() as crop, pytest.raises(DataError, match=r"^bricks: 200 crops tried, none with at least 50%"):
        crop(0)


def test_labels_without_labels_are_refused(tmp_path):
    empty = volume(tmp_path, np.zeros((16, 16, 16), np.uint64))
    with pytest.raises(DataError, match=r"bricks: .*labels has no labelled voxel in"):
        open_source(empty)


@pytest.mark.parametrize(
    ("fill", "message"), [(7, "bricks: .*raw is constant"), (np.nan, "bricks: .*raw has .* voxels that are NaN")]
)
def test_raw_that_shows_nothing_is_refused(tmp_path, fill, message):
    labels = bricks((16, 16, 16))
    raw = np.full(labels.shape, fill, np.uint8 if fill == 7 else np.float32)
    paths = store(tmp_path / "v.zarr/raw", raw), store(tmp_path / "v.zarr/labels", labels)
    with pytest.raises(DataError, match=message):
        open_source(TrainingVolume(*paths, name="bricks"))


def test_voxel_sizes_must_agree(tmp_path):
    labels = bricks((16, 16, 16))
    raw = store(tmp_path / "v.zarr/raw", labels.astype(np.uint8), voxel_size=Coordinate(4, 4, 4))
    with pytest.raises(GeometryError, match=r"labels has a voxel size of \(8, 8, 8\) nm.*\(4, 4, 4\) nm"):
        open_source(TrainingVolume(raw, store(tmp_path / "v.zarr/labels", labels)))
    fine = TrainingVolume(raw, store(tmp_path / "v.zarr/fine", labels, voxel_size=Coordinate(4, 4, 4)), name="fine")
    coarse = volume(tmp_path / "coarse", labels)
    with pytest.raises(GeometryError, match=r"fine: \(4.0, 4.0, 4.0\), bricks: \(8.0, 8.0, 8.0\)"):
        common_voxel_size([open_source(fine), open_source(coarse)])


def test_labels_elsewhere_are_refused(tmp_path):
    labels = bricks((16, 16, 16))
    raw = store(tmp_path / "v.zarr/raw", labels.astype(np.uint8))
    far = store(tmp_path / "v.zarr/labels", labels, offset=(800, 0, 0))
    with pytest.raises(GeometryError, match="do not overlap"):
        open_source(TrainingVolume(raw, far))


def test_nothing_to_train_on_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one volume"):
        train([], tmp_path)


def test_default_input_shapes_are_legal_and_flat_for_sections():
    for voxel_size, smallest in ((Coordinate(8, 8, 8), (64, 64, 64)), (Coordinate(40, 4, 4), (16, 96, 96))):
        shapes = UNetShapes(ModelConfig(levels=2).network(voxel_size).unet)
        output = shapes.output_shape_vox(default_input_shape(shapes, voxel_size))
        assert all(small <= out < small + 16 for small, out in zip(smallest, output, strict=True))


@pytest.mark.parametrize("kind", ["aff", "lsd", "mtlsd"])
def test_every_model_type_trains_and_can_be_loaded(tmp_path, kind):
    model = MODEL.model_copy(update={"type": kind})
    shape = tuple(UNetShapes(model.network(VOXEL).unet).input_shape_vox(Coordinate(12, 12, 12)))
    config = TrainConfig(iterations=2, input_shape_vox=shape, precision="float32")
    trained = train(
        [volume(tmp_path, bricks((32, 32, 32)))], tmp_path / "run", model, config, AugmentConfig(), execution=EXECUTION
    )
    assert load_network(trained.checkpoint).config == model.network(VOXEL)
    with (tmp_path / "run/losses.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][3:] == [f"loss_{head}" for head in model.heads]
    assert len(rows) == 3


def test_fractional_voxel_sizes_train_in_finer_units(tmp_path):
    labels = bricks((24, 24, 24))
    for name, values in (("raw", labels.astype(np.uint8)), ("labels", labels)):
        store(tmp_path / f"v.zarr/{name}", values)
    fractional = TrainingVolume(
        str(tmp_path / "v.zarr/raw"), str(tmp_path / "v.zarr/labels"), voxel_size_nm=("4.6", "4.6", "4.6")
    )
    source = open_source(fractional)
    assert (source.voxel_size, source.units_per_nm) == (Coordinate(46, 46, 46), 10)
    crops = crops_of(fractional)
    with crops() as crop:
        assert crop(0).targets["lsds"].shape == (10, *crops.output_shape)


@pytest.mark.slow
@pytest.mark.skipif("CATENA_DATA" not in os.environ, reason="real data: set CATENA_DATA to their folder")
def test_the_small_labelled_corner_of_real_sections_is_found_and_cropped():
    path = f"{os.environ['CATENA_DATA']}/snemi3d/snemi3d_z1-49.h5"
    corner = TrainingVolume(
        f"{path}/raw",
        f"{path}/gt_neurons",
        f"{path}/gt_mask",
        region=Roi((0, 0, 0), (18 * 30, 832 * 6, 832 * 6)),
        name="snemi",
    )
    model = ModelConfig(levels=2, feature_maps=2)
    crops = crops_of(corner, model=model, augment=AugmentConfig(), output=(16, 64, 64))
    labelled = crops.sources[0].labelled.shape / crops.voxel_size
    assert all(0 < size <= most for size, most in zip(labelled, (18, 160, 160), strict=True))
    with crops() as crop:
        for seed in range(3):
            made = crop(seed)
            assert (made.weights["lsds"] > 0).mean() > 0.3
