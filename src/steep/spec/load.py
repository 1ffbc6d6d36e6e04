"""The study's spec: a strict YAML file, whose errors are all reported at once, by path and line.

``load`` reads a file, ``parse`` a text. Both return ``Loaded`` or raise ``SpecError``, which has
all problems. Nothing is trained, downloaded or written before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from steep.base.extras import named, need
from steep.base.plainfile import read_file
from steep.base.registry import DOMAINS, EXECUTORS, FAMILIES, PLANNERS, TRAINERS
from steep.base.spelling import did_you_mean, no_such
from steep.spec import plugins, yaml_reader
from steep.spec.sections import Executor, Scalar, Spec
from steep.spec.yaml_reader import Lines, Problem


class SpecError(ValueError):
    """A spec is invalid; ``problems`` lists all of its problems."""

    def __init__(self, problems: list[Problem], source: str = "spec") -> None:
        self.problems = problems
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class QuestionError(ValueError):
    """The user's question is invalid or cannot be answered: '--at ten', files of no domain."""


class NoAnswer(QuestionError):
    """The question is valid, but these points have no answer to it."""


@dataclass(frozen=True)
class Loaded:
    """A valid spec, and where it came from."""

    spec: Spec
    base: Path
    """The folder that relative paths in the spec refer to."""
    lines: Lines = field(default_factory=dict)
    source: str = "spec"
    """The file it was read from, for messages."""
    learnt: Mapping[str, Any] = field(default_factory=dict)
    """What a study that has begun learnt from its data (a vocabulary), as options of its domain."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Digests of the user's own code that the study began with (``trainers.fingerprint``)."""

    def problem(self, path: str, message: str) -> Problem:
        """A problem that is found later (such as too few data), with its line in the file."""
        return Problem(path, _nearest(path, self.lines), message)

    def error(self, problems: list[Problem]) -> SpecError:
        """Problems that are found later as an error that names the file."""
        return SpecError(problems, self.source)


def load(path: Path | str, own_trainer: bool = False) -> Loaded:
    """Read and check a spec file. Raises SpecError with every problem. ``own_trainer``: the
    trainer is a Python function, which replaces that of the spec."""
    path = Path(path)
    try:
        text = read_file(path).decode()
    except FileNotFoundError:
        raise SpecError([Problem("", None, "no such file")], str(path)) from None
    except OSError as error:
        unreadable = Problem("", None, f"cannot be read: {error.strerror}")
        raise SpecError([unreadable], str(path)) from None
    except UnicodeDecodeError as error:
        raise SpecError([Problem("", None, f"cannot be read: {error}")], str(path)) from None
    return parse(text, path.resolve().parent, str(path), own_trainer)


def parse(
    text: str,
    base: Path | None = None,
    source: str = "spec",
    own_trainer: bool = False,
    frozen: bool = False,
) -> Loaded:
    """Check the text of a spec. Raises SpecError with every problem. A ``frozen`` spec was checked
    when its study began: its family, whose module loads torch, does not check it again."""
    values, lines, problems = yaml_reader.read(text)
    if own_trainer and values is not None:
        values["trainer"] = _own(values.get("trainer"))
    spec = _checked(values, lines, problems, source, base or Path.cwd(), frozen)
    return Loaded(spec, base or Path.cwd(), lines, source)


def from_values(
    values: Mapping[str, Any], base: Path | None = None, own_trainer: bool = False
) -> Loaded:
    """The same checks for a spec given as a mapping in Python."""
    plain = _plain(values)
    if own_trainer:
        plain["trainer"] = _own(plain.get("trainer"))
    lines = dict.fromkeys(_paths(plain))
    spec = _checked(plain, lines, [], "spec", base or Path.cwd())
    return Loaded(spec, base or Path.cwd(), lines)


def _checked(
    values: Any,
    lines: Lines,
    problems: list[Problem],
    source: str,
    base: Path,
    frozen: bool = False,
) -> Spec:
    """The spec in plain ``values``, or SpecError with all problems including the given ones."""
    spec = None
    if values is not None:
        try:
            spec = Spec.model_validate(values)
        except ValidationError as error:
            reported = {problem.path for problem in problems}
            problems += [p for p in _problems(error, lines, Spec) if p.path not in reported]
        problems += _check_members(values, lines, frozen, base)
    if spec is not None:
        problems += _check_meaning(spec, lines, frozen)
    if problems or spec is None:
        raise SpecError(sorted(problems, key=lambda p: (p.line or 0, p.path)), source)
    return spec


