"""What lower errors would take, of a study's analysis, measurements and counted steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steep.analysis import Facts, compute_of
from steep.asked import Goal, asked_about
from steep.cost.machines import machine
from steep.cost.projection import cost, cost_curves
from steep.cost.scaling import scaling, steps_from_flops
from steep.folder import StoreError
from steep.records import Analysis, CostReport, Machine, Measurement, Scaling, StepCost

ONLY_FLOPS = (
    "Of a step only FLOPs are known: 16 bytes of memory a parameter (Adam in 32 bits) are assumed, "
    "and time by FLOPs alone."
)
REDUCTIONS = (0.9, 0.75, 0.5)
"""Targets where none is given: a tenth, a quarter and a half off today's error."""
ELSEWHERE = ("v100", "a100", "h100", "b200")
"""Machines that a report shows beside the study's own."""
CURVE = tuple(10 ** (i / 4) for i in range(13))
"""Multiples of today's compute along a report's curves: up to a thousand."""


def scaling_of(
    made: Analysis,
    known: Facts,
    measurements: Sequence[Measurement],
    counted: Sequence[StepCost],
    goals: Sequence[Goal] = (),
) -> Scaling:
    """The study's learning curve that ``goals`` are about, its size law and step costs as one.
    Raises StoreError where nothing can be projected, with the reason, and QuestionError for goals
    of no curve. Of a study that counted FLOPs alone, these are taken."""
    fitted = [b for b in made.best_fits if not b.waits and not b.withheld]
    if not made.curves or not fitted:
        raise StoreError(f"{made.study} has no finished models to project from")
    last = max(fitted, key=lambda b: b.samples)
    compute = compute_of(known, fitted, measurements)
    try:
        scale = scaling(
            asked_about(made, goals).fit,
            dict(made.size_laws)["smallest adequate"],
            counted or steps_from_flops(known.sizes),
            parameters=float(last.adequate.parameters) or None,
            epochs=1.0 if compute is None else compute[1],
            name=made.study,
        )
    except ValueError as error:
        raise StoreError(f"{made.study}: {error}") from None
    if counted or not known.sizes:
        return scale
    return replace(scale, assumptions=(*scale.assumptions, ONLY_FLOPS))


def with_cost(
    made: Analysis,
    known: Facts,
    measurements: Sequence[Measurement],
    counted: Sequence[StepCost],
) -> Analysis:
    """The analysis with what lower errors take, where that can be projected and the trainer counts
    FLOPs: of other models nobody knows what a step takes."""
    if not (counted or known.sizes):
        return made
    try:
        scale = scaling_of(made, known, measurements, counted)
    except StoreError:
        return made
    return replace(made, cost=cost_report(scale, machine_of(measurements), bool(counted)))


def machine_of(measurements: Sequence[Measurement]) -> Machine | None:
    """One worker of the study's machine, as fast as it trained the largest models; None where no
    FLOPs were counted. Evaluations are in its time; only its FLOP rate is known."""
    done = [m for m in measurements if m.flops and m.seconds > 0]
    if not done:
        return None
    largest = max(m.trial.size for m in done)
    rates = [m.flops / m.seconds for m in done if m.trial.size == largest and m.flops]
    return Machine(
        name="here",
        title="one worker of this study's machine",
        precision="fp32",
        flops=statistics.median(rates),
        source=f"the median of {len(rates)} finished trials of size {largest}",
    )


def cost_report(scaling: Scaling, own: Machine | None, counted: bool = True) -> CostReport:
    """For a study's report: usual targets on its own machine and on others, and the curves.

    Where no step was ``counted`` others are left out: small models wait for memory and launches
    there, and FLOPs alone would make them a thousand times too fast."""
    goals = usual_targets(scaling)
    here = own or machine(ELSEWHERE[0])
    others = [machine(name) for name in ELSEWHERE if counted and name != here.name]
    return CostReport(
        cost(scaling, goals, machine=here),
        tuple(cost(scaling, goals, machine=kind, factors=()) for kind in others),
        cost_curves(scaling, (here, *others), CURVE),
    )


def usual_targets(scaling: Scaling) -> list[float]:
    """Shares of the error that the curve has at the data at hand, rounded to be read."""
    if scaling.samples is None:
        return []
    at = np.log(scaling.samples)
    here = np.exp(np.median([np.interp(at, scaling.log_samples, row) for row in scaling.log_error]))
    return [float(np.format_float_scientific(share * here, 2)) for share in REDUCTIONS]
