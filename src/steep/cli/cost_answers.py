"""``steep cost`` for a study, a table of results, a law by hand, or the follow-up's domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from steep.analysis.asked import Goal, goal_of
from steep.analysis.costs import ONLY_FLOPS, machine_of, usual_targets
from steep.base.metrics import as_error
from steep.cli.answers import Source, error_asked, fits_of
from steep.cost.first_order import scaling_by_hand
from steep.cost.machines import machine
from steep.cost.projection import FACTORS, cost
from steep.cost.scaling import DENSE_FLOPS, dense_guesses, dense_steps, scaling
from steep.records import CostAnswer, Machine, Scaling
from steep.spec.load import NoAnswer, QuestionError
from steep.stats.size_law import size_law_of


@dataclass(frozen=True)
class Law:
    """A law given by hand: ``--alpha`` and so on. None: not given."""

    alpha: float | None = None
    beta_g: float | None = None
    floor: float = 0.0
    sigma: float | None = None
    beta_p: float | None = None
    flops_per_parameter: float | None = None
    """FLOPs per parameter and unit of data to train; None: 6 is assumed if compute is requested."""
    data: float | None = None
    epochs: float | None = None
    """None: one pass is assumed if compute is requested."""
    unit: str = "samples"
    metric: str = "error"

    @property
    def by_hand(self) -> list[str]:
        """The options given that say of such a law what a study or a table knows of itself."""
        own, usual = (self.data, self.floor, self.unit, self.metric), Law()
        without = (usual.data, usual.floor, usual.unit, usual.metric)
        names = ("--have", "--floor", "--unit", "--metric")
        return [n for n, v, w in zip(names, own, without, strict=True) if v != w]

    @property
    def given(self) -> bool:
        return any(v is not None for v in (self.alpha, self.beta_g, self.sigma, self.beta_p))


@dataclass(frozen=True)
class Where:
    """The machine and its limits, and the questions about compute."""

    machine: str | None = None
    """None: the machine that a study ran on; for a table or a law, none, and no times are given."""
    devices: int = 1
    batch: float | None = None
    precision: str | None = None
    achieve: float | None = None
    price: float | None = None
    within: float | None = None
    """The most seconds of a run."""
    flops: float | None = None
    """The most FLOPs of a run."""
    factors: Sequence[float] = ()
    """Multiples of today's compute to evaluate; (): the usual ones."""

    @property
    def asks_for_compute(self) -> bool:
        options = self.machine, self.within, self.flops, self.price
        return any(v is not None for v in options) or bool(self.factors) or self.devices > 1


def cost_of(
    source: Source | None,
    law: Law,
    targets: Sequence[str],
    where: Where,
    level: float = 0.9,
) -> list[CostAnswer]:
    """One answer per curve. Raises QuestionError if the question is invalid or has no answer."""
    if (source is None) == (not law.given):
        raise QuestionError(
            "name a study or a table, or give a law: --alpha --beta-g --sigma --beta-p"
        )
    goals = [goal_of(text) for text in targets]
    if source is not None:
        if law.by_hand:
            raise QuestionError(
                f"{' and '.join(law.by_hand)}: for a law given by hand only. {source.path} says "
                "itself what its data are"
            )
        scalings = _of_source(source, goals, level)
    else:
        scalings = [(_by_hand(law), None)]
    return [
        _answer(_with_compute(s, law, where, source), study_machine, goals, where)
        for s, study_machine in scalings
    ]


def _answer(
    scaling: Scaling, study_machine: Machine | None, targets: Sequence[Goal], where: Where
) -> CostAnswer:
    """The cost of the targets on the given machine, or on the one that the study ran on."""
    site = study_machine if where.machine is None else None
    if where.machine is not None:
        site = machine(where.machine, where.precision, where.achieve)
    elif where.precision or where.achieve:
        raise QuestionError("--precision and --achieve belong to a --machine of the catalogue")
    if site is None:
        machine_options = {
            "--devices": where.devices > 1,
            "--price": where.price,
            "--within": where.within,
        }
        if given := [option for option, value in machine_options.items() if value]:
            raise QuestionError(f"{' and '.join(given)}: of which --machine?")
    goals = [goal.of(scaling.metric) for goal in targets] or usual_targets(scaling)
    if not goals:
        raise QuestionError("nothing to compute: give a --target, or the data at hand with --have")
    if where.devices > 1 and where.batch is None and not (scaling.steps and scaling.steps[0].size):
        raise QuestionError("several devices share a batch: give its --batch, in units of data")
    if site is not None and scaling.times is not None and not scaling.guesses:
        scaling = replace(scaling, assumptions=(*scaling.assumptions, ONLY_FLOPS))
    budget = where.flops
    if where.within is not None and site is not None:
        budget = where.within * where.devices * site.flops * site.flops_share
    try:
        return cost(
            scaling,
            goals,
            machine=site,
            devices=where.devices,
            batch=where.batch,
            price=where.price,
            factors=where.factors or FACTORS,
            budget=budget,
        )
    except ValueError as error:
        raise QuestionError(str(error)) from None


