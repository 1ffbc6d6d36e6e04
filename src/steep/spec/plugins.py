"""Members from outside: by reference in a spec, or announced by an installed package.

    family: {name: "my_package.models:FAMILY", sizes: [8, 16]}     a module and a name in it
    trainer: {name: "mine.py:TRAINER"}                              a file beside the spec
    family: {name: mlp, ...}                                        an entry point called mlp

The package's ``pyproject.toml`` announces it: ``[project.entry-points."steep.families"]`` with
``mlp = "my_package.models:FAMILY"``. A reference is put into the registry as it stands and becomes
code when it is first asked for, so that what was measured can be read where the package is not.
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
    """A member from outside that cannot be found, or is none."""


class NoOptions(Strict):
    """Nothing to set."""


@dataclass(frozen=True)
class Kind:
    """One of steep's extension points."""

    group: str
    """Of entry points."""
    members: dict[str, str]
    member: str
    """What a module of such a member holds: what a reference may name."""
    alone: str | None = None
    """A field of the record that may stand for a module by itself."""


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
    """What an installed package announces."""

    kind: str
    name: str
    reference: str
    package: str


def register(kind: str, name: str, base: Path) -> None:
    """Put a member that a spec names, and steep does not have, into the registry. Names that nobody
    has are left to be told of."""
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
    """The members of installed packages, of one kind or all."""
    from importlib.metadata import entry_points

    groups = {known: one.group for known, one in KINDS.items()} | {"law": LAWS}
    for known, group in groups.items():
        if kind in (None, known):
            for point in entry_points(group=group):
                package = point.dist.name if point.dist is not None else ""
                yield Announced(known, point.name, point.value, package)


def own_files(names: Mapping[str, str]) -> list[Path]:
    """The files of the members that a spec names from outside, by kind."""
    found = []
    for kind, name in names.items():
        if ":" in (reference := KINDS[kind].members.get(name, "")):
            module, _ = _found(reference)
            found.append(Path(str(module.__file__)).resolve())
    return found


def load(members: Mapping[str, str], name: str) -> Any:
    """The member of a reference in the registry, as its module would be. Raises PluginError."""
    kind = next(one for one in KINDS.values() if one.members is members)
    module, found = _found(members[name])
    if found is module or found is getattr(module, kind.member, None):
        found = module
    if not hasattr(found, kind.member):
        if kind.alone is None or not hasattr(found, kind.alone):
            what = kind.group.removeprefix("steep.")
            raise PluginError(f"{name!r} is none of the {what}: it has no {kind.member}")
        found = types.SimpleNamespace(**{**vars(module), kind.member: found})
    if not hasattr(found, "Options"):
        found = types.SimpleNamespace(**{**_names_of(found), "Options": NoOptions})
    return found


def law(name: str) -> Any:
    """A law by its reference or as it is announced; None for a name that nobody has."""
    reference = name if ":" in name else ""
    for one in announced("law") if not reference else ():
        if one.name == name:
            reference = one.reference
    if not reference:
        return None
    if not hasattr(found := _found(reference)[1], "LAW"):
        return found
    return found.LAW


def problem(one: Announced) -> str | None:
    """Why what a package announces cannot be used; None where it can."""
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


def _names_of(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in dir(found) if not name.startswith("__")}


def _found(reference: str) -> tuple[Any, Any]:
    """(the module, what is named in it)."""
    place, _, attribute = reference.rpartition(":")
    if not place:
        place, attribute = attribute, ""
    try:
        module = from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        return module, getattr(module, attribute) if attribute else module
    except Exception as error:  # a module of somebody else's may raise anything
        said = f"{type(error).__name__}: {error}"
        raise PluginError(f"{reference!r} cannot be loaded: {said}") from None
