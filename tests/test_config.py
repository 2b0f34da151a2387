from __future__ import annotations

import pytest
from pydantic import Field

from catena.config import Config, apply_overrides, load_yaml, to_yaml
from catena.errors import ConfigError


class Inner(Config):
    iterations: int = 10


class Outer(Config):
    train: Inner = Inner()
    extra: dict[str, Inner] = Field(default_factory=dict)


def test_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'train.iteration' \(did you mean 'iterations'\?\)"):
        Outer.parse({"train": {"iteration": 3}})


def test_unknown_key_below_a_free_name_names_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"'extra.a.iteratoins' \(did you mean 'iterations'\?\)"):
        Outer.parse({"extra": {"a": {"iteratoins": 3}}})


def test_wrong_type_names_path_and_value() -> None:
    with pytest.raises(ConfigError, match=r"here: 'train.iterations': .*integer.*found 'many'"):
        Outer.parse({"train": {"iterations": "many"}}, where="here")


def test_models_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().train = Inner()  # type: ignore[misc]


def test_overrides_are_parsed_as_yaml_and_leave_the_original_alone() -> None:
    values = {"train": {"iterations": 1}}
    merged = apply_overrides(values, ["train.iterations=2", "a.b=[1, 2]", "c=true"])
    assert merged == {"train": {"iterations": 2}, "a": {"b": [1, 2]}, "c": True}
    assert values == {"train": {"iterations": 1}}


@pytest.mark.parametrize("override", ["train", "=3"])
def test_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"key\.path=value"):
        apply_overrides({}, [override])


def test_override_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="'seed' is 3, not a section"):
        apply_overrides({"seed": 3}, ["seed.deeper=1"])


def test_environment_variables_are_replaced(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("CATENA_TEST_FOLDER", "/somewhere")
    monkeypatch.delenv("CATENA_TEST_ABSENT", raising=False)
    file = tmp_path / "a.yaml"
    file.write_text("a: ${CATENA_TEST_FOLDER}/x\nb: [ '${CATENA_TEST_ABSENT:-none}' ]\n")
    assert load_yaml(file) == {"a": "/somewhere/x", "b": ["none"]}
    file.write_text("deep: {a: '${CATENA_TEST_ABSENT}'}")
    with pytest.raises(ConfigError, match=r"deep.a: environment variable CATENA_TEST_ABSENT is not set"):
        load_yaml(file)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "mapping of sections, found list")])
def test_files_that_are_no_configuration_are_refused(tmp_path, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_yaml(file)


def test_yaml_round_trip(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = Outer.parse({"extra": {"a": {"iterations": 4}}})
    file = tmp_path / "a.yaml"
    file.write_text(to_yaml(config))
    assert Outer.parse(load_yaml(file)) == config
