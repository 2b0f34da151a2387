from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from catena.augmentation.batch import BatchAugmentation
from catena.errors import ConfigError

ROLES = {"image": "image", "labels": "labels", "mask": "mask"}


def scene(batch=1):
    labels = torch.arange(batch * 2 * 4 * 4).reshape(batch, 1, 2, 4, 4) // 5
    return {"image": labels / labels.max() * 2 - 1, "labels": labels, "mask": (labels != 0).to(torch.uint8)}


def invert(image):
    return 1 - image


def noisy(image, rng, sigma=0.1):
    return image + sigma * rng.standard_normal(image.shape)


def mirror(arrays):
    return {name: array.flip(-1) for name, array in arrays.items()}


def test_a_function_of_an_image_sees_intensities_from_0_to_1_and_no_labels():
    after = BatchAugmentation(invert)(scene(2), ROLES, seed=0)
    torch.testing.assert_close(after["image"], -scene(2)["image"])
    torch.testing.assert_close(after["labels"], scene(2)["labels"])


def test_a_function_that_wants_random_numbers_is_given_them():
    one, again, other = (BatchAugmentation(noisy)(scene(), ROLES, seed=s)["image"] for s in (1, 1, 2))
    torch.testing.assert_close(one, again)
    assert not torch.equal(one, other)


def test_a_module_is_called_with_the_whole_batch():
    class Halve(torch.nn.Module):
        def forward(self, image):
            assert image.shape == (2, 1, 2, 4, 4)
            return image / 2

    after = BatchAugmentation(Halve())(scene(2), ROLES, seed=0)
    torch.testing.assert_close(after["image"], (scene(2)["image"] + 1) / 2 - 1)


def test_a_function_of_all_arrays_moves_them_together():
    after = BatchAugmentation(mirror, kind="geometric")(scene(2), ROLES, seed=0)
    for name, array in scene(2).items():
        torch.testing.assert_close(after[name], array.flip(-1))


def interpolate(arrays):
    return {name: (array + array.flip(-1)) / 2 for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (interpolate, "geometric", r"test_callables\.interpolate (cannot be used with labels|interpolates mask)"),
        (lambda arrays: {"image": arrays["image"]}, "geometric", r"must return a dictionary with image, labels, mask"),
        (lambda image: image[:, :2], None, r"changes the shape of image from \(1, 1, 2, 4, 4\) to \(1, 1, 2, 2, 4\)"),
        (lambda image: image / "2", None, r"failed on image \(1, 1, 2, 4, 4\).*TypeError"),
    ],
    ids=["interpolation", "missing array", "shape", "error"],
)
def test_what_a_callable_does_wrong_is_said(function, kind, message):
    with pytest.raises(ConfigError, match=message):
        BatchAugmentation(function, kind)(scene(), ROLES, seed=0)


@pytest.mark.parametrize(
    ("augmentation", "kind", "message"),
    [(3, None, "must be callable, found 3"), (invert, "mix", "cannot mix crops")],
)
def test_what_is_no_augmentation_is_refused(augmentation, kind, message):
    with pytest.raises(ConfigError, match=message):
        BatchAugmentation(augmentation, kind)


class Image(torch.Tensor):
    pass


class Mask(torch.Tensor):
    pass


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in for the two tensor classes by which torchvision's transforms tell images from masks."""
    package, tensors = ModuleType("torchvision"), ModuleType("torchvision.tv_tensors")
    tensors.Image = lambda values: values.as_subclass(Image)
    tensors.Mask = lambda values: values.as_subclass(Mask)
    package.tv_tensors = tensors
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.tv_tensors", tensors)


def of_module(module, name="Transform", **members):
    return type(name, (), {"__module__": module, **members})()


def flip_brightened(self, arrays):
    """What is an image gets brighter; everything is mirrored."""
    assert all(array.shape[-3:] == (1, 4, 4) for array in arrays.values())
    return {n: (each.flip(-1) + 0.25 if isinstance(each, Image) else each.flip(-1)) for n, each in arrays.items()}


def test_torchvision_treats_sections_alike_and_knows_masks_from_images(torchvision):
    transform = of_module("torchvision.transforms.v2._geometry", __call__=flip_brightened)
    after = BatchAugmentation(transform)(scene(2), ROLES, seed=0)
    torch.testing.assert_close(after["labels"], scene(2)["labels"].flip(-1))
    torch.testing.assert_close(after["image"], (scene(2)["image"].flip(-1) + 0.5).clamp(-1, 1))
    assert type(after["image"]) is torch.Tensor


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("_misc", "GaussianBlur", "intensity"),
        ("_misc", "GaussianNoise", "intensity"),
        ("_misc", "Lambda", "geometric"),
        ("_color", "ColorJitter", "intensity"),
    ],
)
def test_torchvision_blur_and_noise_change_intensities_only(module, name, kind):
    transform = of_module(f"torchvision.transforms.v2.{module}", name, __call__=lambda self, arrays: arrays)
    assert BatchAugmentation(transform).kind == kind


def test_monai_dictionary_transforms_are_seeded_by_their_own_method():
    class MapTransform:
        __module__ = "monai.transforms.transform"

        def set_random_state(self, seed):
            self.rng = np.random.default_rng(seed)

        def __call__(self, arrays):
            turns = int(self.rng.integers(1, 4))
            return {name: array.rot90(turns, (-2, -1)) for name, array in arrays.items()}

    results = [BatchAugmentation(MapTransform())(scene(), ROLES, seed=s)["labels"] for s in (1, 1, 2, 3, 4, 5)]
    torch.testing.assert_close(results[0], results[1])
    assert any(not torch.equal(results[0], each) for each in results[2:])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("torchvision.transforms.transforms", "use torchvision.transforms.v2"),
        ("monai.transforms.spatial.array", "use its dictionary form"),
    ],
)
def test_transforms_of_single_arrays_that_may_move_them_are_refused(module, message):
    with pytest.raises(ConfigError, match=message):
        BatchAugmentation(of_module(module, __call__=lambda self, image: image))