def _how_to_say_sizes(source: Source | None) -> str:
    """How model sizes are told where a source does not have them."""
    if source is None or not source.is_study:
        return "name their column with --parameters"
    trainer = source.study().spec.trainer.name
    if trainer == "command":
        return "report 'parameters' in the JSON line of your command"
    return "return 'parameters' from your function"


def _with_compute(scaling: Scaling, law: Law, where: Where, source: Source | None) -> Scaling:
    """The scaling with the costs of a step that were given by hand. If compute is requested but
    nothing was measured or given, it is guessed."""
    given = law.flops_per_parameter is not None or law.epochs is not None
    if scaling.steps:
        if law.flops_per_parameter is not None:
            raise QuestionError("--flops-per-parameter: this study has counted its own FLOPs")
        return scaling if law.epochs is None else replace(scaling, epochs=law.epochs)
    if not (given or where.asks_for_compute):
        return scaling
    if not scaling.size_draws:
        raise QuestionError(
            f"{scaling.name} has no model sizes, and compute needs them: "
            f"{_how_to_say_sizes(source)}"
        )
    for option, value in (("flops-per-parameter", law.flops_per_parameter), ("epochs", law.epochs)):
        if value is not None and not value > 0:
            raise QuestionError(f"--{option}: a positive number")
    epochs = scaling.epochs if law.epochs is None else law.epochs
    return replace(
        scaling,
        steps=dense_steps(law.flops_per_parameter or DENSE_FLOPS),
        epochs=epochs,
        guesses=dense_guesses(law.flops_per_parameter, epochs),
    )


def _of_source(
    source: Source, goals: Sequence[Goal], level: float
) -> list[tuple[Scaling, Machine | None]]:
    """The scaling of each curve of a source, and the machine that a study ran on."""
    if source.is_study:
        study = source.study()
        result = study.scaling(level, goals)
        # a rate of FLOPs is not needed if the trials show how long runs take
        return [
            (result, None if result.times else machine_of(study.measurements(), result.smallest))
        ]
    scalings: list[Scaling] = []
    unanswered: list[str] = []
    for curve in fits_of(source, level):
        for goal in goals:
            error_asked(goal, curve.fit)
        sized = [p.parameters for p in curve.fit.used if p.parameters]
        try:
            result = scaling(
                curve.fit,
                size_law_of(curve.fit.used, level),
                None,
                parameters=sized[-1] if sized else None,
                fixed=len(sized) > 1 and len(set(sized)) == 1,
                name=curve.name,
            )
        except ValueError as error:
            unanswered.append(f"{curve.name}: {error}")
            continue
        scalings.append(result)
    if not scalings:
        raise NoAnswer("; ".join(unanswered))
    if unanswered:
        names = ", ".join(result.name for result in scalings)
        note = f"This is of {names}. No answer: {'; '.join(unanswered)}."
        scalings[0] = replace(scalings[0], notes=(note, *scalings[0].notes))
    return [(result, None) for result in scalings]


def _by_hand(law: Law) -> Scaling:
    """The scaling of a law that was given by hand."""
    required = {"alpha": law.alpha, "beta-g": law.beta_g, "sigma": law.sigma, "beta-p": law.beta_p}
    missing = [f"--{name}" for name, value in required.items() if value is None]
    if missing:
        raise QuestionError(f"a law given by hand needs {', '.join(missing)}, too")
    if law.data is not None and not law.data > 0:
        raise QuestionError("--have: a positive number")
    try:
        return scaling_by_hand(
            law.alpha or 0.0,
            law.beta_g or 0.0,
            sigma=law.sigma or 0.0,
            beta_p=law.beta_p or 0.0,
            steps=(),
            floor=law.floor,
            samples=law.data,
            unit=law.unit,
            metric=as_error(law.metric),
        )
    except ValueError as error:
        raise QuestionError(str(error)) from None


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
