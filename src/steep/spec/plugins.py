"""Plug-ins: members by reference in a spec, or announced by an installed package.

    family: {name: "my_package.models:FAMILY", sizes: [8, 16]}     a module and a name in it
    trainer: {name: "mine.py:TRAINER"}                              a file beside the spec
    family: {name: mlp, ...}                                        an entry point called mlp

The package's ``pyproject.toml`` announces it: ``[project.entry-points."steep.families"]`` with
``mlp = "my_package.models:FAMILY"``. The registry holds references as text; the code is imported
when it is first used, so that results can be read on a machine without the package.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.base.registry import DOMAINS, EXECUTORS, FAMILIES, PLANNERS, TRAINERS
from steep.base.userfile import from_file, search_also
from steep.spec.sections import Strict


class PluginError(ValueError):
    """A plug-in that cannot be found, or that lacks what its kind requires."""


class NoOptions(Strict):
    """The options of a plug-in without any."""


@dataclass(frozen=True)
class Kind:
    """One of steep's extension points."""

    group: str
    """The group of its entry points."""
    members: dict[str, str]
    member: str
    """The name that a module of this kind must have; a reference may name it."""
    alone: str | None = None
    """A reference may also name an object that has this attribute, in place of a module."""


KINDS = {
    "domain": Kind("steep.domains", DOMAINS, "open_domain"),
    "family": Kind("steep.families", FAMILIES, "FAMILY", alone="build"),
    "trainer": Kind("steep.trainers", TRAINERS, "open_trainer"),
    "planner": Kind("steep.planners", PLANNERS, "plan"),
    "executor": Kind("steep.executors", EXECUTORS, "open_executor"),
}
LAWS = "steep.laws"
"""The group of laws, which no spec names: ``steep.fit(laws=[...])`` does."""


@dataclass(frozen=True)
class Announced:
    """A plug-in that an installed package announces."""

    kind: str
    name: str
    reference: str
    package: str


def register(kind: str, name: str, base: Path) -> None:
    """Add a plug-in that a spec names to the registry. Unknown names are not added; the caller
    reports them."""
    members = KINDS[kind].members
    if ":" in name:
        place, _, attribute = name.rpartition(":")
        if place.endswith(".py"):
            place = str((base / place).resolve())
        else:
            search_also(base.resolve())
        members[name] = f"{place}:{attribute}"
    elif name not in members:
        for one in announced(kind):
            if one.name == name:
                members[name] = one.reference if ":" in one.reference else f"{one.reference}:"


def announced(kind: str | None = None) -> Iterator[Announced]:
    """The plug-ins of installed packages, of one kind or all."""
    from importlib.metadata import entry_points

    groups = {kind_: one.group for kind_, one in KINDS.items()} | {"law": LAWS}
    for kind_, group in groups.items():
        if kind in (None, kind_):
            for point in entry_points(group=group):
                package = point.dist.name if point.dist is not None else ""
                yield Announced(kind_, point.name, point.value, package)


def own_files(names: Mapping[str, str]) -> list[Path]:
    """The files of the plug-ins among the ``names`` (by kind) of a spec."""
    files = []
    for kind, name in names.items():
        if ":" in (reference := KINDS[kind].members.get(name, "")):
            module, _ = _resolved(reference)
            files.append(Path(str(module.__file__)).resolve())
    return files


def load(members: Mapping[str, str], name: str) -> Any:
    """The plug-in registered under ``name``, as an object with the attributes of a member's module.
    Raises PluginError."""
    kind = next(one for one in KINDS.values() if one.members is members)
    module, member = _resolved(members[name])
    if member is module or member is getattr(module, kind.member, None):
        member = module
    if not hasattr(member, kind.member):
        if kind.alone is None or not hasattr(member, kind.alone):
            plural = kind.group.removeprefix("steep.")
            raise PluginError(f"{name!r} is none of the {plural}: it has no {kind.member}")
        member = types.SimpleNamespace(**{**vars(module), kind.member: member})
    if not hasattr(member, "Options"):
        member = types.SimpleNamespace(**{**_names_of(member), "Options": NoOptions})
    return member


def law(name: str) -> Any:
    """A law by its reference or its announced name; None for an unknown name."""
    reference = name if ":" in name else ""
    for one in announced("law") if not reference else ():
        if one.name == name:
            reference = one.reference
    if not reference:
        return None
    if not hasattr(module := _resolved(reference)[1], "LAW"):
        return module
    return module.LAW


def problem(one: Announced) -> str | None:
    """Why an announced plug-in cannot be used; None if it can."""
    try:
        if one.kind == "law":
            law(one.name)
        else:
            members = KINDS[one.kind].members
            if one.name in members and ":" not in members[one.name]:
                return f"steep has a {one.kind} of its own by that name, which is used"
            register(one.kind, one.name, Path())
            load(members, one.name)
    except PluginError as error:
        if one.kind != "law":
            KINDS[one.kind].members.pop(one.name, None)
        return str(error)
    return None


def _names_of(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("__")}


def _resolved(reference: str) -> tuple[Any, Any]:
    """(the module of a reference, the object that it names)."""
    place, _, attribute = reference.rpartition(":")
    if not place:
        place, attribute = attribute, ""
    try:
        module = from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        return module, getattr(module, attribute) if attribute else module
    except Exception as error:  # a foreign module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{reference!r} cannot be loaded: {reason}") from None
