"""The study's spec: a strict YAML file, all of whose errors are told at once, by path and line.

``load`` reads a file, ``parse`` a text. Both return ``Loaded`` or raise ``SpecError``, which
carries every problem found. Nothing is trained, downloaded or written before that.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steep.domains import DOMAINS
from steep.models import FAMILIES
from steep.planners import PLANNERS
from steep.trainers import TRAINERS

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Scalar = float | int | str | bool
Choices = Annotated[tuple[Scalar, ...], Field(min_length=1, strict=False)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Member(Strict):
    """A member of a drawer: its name; the other keys are its own options, checked by it."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Family(Member):
    name: str = "none"
    sizes: tuple[Count, ...] = Field(min_length=1, strict=False)
    """The ladder: sizes on the family's dial, ascending."""


class Split(Strict):
    """Parts cut from the pool where the data brings none: a share below 1, or a count."""

    validation: Positive | None = None
    test: Positive | None = None


class Shards(Strict):
    smallest: Positive
    largest: Positive | None = None
    """None: all the training data."""
    factor: Annotated[float, Field(gt=1, le=10)] = 2.0
    held_out: Annotated[int, Field(ge=0)] = 0
    """How many of the largest shards are forecast first and measured afterwards."""
    permutations: Count = 1


class Search(Strict):
    planner: str = "grid"
    seeds: Count = 2
    hyperparameters: dict[str, Choices] = Field(default_factory=dict)
    """The grid, e.g. learning_rate: [0.03, 0.1]; single values belong under ``training``."""
    compare_at: Literal["ends", "all"] = "ends"
    """Compare hyperparameters at the smallest and largest shard only, or at every shard."""
    extend: Annotated[int, Field(ge=0, le=2)] = 2
    """How often a ladder whose edge is best may extend itself."""


class Stop(Strict):
    """When a trial ends: geometric evaluations, patience, and a cap at twice their number."""

    evaluations: Count = 10
    """A trial makes at least this many evaluations and at most twice as many."""
    patience: Count = 3
    """Ends when V has not improved for this many evaluations."""
    ratio: Annotated[float, Field(gt=1, le=4)] = 1.35
    """Steps at one evaluation over steps at the one before."""
    first: Count | None = None
    """Steps before the first evaluation; None: 8 * sqrt(steps in an epoch)."""
    max_steps: Count | None = None
    """A lower cap on steps, for a budget; a trial that meets it is marked capped."""


class Run(Strict):
    executor: str = "local"
    workers: Count | None = None
    """None: one a core that this process may use."""
    device: str = "auto"
    lease: Annotated[float, Field(ge=1)] = 90.0
    """Seconds without a sign of life after which a worker counts as dead."""
    checkpoint: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between checkpoints of a trial."""
    max_attempts: Count = 3
    timeout: Positive | None = None
    """Seconds after which an attempt is killed as hung."""


class Spec(Strict):
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
    domain: Member
    family: Family
    shards: Shards
    split: Split = Split()
    search: Search = Search()
    training: dict[str, Scalar] = Field(default_factory=dict)
    """Hyperparameters held fixed; what is left out comes from the family's recipe."""
    stop: Stop = Stop()
    trainer: Member = Member(name="engine")
    metric: str | None = None
    """Selection metric; None: the domain's first, cross-entropy."""
    run: Run = Run()
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec, where: ``path`` is dotted, ``line`` counts from 1."""

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


class SpecError(ValueError):
    """Every problem of a spec at once."""

    def __init__(self, problems: list[Problem], source: str = "spec") -> None:
        self.problems = problems
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class QuestionError(ValueError):
    """A question that cannot be read or answered as asked: '--at ten', files of no domain."""


@dataclass(frozen=True)
class Loaded:
    spec: Spec
    text: str
    base: Path
    """The folder that relative paths in the spec start from."""
    lines: Mapping[str, int] = field(default_factory=dict)

    def problem(self, path: str, message: str) -> Problem:
        """A problem found later (data too small, say), at its place in the file."""
        line = self.lines.get(path)
        while line is None and "." in path:
            path = path.rpartition(".")[0]
            line = self.lines.get(path)
        return Problem(path, line, message)


def load(path: Path | str) -> Loaded:
    """Read and check a spec file. Raises SpecError with every problem."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([Problem("", None, "no such file")], str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem("", None, f"cannot be read: {error}")], str(path)) from None
    return parse(text, base=path.resolve().parent, source=str(path))


