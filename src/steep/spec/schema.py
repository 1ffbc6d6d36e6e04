"""Descriptions of the spec: a JSON schema, and the reference ``docs/spec.md``.

Types, defaults and bounds come from pydantic, meanings from the docstrings below the fields.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from steep.base.extras import need
from steep.base.registry import DOMAINS, EXECUTORS, FAMILIES, PLANNERS, TRAINERS
from steep.spec.load import member, section_of
from steep.spec.sections import Spec

MEMBERS = {"domain": DOMAINS, "family": FAMILIES, "trainer": TRAINERS}
"""Sections whose keys depend on the member that they name."""
NAMES = {"planner": PLANNERS}
"""Keys whose value is the name of a member."""


def schema() -> dict[str, Any]:
    """The JSON schema of a spec, for editors. Needs torch for the options of the families."""
    result = _described(Spec)
    for section, members in MEMBERS.items():
        about = {k: v for k, v in result["properties"][section].items() if k == "description"}
        options = _alternatives(result, section, members)
        result["properties"][section] = about | {"oneOf": options}
    run = result["$defs"]["Run"]["properties"]
    about = {k: v for k, v in run["executor"].items() if k in ("description", "default")}
    names = {"enum": list(EXECUTORS)}
    run["executor"] = about | {"oneOf": [names, *_alternatives(result, "executor", EXECUTORS)]}
    result["$defs"]["Search"]["properties"]["planner"]["enum"] = list(PLANNERS)
    del result["$defs"]["Member"], result["$defs"]["Family"], result["$defs"]["Executor"]
    return result | {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def _alternatives(
    result: dict[str, Any], section: str, members: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What a section may be, a member each; their schemas are put into ``result``."""
    options = []
    for name in members:
        option = _described(_options(section, name))
        option["properties"] = {"name": {"const": name}} | option["properties"]
        option["required"] = ["name", *option.get("required", ())]
        if section == "family":
            family = _described(Spec)["$defs"]["Family"]
            option["properties"]["sizes"] = family["properties"]["sizes"]
            option["required"].append("sizes")
        result.setdefault("$defs", {}).update(option.pop("$defs", {}))
        result["$defs"][f"{section} {name}"] = option | {"title": f"{section} {name}"}
        options.append({"$ref": f"#/$defs/{section} {name}"})
    return options


def reference() -> str:
    """The tables of docs/spec.md: every key with its type, default and meaning."""
    parts = []
    for title, model in _sections(Spec, ""):
        parts += [f"## {title or 'The spec'}", *_table(model)]
        if members := (MEMBERS | {"run.executor": EXECUTORS}).get(title):
            for name in members:
                module = member(members, name)
                parts += [f"### {title}: {name}", _about(module)]
                parts += _with_sections(module.Options)
        for key, members in NAMES.items():
            if key in model.model_fields:
                rows = [f"- `{name}`: {_about(member(members, name))}" for name in members]
                parts += [f"The names of `{title}.{key}`:", "\n".join(rows)]
        if not title:
            parts += ["The defaults of `training`, by family:", _recipes()]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- models


def _options(section: str, name: str) -> type[BaseModel]:
    if section == "family":
        need("torch")
    members = EXECUTORS if section == "executor" else MEMBERS[section]
    options: type[BaseModel] = member(members, name).Options
    return options


