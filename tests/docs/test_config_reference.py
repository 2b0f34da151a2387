from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from catena.config import Config
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

HOOK = Path(__file__).parents[2] / "docs" / "_hooks" / "config_reference.py"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_reference", HOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Leaf(Config):
    """The end | of a branch.

    Not shown.
    """

    count: int = Field(3, ge=1, le=9, description="How many.")


class Tree(Config):
    """A tree."""

    leaf: Leaf = Leaf()
    others: dict[str, Leaf] = Field(default_factory=dict)


def test_a_section_per_model_and_a_row_per_field(hook: ModuleType) -> None:
    assert hook.reference(Tree) == "\n\n".join(
        [
            "### Top level { #section-top }",
            "A tree.",
            "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
            "| `leaf` | [section](#section-leaf) |  | The end \\| of a branch. |\n"
            "| `others` | by name: [section](#section-leaf) |  | The end \\| of a branch. |",
            "### `leaf` { #section-leaf }",
            "The end | of a branch.",
            "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
            "| `count` | integer (≥ 1, ≤ 9) | `3` | How many. |",
        ]
    )


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (tuple[int, int, int] | None, "[integer, integer, integer] or null"),
        (Literal["a", "b"], "`a` or `b`"),
        (tuple[Annotated[int, Field(ge=0)], ...], "list of integer (≥ 0)"),
        (dict[str, float], "by name: number"),
        (bool, "true or false"),
    ],
)
def test_types_in_the_words_of_yaml(hook: ModuleType, annotation: Any, words: str) -> None:
    assert hook.describe_type(annotation) == words


def test_defaults_are_yaml(hook: ModuleType) -> None:
    class Defaults(Config):
        needed: int
        nothing: int | None = None
        triple: tuple[int, int, int] = (1, 2, 3)
        text: str = "a"
        computed: int = Field(default_factory=lambda: 4)

    found = {name: hook.describe_default(field) for name, field in Defaults.model_fields.items()}
    assert found == {
        "needed": "required",
        "nothing": "`null`",
        "triple": "`[1, 2, 3]`",
        "text": "`a`",
        "computed": "see description",
    }


def test_every_model_of_the_task_is_documented_once(hook: ModuleType) -> None:
    found = hook.reference(LocalShapeDescriptorsConfig)
    for path in ("volumes.NAME.inputs", "augment.deform", "execution.train", "evaluate.baseline_settings"):
        assert found.count(f"### `{path}` ") == 1
    assert "| `iterations` | integer (≥ 1) | `100000` | Optimisation steps. |" in found


def test_models_that_may_stand_at_one_place_are_all_documented(hook: ModuleType) -> None:
    class Apple(Config):
        type: Literal["apple"] = "apple"

    class Pear(Config):
        type: Literal["pear"] = "pear"

    class Basket(Config):
        fruit: tuple[Annotated[Apple | Pear, Field(discriminator="type")], ...] = (Pear(),)

    found = hook.reference(Basket)
    assert "| `fruit` | list of [section](#section-fruit-apple) | `[{type: pear}]` |" in found
    assert [found.count(f"### `fruit`, `type: {kind}` {{ #section-fruit-{kind} }}") for kind in ("apple", "pear")] == [
        1,
        1,
    ]


def test_only_pages_with_the_marker_change(hook: ModuleType) -> None:
    assert hook.on_page_markdown("# Page\n") == "# Page\n"
    assert "### `train`" in hook.on_page_markdown(f"# Page\n\n{hook.MARKER}\n")
