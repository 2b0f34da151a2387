from __future__ import annotations

import sys

import pytest

from catena.augmentation.choice import adapt
from catena.augmentation.resolve import resolve
from catena.config import Config
from catena.errors import ConfigError
from catena.nodes.extra_config import ExtraConfig

pytest.importorskip("kornia.augmentation", reason="kornia (extra 'augment') is not installed")


class Holder(Config):
    extra: tuple[ExtraConfig, ...]


def parsed(entry) -> ExtraConfig:
    return Holder.parse({"extra": [entry]}).extra[0]


BLUR = {"kernel_size": [3, 5], "angle": 35.0, "direction": 0.5, "p": 0.5}


def test_the_short_form_is_a_name_with_its_arguments_and_comes_back_from_a_saved_configuration():
    config = parsed({"kornia.augmentation.RandomMotionBlur3D": BLUR})
    assert config == ExtraConfig(name="kornia.augmentation.RandomMotionBlur3D", arguments=BLUR)
    assert parsed(config.model_dump(mode="json")) == config
    assert parsed("scipy.ndimage.gaussian_filter").arguments == {}
    assert parsed({"a.b": None, "kind": "geometric"}).kind == "geometric"


def test_a_class_becomes_an_object_and_lists_become_tuples():
    made = resolve(parsed({"kornia.augmentation.RandomMotionBlur3D": BLUR}))
    assert type(made).__name__ == "RandomMotionBlur3D"
    assert made.p == 0.5


def test_a_function_is_called_with_the_image_and_its_arguments():
    assert resolve(parsed({"scipy.ndimage.gaussian_filter": {"sigma": 0}}))([1.0, 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"kornia.augmentation.RandomMotionBlur": {"kernel": 3}},
            r"no argument 'kernel' \(did you mean 'kernel_size'\?\); valid arguments: kernel_size, angle",
        ),
        (
            {"kornia.augmentation.RandomMotionBlur3D": {"p": 0.5}},
            r"missing a required argument: 'kernel_size'; valid .* p=0\.5",
        ),
        (
            {"scipy.ndimage.gaussian_filter": {"sigm": 1}},
            r"no argument 'sigm' \(did you mean 'sigma'\?\); valid arguments: sigma, order=0",
        ),
        (
            "kornia.augmentation.RandomMotionBlurr3D",
            r"kornia.augmentation has no 'RandomMotionBlurr3D' \(did you mean 'RandomM",
        ),
        ("kornia.augmentatoin.RandomGamma", r"kornia has no 'augmentatoin' \(did you mean 'augmentation'"),
        ("korniaa.RandomGamma", r"no installed package 'korniaa'"),
        ({"os.system": {"command": "true"}}, r"os\.system is a part of Python"),
        ({"numpy.f2py.subprocess.Popen": {"args": "true"}}, r"leads out of numpy into the module subprocess"),
        ("torch.os.system", r"leads out of torch into the module os"),
        ("torch.hub.urlopen", r"torch\.hub\.urlopen is a part of Python \(urllib\)"),
        ("torch.hub.Path.home", r"is a part of Python \(pathlib\)"),
        ("kornia.augmentation", r"neither a class nor a function but module"),
        (
            {"kornia.augmentation.RandomGamma": {"gamma": [2.0, 1.0]}},
            r"RandomGamma\(gamma=\(2\.0, 1\.0\)\) was refused",
        ),
    ],
)
def test_wrong_names_and_arguments_are_refused_with_those_that_are_right(entry, message):
    with pytest.raises(ConfigError, match=message):
        resolve(parsed(entry))


def offered(name: str) -> set[str]:
    with pytest.raises(ConfigError, match=r"\(valid names: ") as refused:
        resolve(parsed(name))
    return set(str(refused.value).split("valid names: ")[1].rstrip(")").split(", "))


def test_what_is_offered_for_an_unknown_name_can_be_named():
    names = offered("kornia.augmentation.Xqz")
    assert {"RandomMotionBlur3D", "RandomRotation3D", "RandomTransplantation3D", "LongestMaxSize"} <= names
    assert not {name for name in names if not name[0].isupper()}  # modules
    assert not {name for name in names if "Base" in name or "Sequential" in name or "Dispather" in name}
    assert "Any" not in offered("kornia.Xqz")  # Python's own


def test_a_name_is_led_on_through_modules():
    assert {"augmentation", "geometry"} <= offered("kornia.Xqz.RandomGamma")
    assert "RandomGamma" not in offered("kornia.augmentation.auto.Xqz")
    assert "os" not in offered("kornia.Xqz.RandomGamma")


def test_base_classes_are_refused():
    with pytest.raises(ConfigError, match=r"IntensityAugmentationBase2D is a base class"):
        adapt(resolve(parsed("kornia.augmentation.IntensityAugmentationBase2D")))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"a.b": {}, "c.d": {}}, "found 2 names: a.b, c.d"),
        ("gaussian", "expected a dotted name such as"),
        ("a.__import__('os')", "expected a dotted name"),
        ({"a.b": {}, "kind": "wild"}, "'intensity', 'geometric' or 'mix'"),
    ],
)
def test_what_is_no_entry_is_refused_when_the_configuration_is_read(entry, message):
    with pytest.raises(ConfigError, match=message):
        parsed(entry)


def test_a_module_that_merely_lies_about_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "loose_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"loose_module\.py, which is no installed package"):
        resolve(parsed("loose_module.augment"))
    assert "loose_module" not in sys.modules


@pytest.mark.parametrize("name", ["numpy.clip", "torch.sigmoid", "torch.Tensor.abs", "numpy.fft.fft"])
def test_compiled_functions_are_of_their_package(name):
    assert callable(resolve(parsed(name)))