def parse(text: str, base: Path | None = None, source: str = "spec") -> Loaded:
    """Check the text of a spec. Raises SpecError with every problem."""
    values, lines, problems = _read_yaml(text)
    spec = None
    if values is not None:
        try:
            spec = Spec.model_validate(values)
        except ValidationError as error:
            problems += [_problem(detail, lines) for detail in error.errors()]
        problems += _check_members(values, lines)
    if spec is not None:
        problems += _check_meaning(spec, lines)
    if problems or spec is None:
        raise SpecError(sorted(problems, key=lambda p: (p.line or 0, p.path)), source)
    return Loaded(spec, text, base or Path.cwd(), lines)


def from_values(values: Mapping[str, Any], base: Path | None = None) -> Loaded:
    """The same checks for a spec given as a mapping in Python."""
    return parse(yaml.safe_dump(_plain(values), sort_keys=False), base)


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has only one kind of sequence."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def member(drawer: Mapping[str, str], name: str) -> Any:
    """The module of a drawer's member: the one place where a name becomes code."""
    return importlib.import_module(drawer[name])


# ---------------------------------------------------------------- YAML, strictly

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_SPECIAL = {"true": True, "false": False, "null": None, "~": None, "": None}
_SPECIAL_FLOAT = re.compile(r"^[-+]?\.(inf|nan)$", re.IGNORECASE)
_LARGEST_SPEC = 1_000_000


def _read_yaml(text: str) -> tuple[Any, dict[str, int], list[Problem]]:
    """Plain values, the line of every path, and what is wrong with the YAML itself.

    Differs from YAML 1.1 where that surprises: 1e-3 is a number, ``no`` and ``on`` are strings,
    a key given twice is an error, and anchors and aliases are refused (alias bombs)."""
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    if len(text) > _LARGEST_SPEC:
        return None, lines, [Problem("", None, f"larger than {_LARGEST_SPEC} characters")]
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1
                return None, lines, [Problem("", line, "anchors and aliases are not allowed")]
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return None, lines, [Problem("", line, f"not YAML: {error.problem}")]
    except (yaml.YAMLError, RecursionError) as error:
        return None, lines, [Problem("", None, f"not YAML: {error}")]
    if not isinstance(node, yaml.MappingNode):
        return None, lines, [Problem("", 1, "a spec is a mapping of keys to values")]
    return _construct(node, "", lines, problems), lines, problems


def _construct(node: Any, path: str, lines: dict[str, int], problems: list[Problem]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(path, line, "a key must be a plain word"))
                continue
            key = key_node.value
            inner = f"{path}.{key}" if path else key
            if key in values:
                problems.append(Problem(inner, line, "given twice"))
                continue
            values[key] = _construct(value_node, inner, lines, problems)
            lines[inner] = line
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(inner, f"{path}.{i}", lines, problems) for i, inner in enumerate(node.value)
        ]
    if node.tag not in _TAGS:
        problems.append(Problem(path, lines[path], f"tag {node.tag} is not allowed"))
    return _scalar(node.value) if node.style is None else node.value


_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}


def _scalar(text: str) -> Any:
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.match(text) and len(text) < 20:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _SPECIAL_FLOAT.match(text):
        return float(text.replace(".", ""))
    return text


# ---------------------------------------------------------------- checks beyond the types


def _problem(detail: Any, lines: Mapping[str, int], prefix: str = "") -> Problem:
    """A pydantic error at its place in the file; union branches do not belong to the path."""
    parts = [str(part) for part in detail["loc"]]
    path = prefix
    absent = detail["type"] in ("missing", "extra_forbidden")
    for part in parts:
        inner = f"{path}.{part}" if path else part
        if inner in lines or (absent and part == parts[-1]):
            path = inner
    line = lines.get(path) or lines.get(path.rpartition(".")[0])
    message = detail["msg"]
    if detail["type"] == "extra_forbidden":
        message = "unknown key"
    elif detail["type"] == "missing":
        message = "missing"
    elif "input" in detail and not isinstance(detail["input"], (dict, list)):
        message = f"{message} (is {detail['input']!r})"
    return Problem(path, line, message)


_DRAWERS = {
    "domain": DOMAINS,
    "family": FAMILIES,
    "trainer": TRAINERS,
}