def with_executor(loaded: Loaded, name: str) -> Loaded:
    """The same spec with another executor; its own one keeps its options. Raises SpecError for one
    that is not known, or that cannot do without options."""
    if name == loaded.spec.run.executor.name:
        return loaded
    problems = _check_executor(name, {}, False, loaded.base)
    if problems:
        paths = [p.path.replace("run.executor", f"--executor {name}") for p in problems]
        named = [replace(p, path=path) for p, path in zip(problems, paths, strict=True)]
        raise SpecError(named, loaded.source)
    run = loaded.spec.run.model_copy(update={"executor": Executor(name=name)})
    return replace(loaded, spec=loaded.spec.model_copy(update={"run": run}))


def _own(trainer: Any) -> Any:
    """The trainer section of a study whose function is given in Python."""
    is_function = isinstance(trainer, dict) and trainer.get("name") == "function"
    return trainer if is_function else {"name": "function"}


def _plain(value: Any) -> Any:
    """A value in the types that YAML has: arrays become lists, paths become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, PurePath):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _paths(values: Any, path: str = "") -> Iterator[str]:
    """Every dotted path in plain values."""
    yield path
    pairs: Any = ()
    if isinstance(values, dict):
        pairs = values.items()
    elif isinstance(values, list):
        pairs = enumerate(values)
    for key, inner in pairs:
        yield from _paths(inner, f"{path}.{key}" if path else str(key))


def _nearest(path: str, lines: Lines) -> int | None:
    """The line of a path, or of the innermost enclosing section that the file has."""
    while (line := lines.get(path)) is None and "." in path:
        path = path.rpartition(".")[0]
    return line


def member(members: Mapping[str, str], name: str) -> Any:
    """The module of a registered member: the only place where a name becomes code."""
    if name not in members:  # the study began where the member was installed
        raise plugins.PluginError(
            f"{name!r} is not here: install the package that the study was begun with"
        )
    if ":" in members[name]:
        return plugins.load(members, name)
    return need(members[name])


def open_domain(loaded: Loaded) -> Any:
    """Open the spec's domain, with what the study has already learnt from its data."""
    module = member(DOMAINS, loaded.spec.domain.name)
    options = module.Options.model_validate({**loaded.spec.domain.options, **loaded.learnt})
    with named():  # soundfile, PIL, ...
        return module.open_domain(options, loaded.base)


# ---------------------------------------------------------------- checks beyond the types


def _problems(
    error: ValidationError, lines: Lines, schema: type[BaseModel], prefix: str = ""
) -> list[Problem]:
    """Pydantic's errors as problems. The failures of a union's branches have one path and become
    one problem."""
    problems: dict[str, Problem] = {}
    for detail in error.errors():
        problem = _problem(detail, lines, schema, prefix)
        if problem.path not in problems:
            problems[problem.path] = problem
        elif detail["type"] == "bool_type":  # the last branch of Scalar
            message = "must be a number, a word, true or false"
            if "finite" not in problems[problem.path].message:
                problems[problem.path] = Problem(problem.path, problem.line, message)
    return list(problems.values())


def _problem(detail: Any, lines: Lines, schema: type[BaseModel], prefix: str) -> Problem:
    """A pydantic error as a problem; names of union branches are removed from its path."""
    parts = [str(part) for part in detail["loc"]]
    path = prefix
    absent = detail["type"] in ("missing", "extra_forbidden")
    for part in parts:
        inner = f"{path}.{part}" if path else part
        if inner in lines or (absent and part == parts[-1]):
            path = inner
    message = _MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    if detail["type"] == "extra_forbidden":
        message += _meant(parts, schema, prefix)
    if "input" in detail and not absent and not isinstance(detail["input"], (dict, list)):
        message = f"{message} (is {detail['input']!r})"
    return Problem(path, _nearest(path, lines), message)


def _meant(parts: list[str], schema: type[BaseModel], section: str) -> str:
    """A hint for an unknown key: the other section that has this key, or a key of similar spelling
    in the same section."""
    model: type[BaseModel] | None = schema
    for part in parts[:-1]:
        model = section_of(model, part) if model is not None else None
    if model is None:
        return ""
    sections = [
        name
        for name in Spec.model_fields
        if (inner := section_of(Spec, name)) is not None and parts[-1] in inner.model_fields
    ]
    if len(sections) == 1:
        return f"; it belongs under {sections[0]!r}"
    keys = [*model.model_fields, *(_MEMBER_KEYS.get(section, ()) if len(parts) == 1 else ())]
    suggestion = did_you_mean(parts[-1], keys)
    return suggestion or f"; there are: {', '.join(keys)}" * bool(keys)


