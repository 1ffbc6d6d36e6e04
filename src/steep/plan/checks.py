"""Whether the pieces that a spec names go together, which only the opened pieces can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steep.base.metrics import metric_of
from steep.base.registry import FAMILIES, PLANNERS, TRAINERS
from steep.base.spelling import no_such
from steep.contracts.domain import Domain
from steep.spec.load import Loaded, Problem, member


def misfits(
    loaded: Loaded, domain: Domain, function: Callable[..., Any] | None = None
) -> list[Problem]:
    """Every problem of the spec with its domain, family and trainer; ``function`` is the trainer
    where it is a function of this process."""
    spec = loaded.spec
    found: list[tuple[str, str | None]] = []
    if metric_of(spec.metric, domain.metrics) not in domain.metrics:
        kind = f"metric of {spec.domain.name}"
        found.append(("metric", no_such(kind, str(spec.metric), domain.metrics)))
    engine = spec.trainer.name == "engine"
    if engine:
        found += _of_family(loaded, domain)
    if spec.trainer.name == "function":
        found.append(("trainer.function", _of_function(loaded, function)))
    elif function is None and hasattr(trainer := member(TRAINERS, spec.trainer.name), "problem"):
        found += [problem] if (problem := trainer.problem(loaded, domain)) is not None else []
    if spec.search.until is not None:
        planner = member(PLANNERS, spec.search.planner)
        if not getattr(planner, "KNOWS_UNTIL", False):
            message = f"the planner {spec.search.planner} does not know it: frugal ends early"
            found.append(("search.until", message))
    narrow = engine and spec.trainer.options.get("precision") == "bfloat16"
    if narrow:
        found.append(("trainer.precision", _not_plain(loaded, "compute in bfloat16")))
    graphs = engine and spec.trainer.options.get("cuda_graphs") is True
    if graphs and domain.kind not in member(TRAINERS, "engine").GRAPHED:
        message = f"batches of {spec.domain.name} have too many shapes to record each as a graph"
        found.append(("trainer.cuda_graphs", message))
    if spec.run.pack > 1 and (narrow or graphs or not engine or function is not None):
        message = "only the trainer 'engine' packs trials, in neither bfloat16 nor CUDA graphs"
        found.append(("run.pack", message))
    elif spec.run.pack > 1:
        found.append(("run.pack", _not_plain(loaded, "be packed")))
    return [loaded.problem(path, message) for path, message in found if message is not None]


def absent(loaded: Loaded) -> list[Problem]:
    """What the spec asks of the machine that runs it, and this one lacks. May import torch."""
    ask = getattr(member(TRAINERS, loaded.spec.trainer.name), "absent", lambda loaded: None)
    found = ask(loaded)
    return [] if found is None else [loaded.problem(*found)]


def _of_family(loaded: Loaded, domain: Domain) -> list[tuple[str, str | None]]:
    section = loaded.spec.family
    family = member(FAMILIES, section.name).FAMILY
    if section.name == "none":
        message = (
            f"'none' has no model for steep's engine to train: name a family ({_fitting(domain)}), "
            "or your own code (trainer: {name: command, ...} or function)"
        )
        return [("family.name", message)]
    if family.kind != domain.kind:
        message = f"{family.name} is made for a {family.kind} domain"
        return [("family.name", f"{message}; for {loaded.spec.domain.name}: {_fitting(domain)}")]
    needed = {"optimizer", "learning_rate", "batch_size"}
    needed |= {"sequence_length"} if family.kind == "stream" else set()
    if missing := sorted(needed - set(family.recipe)):
        message = (
            f"the recipe of {family.name} has no {', '.join(missing)}: its FAMILY must name it"
        )
        return [("family.name", message)]
    if section.sizes[0] < family.smallest:
        message = f"the smallest {family.dial} of {family.name} is {family.smallest}"
        return [("family.sizes", message)]
    return []


def _fitting(domain: Domain) -> str:
    """The families that model the domain."""
    found = [name for name in FAMILIES if member(FAMILIES, name).FAMILY.kind == domain.kind]
    return ", ".join(found) or "none models this domain"


def _of_function(loaded: Loaded, function: Callable[..., Any] | None) -> str | None:
    names = [*dict(loaded.spec.training), *loaded.spec.search.hyperparameters]
    module = member(TRAINERS, "function")
    try:
        module.check(function or module.found(loaded), names)
    except ValueError as error:
        return str(error)
    return None


def _not_plain(loaded: Loaded, what: str) -> str | None:
    """An error if ``what`` needs a plain implementation (``FAMILY.plain``) that this family lacks;
    else None."""
    if member(FAMILIES, loaded.spec.family.name).FAMILY.plain:
        return None
    known = ", ".join(sorted(name for name in FAMILIES if member(FAMILIES, name).FAMILY.plain))
    return f"{loaded.spec.family.name} cannot {what}; these can: {known}"
