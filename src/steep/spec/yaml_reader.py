"""A reader of YAML for specs, with the line of every value.

It differs from YAML 1.1 where that surprises: 1e-3 is a number, ``no`` and ``on`` are words, and
duplicate keys, tags, anchors and aliases (alias bombs) are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Lines = Mapping[str, int | None]
"""Every path in a spec and its line; None for a spec that did not come from a file."""


@dataclass(frozen=True)
class Problem:
    """One problem of a spec: ``path`` is dotted, ``line`` counts from 1."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.path or "spec"
        return (
            f"{where} (line {self.line}): {self.message}"
            if self.line
            else f"{where}: {self.message}"
        )


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_SPECIAL = {"true": True, "false": False, "null": None, "~": None, "": None}
_SPECIAL_FLOAT = re.compile(r"^[-+]?\.(inf|nan)$", re.IGNORECASE)
_LARGEST_SPEC = 1_000_000


def read(text: str) -> tuple[Any, dict[str, int | None], list[Problem]]:
    """Plain values (None if there is no mapping), the line of every path, and the problems."""
    problems: list[Problem] = []
    lines: dict[str, int | None] = {}
    tagged: dict[int, str] = {}
    if len(text) > _LARGEST_SPEC:
        return None, lines, [Problem("", None, f"larger than {_LARGEST_SPEC} characters")]
    try:
        event: Any
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                return None, lines, [Problem("", line, "anchors and aliases are not allowed")]
            if getattr(event, "tag", None) is not None:
                tagged[event.start_mark.index] = event.tag
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return None, lines, [Problem("", line, f"not YAML: {error.problem}")]
    except (yaml.YAMLError, RecursionError) as error:
        return None, lines, [Problem("", None, f"not YAML: {error}")]
    if not isinstance(node, yaml.MappingNode):
        return None, lines, [Problem("", 1, "a spec is a mapping of keys to values")]

    def refuse(path: str, node: Any, message: str) -> None:
        problems.append(Problem(path, node.start_mark.line + 1, message))

    return _construct(node, "", lines, tagged, refuse), lines, problems


def _construct(
    node: Any,
    path: str,
    lines: dict[str, int | None],
    tagged: Mapping[int, str],
    refuse: Callable[[str, Any, str], None],
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if node.start_mark.index in tagged:
        refuse(path, node, f"the tag {tagged[node.start_mark.index]} is not allowed")
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                refuse(path, key_node, "a key must be a plain word")
                continue
            inner = f"{path}.{key_node.value}" if path else key_node.value
            if key_node.value in values:
                refuse(inner, key_node, "given twice")
                continue
            lines[inner] = key_node.start_mark.line + 1
            values[key_node.value] = _construct(value_node, inner, lines, tagged, refuse)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(inner, f"{path}.{i}", lines, tagged, refuse)
            for i, inner in enumerate(node.value)
        ]
    return scalar(node.value) if node.style is None else node.value


def scalar(text: str) -> Any:
    """The value of an unquoted word: a number, true, false, null, or the text itself."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.match(text) and len(text) < 20:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _SPECIAL_FLOAT.match(text):
        return float(text.replace(".", ""))
    return text