def section_of(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a section of a spec; None for a key that holds a plain value."""
    field = model.model_fields.get(key)
    options = () if field is None else (field.annotation, *get_args(field.annotation))
    models = (o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return next(models, None)


_MEMBER_KEYS = {"domain": ("name",), "trainer": ("name",), "family": ("name", "sizes")}
_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
}


_MEMBERS = {"domain": DOMAINS, "family": FAMILIES, "trainer": TRAINERS}


def _check_members(
    values: Mapping[str, Any], lines: Lines, frozen: bool, base: Path
) -> list[Problem]:
    """Problems of names that are not registered, and of options that their member does not have."""
    problems = []
    for section, members in _MEMBERS.items():
        entry = values.get(section)
        if not isinstance(entry, dict):
            continue
        default = Spec.model_fields[section].annotation.model_fields["name"].default  # type: ignore[union-attr]
        name = entry.get("name", default)
        if not isinstance(name, str):
            continue
        plugins.register(section, name, base)
        if not frozen:  # results of a study can be read without the packages of its plug-ins
            problems += _check_name(f"{section}.name", name, members, lines)
        if name in members and not (frozen and (section == "family" or ":" in members[name])):
            options = {k: v for k, v in entry.items() if k not in ("name", "sizes")}
            try:
                module = member(members, name)
            except plugins.PluginError as error:
                members.pop(name, None)
                path = f"{section}.name"
                problems.append(Problem(path, _nearest(path, lines), str(error)))
                continue
            problems += _check_options(section, module, options, lines)
    planner = values["search"].get("planner") if isinstance(values.get("search"), dict) else None
    if isinstance(planner, str):
        plugins.register("planner", planner, base)
        problems += [] if frozen else _check_name("search.planner", planner, PLANNERS, lines)
    run = values.get("run")
    if isinstance(run, dict) and "executor" in run:
        problems += _check_executor(run["executor"], lines, frozen, base)
    return problems


def _check_executor(entry: Any, lines: Lines, frozen: bool, base: Path) -> list[Problem]:
    """Problems of ``run.executor``, which is a name or a section with options."""
    default = Executor().name
    is_section = isinstance(entry, dict)
    name = entry.get("name", default) if is_section else entry
    if not isinstance(name, str):
        return []
    plugins.register("executor", name, base)
    if frozen:
        return []
    path = "run.executor.name" if is_section and "name" in entry else "run.executor"
    problems = _check_name(path, name, EXECUTORS, lines, "executor")
    if problems:
        return problems
    options = {k: v for k, v in entry.items() if k != "name"} if is_section else {}
    try:
        module = member(EXECUTORS, name)
    except plugins.PluginError as error:
        EXECUTORS.pop(name, None)
        return [Problem(path, _nearest(path, lines), str(error))]
    return _check_options("run.executor", module, options, lines)


def _check_name(
    path: str, name: str, members: Mapping[str, str], lines: Lines, kind: str = ""
) -> list[Problem]:
    """The problem of a name that is not registered."""
    if name in members:
        return []
    first, _, second = path.partition(".")
    kind = kind or (first if path.endswith(".name") else second)
    return [Problem(path, _nearest(path, lines), no_such(kind, name, sorted(members)))]


def _check_options(
    section: str, module: Any, options: Mapping[str, Any], lines: Lines
) -> list[Problem]:
    """Problems of a member's own options."""
    try:
        module.Options.model_validate(options)
    except ValidationError as error:
        return _problems(error, lines, module.Options, section)
    return []


def _check_meaning(spec: Spec, lines: Lines, frozen: bool) -> list[Problem]:
    """Problems that types cannot express."""

    def at(path: str, message: str) -> Problem:
        return Problem(path, _nearest(path, lines), message)

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
    if not frozen:
        with suppress(plugins.PluginError):  # reported already
            problems += _check_hyperparameters(spec, at)
    return problems


def _check_hyperparameters(spec: Spec, at: Any) -> list[Problem]:
    """Problems of hyperparameters that the trainer does not have, or the family does not accept."""
    if spec.trainer.name not in TRAINERS or spec.family.name not in FAMILIES:
        return []  # reported already; their hyperparameters are unknown
    names = member(TRAINERS, spec.trainer.name).recipe(spec.family.name)
    if names is None:  # the user's own trainer may have any hyperparameters
        return []
    paths = [f"training.{name}" for name in spec.training]
    paths += [f"search.hyperparameters.{name}" for name in spec.search.hyperparameters]
    kind = f"hyperparameter of {spec.trainer.name}"
    problems = [
        at(path, no_such(kind, name, sorted(names)))
        for path in paths
        if (name := path.rpartition(".")[2]) not in names
    ]
    return problems or _check_fit(spec, dict(names) | spec.training, at)


def _check_fit(spec: Spec, fixed: Mapping[str, Scalar], at: Any) -> list[Problem]:
    """Problems that the family reports about its options with any choice of hyperparameters."""
    module = member(FAMILIES, spec.family.name)
    try:
        options = module.Options.model_validate(spec.family.options)
    except ValidationError:
        return []  # reported already
    grid = spec.search.hyperparameters.items()
    choices = [fixed, *({**fixed, name: value} for name, values in grid for value in values)]
    misfits = {module.FAMILY.misfit(options, values) for values in choices} - {None}
    return [at("family", message) for message in sorted(misfits)]