def _described(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema with descriptions of its fields and of those of nested models."""
    result = model.model_json_schema()
    models = {model.__name__: model} | _inner(model)
    for name, one in models.items():
        place = result if one is model else result.get("$defs", {}).get(name, {})
        for key, meaning in meanings(one).items():
            place["properties"][key]["description"] = meaning
    return result


def _inner(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    models: dict[str, type[BaseModel]] = {}
    for key in model.model_fields:
        inner = section_of(model, key)
        if inner is not None:
            models |= {inner.__name__: inner} | _inner(inner)
    return models


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Key -> the docstring below its field, in the model or in the base class that defines it."""
    texts: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not (issubclass(one, BaseModel) and one.model_fields):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in pairwise(tree.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                texts[field.target.id] = " ".join(str(text.value.value).split())
    return {key: texts[key] for key in model.model_fields if key in texts}


def _sections(model: type[BaseModel], path: str) -> list[tuple[str, type[BaseModel]]]:
    """The model and every nested section, by dotted path."""
    sections = [(path, model)]
    for key in model.model_fields:
        inner = section_of(model, key)
        if inner is not None:
            sections += _sections(inner, f"{path}.{key}" if path else key)
    return sections


def _with_sections(model: type[BaseModel]) -> list[str]:
    """The tables of a member's options and of the sections in them."""
    parts = _table(model) if model.model_fields else []
    for path, inner in _sections(model, "")[1:]:
        parts += [f"Of `{path}`:", *_table(inner)]
    return parts


# ---------------------------------------------------------------- words


def _table(model: type[BaseModel]) -> list[str]:
    values, meaning_of = model.model_json_schema(), meanings(model)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, about in values["properties"].items():
        default = _default(about, key in values.get("required", ()))
        meaning = meaning_of.get(key, "").replace("|", "\\|").replace("``", "`")
        rows.append(f"| `{key}` | {_type(about, values)} | {default} | {meaning} |")
    inner = [
        (key, one)
        for key, field in model.model_fields.items()
        if section_of(model, key) is None
        for one in _listed(field.annotation)
    ]
    tables = [part for key, one in inner for part in (f"Each of `{key}`:", *_table(one))]
    return ["\n".join(rows), *tables]


def _listed(annotation: Any) -> list[type[BaseModel]]:
    """The models in the annotation of a list."""
    options = getattr(annotation, "__args__", ())
    return [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]


def _default(about: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = about.get("default")
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, dict):  # a section: of one with a name, its default
        return f"`{value['name']}`" if "name" in value else ""
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


def _type(about: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The type of a key in words, with its bounds: 'integer, at least 1'."""
    if "$ref" in about:
        return "section"
    if "anyOf" in about:
        kinds = [_type(one, values) for one in about["anyOf"] if one.get("type") != "null"]
        scalar = {"number", "integer", "text", "true or false"} <= set(kinds)
        return "number, text, true or false" if scalar else " or ".join(dict.fromkeys(kinds))
    if "enum" in about:
        return " or ".join(f"`{_yaml(value)}`" for value in about["enum"])
    if about.get("type") == "array":
        items = about.get("items", {})
        each = "mappings" if "$ref" in items else f"{_type(items, values)}"
        return f"list of {each}" if each == "mappings" else f"list; each: {each}"
    if about.get("type") == "object":
        inner = about.get("additionalProperties")
        return (
            "mapping" if not isinstance(inner, dict) else f"mapping; each: {_type(inner, values)}"
        )
    bounds = [
        f"{word} {int(about[key]) if about[key] == int(about[key]) else about[key]}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in about
    ]
    return ", ".join([_WORDS[about["type"]], *bounds])


def _about(module: Any) -> str:
    """The first sentence of a member's module."""
    text = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    return text if text.endswith(".") else f"{text}."


def _recipes() -> str:
    """The families' default hyperparameters: one row per hyperparameter, one column per family."""
    need("torch")
    families = [name for name in FAMILIES if member(FAMILIES, name).FAMILY.recipe]
    recipes = {name: dict(member(FAMILIES, name).FAMILY.recipe) for name in families}
    keys = list(dict.fromkeys(key for recipe in recipes.values() for key in recipe))
    rows = ["| key | " + " | ".join(families) + " |", "|---" * (len(families) + 1) + "|"]
    for key in keys:
        cells = (_yaml(recipes[name][key]) if key in recipes[name] else "" for name in families)
        rows.append(f"| `{key}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)
