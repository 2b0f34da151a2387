"""What the documentation names exists: commands, options, keys, paths, names in the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from doc_pages import PAGES, ROOT, blocks, name_of, words_in_code
from pydantic import BaseModel

from catena.cli import _add_registered_commands, app
from catena.config import apply_overrides
from catena.errors import ConfigError
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

TOP_LEVEL = set(LocalShapeDescriptorsConfig.model_fields)
SMALLEST = {"experiment": "e", "volumes": {"v": {"raw": "a.zarr/raw"}}}
FOLDERS = ("catena/", "local_shape_descriptors/", "data_prep/", "configs/", "tests/", "docs/", ".ci/")
FILES = {"py", "png"}
LANGUAGES = {"python", "yaml", "toml", "console", "bash", "sh", "text", "json"}

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.fixture(scope="module")
def command_line() -> Any:
    _add_registered_commands()
    return typer.main.get_command(app)


def parse(command_line: Any, words: list[str]) -> Any:
    """Parse a command as the command line would, without running it."""
    name, *arguments = words[1:]
    command = command_line.get_command(None, name)
    assert command is not None, f"there is no command '{name}'"
    if hasattr(command, "get_command"):  # a group
        return parse(command, [name, *arguments])
    return command.make_context(name, arguments)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each line that is typed, without a prompt and variables that are set for it."""
    for block in blocks(page.read_text(), "console", "bash", "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                yield words


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.annotation for name, field in model.model_fields.items()}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in get_args(annotation) for found in models_in(each)]


NAMED_PATHS = ("other_labels", "other_affinities", "references")
"""Settings that are mappings from any name to a path."""


def is_key(path: list[str], model: type[BaseModel] = LocalShapeDescriptorsConfig) -> bool:
    """Tell whether a dotted path leads to a field; NAME stands for the key of a mapping."""
    fields = keys_of(model)
    if path[0] not in fields:
        return False
    rest = path[1:]
    if rest and rest[0] == "NAME":
        rest = rest[1:]
    below = models_in(fields[path[0]])
    if len(rest) == 1 and not below and path[0] in NAMED_PATHS:
        return True
    return not rest or any(is_key(rest, each) for each in below)


@pages
def test_every_block_is_in_a_language_that_is_checked(page: Path) -> None:
    fences = re.findall(r"^ *```(\w*)", page.read_text(), re.M)
    assert set(fences[::2]) <= LANGUAGES


@pages
def test_catena_commands_are_understood(page: Path, command_line: Any) -> None:
    for words in commands(page):
        if Path(words[0]).name == "catena":
            context = parse(command_line, words)
            overridden = apply_overrides(SMALLEST, context.params.get("overrides") or [])
            LocalShapeDescriptorsConfig.parse(overridden, " ".join(words))


def test_an_unknown_option_is_noticed(command_line: Any) -> None:
    with pytest.raises(Exception, match="No such option: --worker"):
        parse(command_line, ["catena", "run", "experiment.yaml", "--worker", "3"])
    with pytest.raises(Exception, match="No such option: --tables"):
        parse(command_line, ["catena", "graph", "copy", "a.sqlite", "b.sqlite", "--tables", "nodes"])


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    typed = [*commands(page), *(word.split() for word in words_in_code(page.read_text()))]
    assert {words[1] for words in typed if words[0] == "make" and len(words) > 1} <= targets


@pages
def test_yaml_blocks_are_configurations(page: Path) -> None:
    for block in blocks(page.read_text(), "yaml"):
        values = yaml.safe_load(block.text)
        LocalShapeDescriptorsConfig.parse({**SMALLEST, **values}, f"{name_of(page)}, line {block.line}")


def test_a_wrong_key_in_yaml_is_noticed() -> None:
    with pytest.raises(ConfigError, match=r"train.iteration\b"):
        LocalShapeDescriptorsConfig.parse({**SMALLEST, "train": {"iteration": 1}})


@pages
def test_configuration_keys_exist(page: Path) -> None:
    words = (re.split(r"[:= ]", word)[0] for word in words_in_code(page.read_text()))
    dotted = [word.split(".") for word in words if re.fullmatch(r"[a-z_]+(\.\w+)+", word)]
    named = [path for path in dotted if path[0] in TOP_LEVEL and path[-1] not in FILES]
    assert [".".join(path) for path in named if not is_key(path)] == []


def test_a_wrong_configuration_key_is_noticed() -> None:
    assert is_key(["volumes", "NAME", "inputs", "affinities"])
    assert is_key(["execution", "default", "workers"])
    assert not is_key(["agglomerate", "merge_functoin"])
    assert not is_key(["seed", "value"])


@pages
def test_paths_of_this_repository_exist(page: Path) -> None:
    named = {word for word in words_in_code(page.read_text()) if word.startswith(FOLDERS) and " " not in word}
    assert sorted(word for word in named if not (ROOT / word).exists()) == []


@pages
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