def _check_members(values: Mapping[str, Any], lines: Mapping[str, int]) -> list[Problem]:
    """Names that no drawer holds, and options that their member does not know."""
    problems = []
    for section, drawer in _DRAWERS.items():
        given = values.get(section)
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            continue
        if given["name"] not in drawer:
            known = ", ".join(sorted(drawer))
            message = f"no {section} named {given['name']!r}; there are: {known}"
            problems.append(Problem(f"{section}.name", lines.get(f"{section}.name"), message))
            continue
        options = {k: v for k, v in given.items() if k not in ("name", "sizes")}
        problems += _check_options(section, member(drawer, given["name"]), options, lines)
    search = values.get("search")
    planner = search.get("planner", "grid") if isinstance(search, dict) else "grid"
    if isinstance(planner, str) and planner not in PLANNERS:
        message = f"no planner named {planner!r}; there are: {', '.join(sorted(PLANNERS))}"
        problems.append(Problem("search.planner", lines.get("search.planner"), message))
    return problems


def _check_options(
    section: str, module: Any, options: Mapping[str, Any], lines: Mapping[str, int]
) -> list[Problem]:
    try:
        module.Options.model_validate(options)
    except ValidationError as error:
        return [_problem(detail, lines, section) for detail in error.errors()]
    return []


def _check_meaning(spec: Spec, lines: Mapping[str, int]) -> list[Problem]:
    """What the types cannot say."""

    def at(path: str, message: str) -> Problem:
        return Problem(path, lines.get(path) or lines.get(path.rpartition(".")[0]), message)

    problems = []
    sizes = spec.family.sizes
    if list(sizes) != sorted(set(sizes)):
        problems.append(at("family.sizes", "must ascend without repeats"))
    shards = spec.shards
    if shards.largest is not None and shards.largest < shards.smallest:
        problems.append(at("shards.largest", f"smaller than shards.smallest ({shards.smallest:g})"))
    for name in sorted(set(spec.search.hyperparameters) & set(spec.training)):
        problems.append(at(f"training.{name}", "also in search.hyperparameters: keep one"))
    for part in ("validation", "test"):
        share = getattr(spec.split, part)
        if share is not None and share >= 1 and share != int(share):
            problems.append(at(f"split.{part}", "a share below 1 or a whole number of items"))
    problems += _check_hyperparameters(spec, at)
    return problems


def _check_hyperparameters(spec: Spec, at: Any) -> list[Problem]:
    names = member(TRAINERS, spec.trainer.name).recipe(spec.family.name)
    if names is None:  # the user's own trainer: its hyperparameters are its own business
        return []
    paths = [f"training.{name}" for name in spec.training]
    paths += [f"search.hyperparameters.{name}" for name in spec.search.hyperparameters]
    return [
        at(path, f"the engine has no such hyperparameter; there are: {', '.join(sorted(names))}")
        for path in paths
        if path.rpartition(".")[2] not in names
    ]


# ---------------------------------------------------------------- a spec that changed


@dataclass(frozen=True)
class Change:
    path: str
    old: Any
    new: Any


EXTENDABLE = {
    "family.sizes",
    "search.seeds",
    "search.extend",
    "search.hyperparameters",
    "shards.largest",
    "shards.permutations",
}
"""What may change in a begun study when it is extended: more of the same, which adds trials and
invalidates none. ``run`` (workers, leases, device) may always change."""


def changes(old: Spec, new: Spec) -> list[Change]:
    """Where two specs differ, ``run`` left out. Paths are dotted, at most two deep."""
    before, after = old.model_dump(), new.model_dump()
    found = []
    for section in sorted(set(before) | set(after) - {"run"}):
        one, other = before.get(section), after.get(section)
        if section == "run" or one == other:
            continue
        if not isinstance(one, dict) or not isinstance(other, dict):
            found.append(Change(section, one, other))
            continue
        found += [
            Change(f"{section}.{key}", one.get(key), other.get(key))
            for key in sorted(set(one) | set(other))
            if one.get(key) != other.get(key)
        ]
    return found


def only_adds(change: Change) -> bool:
    """Whether a change of a begun study only adds trials, so that ``--extend`` may take it."""
    if change.path not in EXTENDABLE:
        return False
    old, new = change.old, change.new
    if isinstance(old, (list, tuple)):
        return set(old) <= set(new)
    if isinstance(old, dict):
        return set(old) == set(new) and all(set(old[k]) <= set(new[k]) for k in old)
    if old is None or new is None:  # shards.largest: None is all of the data
        return new is None
    return bool(new >= old)
