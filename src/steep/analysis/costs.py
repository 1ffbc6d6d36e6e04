"""What lower errors would take, of a study's analysis, measurements and counted steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steep.analysis.analyse import Facts, compute_of, smallest_adequate
from steep.analysis.asked import Goal, asked_about
from steep.cost.machines import machine
from steep.cost.projection import cost, cost_curves
from steep.cost.scaling import scaling, steps_from_flops
from steep.records import (
    Analysis,
    CostReport,
    Machine,
    Measurement,
    Scaling,
    Status,
    StepCost,
    TrialTimes,
)
from steep.spec.load import NoAnswer

ONLY_FLOPS = (
    "Of a step only FLOPs are known: 16 bytes of memory a parameter (Adam in 32 bits) are assumed, "
    "and time by FLOPs alone."
)
REDUCTIONS = (0.9, 0.75, 0.5)
"""Targets where none is given: a tenth, a quarter and a half off today's error."""
ELSEWHERE = ("v100", "a100", "h100", "b200")
"""Machines that a report shows beside the study's own."""
LARGEST_SHARDS = 3
"""The sizes of data from which the time of a larger run is told."""
TIME_DRAWS = 400
CURVE = tuple(10 ** (i / 4) for i in range(13))
"""Multiples of today's compute along a report's curves: up to a thousand."""


def scaling_of(
    made: Analysis,
    known: Facts,
    measurements: Sequence[Measurement],
    counted: Sequence[StepCost],
    goals: Sequence[Goal] = (),
) -> Scaling:
    """The study's learning curve that ``goals`` are about, its size law and step costs as one; of
    the user's own code what its trials reported and how long they took.
    Raises NoAnswer where nothing can be projected, with the reason, and QuestionError for goals
    of no curve. Of a study that counted FLOPs alone, these are taken."""
    fitted = [b for b in made.best_fits if not b.waits and not b.withheld]
    if not made.curves or not fitted:
        if not made.best_fits:
            raise NoAnswer(f"{made.study} has no finished models to project from")
        raise NoAnswer(f"{made.study}: too little was tried to say which models are best")
    compute = compute_of(known, fitted, measurements)
    steps: Sequence[StepCost] | None = counted or steps_from_flops(known.sizes) or None
    epochs = None if compute is None else compute[1]
    if steps is None:  # the user's own code: what its trials reported
        steps, epochs = reported_steps(measurements), reported_epochs(measurements)
    try:
        scale = scaling(
            asked_about(made, goals).fit,
            dict(made.size_laws)["smallest adequate"],
            steps,
            parameters=smallest_adequate(fitted) or None,
            epochs=epochs,
            fixed=len({m.trial.size for m in measurements}) == 1,
            name=made.study,
        )
    except ValueError as error:
        raise NoAnswer(f"{made.study}: {error}") from None
    if counted:
        return scale
    if known.sizes:
        return replace(scale, assumptions=(*scale.assumptions, ONLY_FLOPS))
    return replace(scale, times=trial_times(measurements))


ENDED = (Status.COMPLETE, Status.CAPPED)


def reported_steps(measurements: Sequence[Measurement]) -> tuple[StepCost, ...] | None:
    """What a unit of data takes, by size, of the FLOPs and parameters that the user's own code
    reported for whole runs, on the largest shard of each size; None where it reported none. Where
    it did not say how many passes it made, they are all in it."""
    found: dict[int, tuple[int, float]] = {}
    done = [m for m in measurements if m.status in ENDED and m.flops and m.parameters]
    for size in {m.trial.size for m in done}:
        runs = [m for m in done if m.trial.size == size]
        largest = max(m.trial.samples for m in runs)
        each = [
            (m.flops or 0.0) / (m.samples_seen or m.trial.samples)
            for m in runs
            if m.trial.samples == largest
        ]
        found[size] = (runs[0].parameters or 0, statistics.median(each))
    return steps_from_flops(found) or None


def reported_epochs(measurements: Sequence[Measurement]) -> float | None:
    """Passes over the data that the user's own code reported, on the largest shard; 1 where the
    FLOPs that it reported have them all in them; None where nobody knows."""
    done = [m for m in measurements if m.status in ENDED]
    told = [m for m in done if m.samples_seen]
    if not told:
        return 1.0 if any(m.flops for m in done) else None
    largest = max(m.trial.samples for m in told)
    return statistics.median(
        m.samples_seen / m.trial.samples for m in told if m.trial.samples == largest
    )


def trial_times(measurements: Sequence[Measurement]) -> TrialTimes | None:
    """How the time of a study's own trials grows with data and parameters: a line through the logs
    by least squares, over the larger sizes of data, where starting up counts for less. None for
    fewer than two sizes of data."""
    done = [m for m in measurements if m.status in ENDED and m.seconds > 0]
    shards = sorted({m.trial.samples for m in done})[-LARGEST_SHARDS:]
    done = [m for m in done if m.trial.samples in shards]
    if len(shards) < 2 or len(done) < 3:
        return None
    log_m = np.log([m.trial.samples for m in done])
    log_p = np.log([float(m.parameters or 1) for m in done])
    center = float(log_m.mean()), float(log_p.mean())
    columns = [np.ones(len(done)), log_m - center[0]]
    if all(m.parameters for m in done) and np.ptp(log_p) > 0:
        columns.append(log_p - center[1])
    x, y = np.stack(columns, axis=1), np.log([m.seconds for m in done])
    found, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    if rank < x.shape[1]:
        return None
    df = max(len(done) - int(rank), 1)
    scatter = float(((y - x @ found) ** 2).sum() / df) ** 0.5
    spread = np.linalg.cholesky(np.linalg.inv(x.T @ x) + 1e-12 * np.eye(x.shape[1]))
    rng = np.random.default_rng(20171201)
    normal = rng.standard_normal((TIME_DRAWS, x.shape[1])) @ spread.T
    draws = found + scatter * normal * np.sqrt(df / rng.chisquare(df, TIME_DRAWS))[:, None]
    draws[:, 1:] = np.maximum(
        draws[:, 1:], 0.0
    )  # no run is shorter for more data or a larger model
    whole = np.concatenate([draws, np.zeros((TIME_DRAWS, 3 - x.shape[1]))], axis=1)
    return TrialTimes(center, tuple(map(tuple, whole.tolist())), len(done), max(shards))


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
    except NoAnswer:
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
