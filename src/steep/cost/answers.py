"""``steep cost``: of a study, a table of results, a law given by hand, the follow-up's domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from steep.answers import Source, error_asked, fits_of
from steep.asked import Goal, goal_of
from steep.config import QuestionError
from steep.cost.machines import machine
from steep.cost.of_study import machine_of, usual_targets
from steep.cost.projection import FACTORS, cost
from steep.records import CostAnswer, Machine, Scaling

DEFAULT_MACHINE = "h100"
"""Where a law is given by hand; a study's default is the machine that it ran on."""


@dataclass(frozen=True)
class Law:
    """A law given by hand: ``--alpha`` and so on. None: not given."""

    alpha: float | None = None
    beta_g: float | None = None
    floor: float = 0.0
    sigma: float | None = None
    beta_p: float | None = None
    flops_per_parameter: float = 6.0
    data: float | None = None
    epochs: float = 1.0
    unit: str = "samples"
    metric: str = "error"

    @property
    def given(self) -> bool:
        return any(v is not None for v in (self.alpha, self.beta_g, self.sigma, self.beta_p))


@dataclass(frozen=True)
class Where:
    """Machines and what is asked of them. None: the default."""

    machine: str | None = None
    devices: int = 1
    batch: float | None = None
    precision: str | None = None
    achieve: float | None = None
    price: float | None = None
    within: float | None = None
    """Seconds that a run may take: the compute at hand."""
    flops: float | None = None
    """FLOPs that a run may take."""
    factors: Sequence[float] = field(default=FACTORS)


def cost_of(
    source: Source | None,
    law: Law,
    targets: Sequence[str],
    where: Where,
    level: float = 0.9,
) -> list[CostAnswer]:
    """One answer a curve. Raises QuestionError where the question has no answer as asked."""
    if (source is None) == (not law.given):
        raise QuestionError(
            "name a study or a table, or give a law: --alpha --beta-g --sigma --beta-p"
        )
    goals = [goal_of(text) for text in targets]
    if source is not None:
        found = _of_source(source, law, goals, level)
    else:
        found = [(_by_hand(law), None)]
    return [_answer(scaling, own, goals, where) for scaling, own in found]


def _answer(
    scaling: Scaling, own: Machine | None, asked: Sequence[Goal], where: Where
) -> CostAnswer:
    site = own if own is not None and where.machine is None else None
    if site is None:
        site = machine(where.machine or DEFAULT_MACHINE, where.precision, where.achieve)
    elif where.precision or where.achieve:
        raise QuestionError("--precision and --achieve belong to a --machine of the catalogue")
    goals = [goal.of(scaling.metric) for goal in asked] or usual_targets(scaling)
    if not goals:
        raise QuestionError("nothing is asked: give a --target, or the data at hand with --have")
    if where.devices > 1 and where.batch is None and not scaling.steps[0].size:
        raise QuestionError("several devices share a batch: give its --batch, in units of data")
    budget = where.flops
    if where.within is not None:
        budget = where.within * where.devices * site.flops * site.flops_share
    try:
        return cost(
            scaling,
            goals,
            machine=site,
            devices=where.devices,
            batch=where.batch,
            price=where.price,
            factors=where.factors,
            budget=budget,
        )
    except ValueError as error:
        raise QuestionError(str(error)) from None


def _of_source(
    source: Source, law: Law, goals: Sequence[Goal], level: float
) -> list[tuple[Scaling, Machine | None]]:
    if source.is_study:
        study = source.study()
        return [(study.scaling(level, goals), machine_of(study.measurements()))]
    from steep.cost.scaling import dense_steps, scaling
    from steep.fit import fit_size_law

    found: list[tuple[Scaling, Machine | None]] = []
    for curve in fits_of(source, level):
        for goal in goals:
            error_asked(goal, curve.fit)
        sized = [p for p in curve.fit.used if p.parameters]
        if not sized:
            raise QuestionError(
                f"{curve.name} has no column of model sizes: name it with --parameters, or give "
                "the law by hand"
            )
        sizes = [float(p.parameters or 0.0) for p in sized]
        size_law = fit_size_law([p.samples for p in sized], sizes, level=level)
        steps = dense_steps(law.flops_per_parameter)
        try:
            made = scaling(
                curve.fit,
                size_law,
                steps,
                parameters=sizes[-1],
                epochs=law.epochs,
                name=curve.name,
            )
        except ValueError as error:
            raise QuestionError(f"{curve.name}: {error}") from None
        found.append((_dense(made, law), None))
    return found


def _by_hand(law: Law) -> Scaling:
    from steep.cost.first_order import scaling_by_hand
    from steep.cost.scaling import dense_steps

    wanted = {"alpha": law.alpha, "beta-g": law.beta_g, "sigma": law.sigma, "beta-p": law.beta_p}
    missing = [f"--{name}" for name, value in wanted.items() if value is None]
    if missing:
        raise QuestionError(f"a law given by hand needs {', '.join(missing)}, too")
    if not law.flops_per_parameter > 0 or not law.epochs > 0:
        raise QuestionError("--flops-per-parameter and --epochs: positive numbers")
    if law.data is not None and not law.data > 0:
        raise QuestionError("--have: a positive number")
    assert None not in (law.alpha, law.beta_g, law.sigma, law.beta_p)
    try:
        made = scaling_by_hand(
            law.alpha or 0.0,
            law.beta_g or 0.0,
            sigma=law.sigma or 0.0,
            beta_p=law.beta_p or 0.0,
            steps=dense_steps(law.flops_per_parameter),
            floor=law.floor,
            samples=law.data,
            epochs=law.epochs,
            unit=law.unit,
            metric=law.metric,
        )
    except ValueError as error:
        raise QuestionError(str(error)) from None
    return _dense(made, law)


def _dense(scaling: Scaling, law: Law) -> Scaling:
    """With the assumption that stands for counted steps."""
    from steep.cost.scaling import DENSE

    said = DENSE.format(flops=law.flops_per_parameter)
    return replace(scaling, assumptions=(*scaling.assumptions, said))


def follow_up_answers(where: Where) -> list[CostAnswer]:
    """The follow-up's five domains at their own targets, on a machine of the catalogue."""
    from steep.cost.follow_up import domain_scaling, domains
    from steep.cost.follow_up import target_of as domain_target

    site = machine(where.machine or "follow-up", where.precision, where.achieve)
    options: dict[str, Any] = {"devices": where.devices, "price": where.price}
    try:
        return [
            cost(domain_scaling(name), [domain_target(name)], machine=site, **options)
            for name in domains()
        ]
    except ValueError as error:
        raise QuestionError(str(error)) from None
