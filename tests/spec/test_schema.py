"""The reference of the spec is made from the schema, and says something of every key."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from steep.spec import schema
from steep.spec.load import member, parse, section_of
from steep.spec.sections import Spec

PAGE = Path(__file__).parents[2] / "docs" / "spec.md"
MARK = "<!-- From here on: steep schema --markdown -->\n\n"


def models():
    """Every model that a spec can hold, by name."""
    yield from ((path or "spec", model) for path, model in schema._sections(Spec, ""))
    for section, members in schema.MEMBERS.items():
        for name in members:
            yield f"{section} {name}", member(members, name).Options


@pytest.mark.parametrize(("name", "model"), list(models()), ids=lambda v: v if v else "")
def test_every_key_has_a_meaning(name, model) -> None:
    said = schema.meanings(model)
    assert {key for key in model.model_fields if not said.get(key)} == set()
    for key, field in model.model_fields.items():
        for inner in schema._listed(field.annotation):
            assert set(schema.meanings(inner)) == set(inner.model_fields), key


def test_the_page_is_made_from_the_schema() -> None:
    head, _, made = PAGE.read_text().partition(MARK)
    assert made == schema.reference(), "make it again: steep schema --markdown, below the mark"
    assert "## One fixed model" in head


def test_types_and_defaults_are_those_of_the_models() -> None:
    made = schema.reference()
    assert "| `factor` | number, at least 1.01, at most 10 | `2.0` | " in made
    assert "| `smallest` | number, above 0 | required | " in made
    assert "| `compare_at` | `ends` or `all` | `ends` | " in made
    assert "at most 4294967295" in made


def test_the_json_schema_knows_the_keys_that_specs_have() -> None:
    made = schema.schema()
    assert set(made["properties"]) == set(Spec.model_fields)
    for section, members in schema.MEMBERS.items():
        found = {ref["$ref"].rpartition("/")[2] for ref in made["properties"][section]["oneOf"]}
        assert found == {f"{section} {name}" for name in members}
        for name in members:
            one = made["$defs"][f"{section} {name}"]
            own = {"name"} | ({"sizes"} if section == "family" else set())
            assert set(one["properties"]) == own | set(member(members, name).Options.model_fields)
            assert one["properties"]["name"] == {"const": name}
    for part in ("shards", "search", "stop", "run"):
        inner = section_of(Spec, part)
        assert inner is not None
        told = made["$defs"][inner.__name__]["properties"]
        assert all(value.get("description") for value in told.values())


@pytest.mark.parametrize("text", [t for i, t in enumerate(PAGE.read_text().split("```")) if i % 2])
def test_the_examples_of_the_page_are_specs(text: str) -> None:
    assert parse(text.removeprefix("yaml\n")).spec.study
