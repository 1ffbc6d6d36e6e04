"""What lower errors would cost, from a study's analysis, measurements and counted steps."""

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
    SCORED,
    Analysis,
    CostReport,
    Machine,
    Measurement,
    Scaling,
    StepCost,
    TrialTimes,
)
from steep.spec.load import NoAnswer

ONLY_FLOPS = (
    "Of a step only FLOPs are known: 16 bytes of memory a parameter (Adam in 32 bits) are assumed, "
    "and time by FLOPs alone."
)
REDUCTIONS = (0.9, 0.75, 0.5)
"""Default targets, as shares of today's error: a tenth, a quarter and a half less."""
ELSEWHERE = ("v100", "a100", "h100", "b200")
"""Machines that a report shows besides the study's own."""
LARGEST_SHARDS = 3
"""How many of the largest data sizes predict the time of a larger run."""
TIME_DRAWS = 400
CURVE = tuple(10 ** (i / 4) for i in range(13))
"""Multiples of today's compute along a report's curves, up to a thousand."""


def scaling_of(
    analysis: Analysis,
    facts: Facts,
    measurements: Sequence[Measurement],
    counted: Sequence[StepCost],
    goals: Sequence[Goal] = (),
) -> Scaling:
    """The learning curve that ``goals`` are about, the size law and the step costs as one record.

    If only FLOPs were counted, the step costs are made from them; for the user's own code, from
    what its trials reported and how long they took. Raises NoAnswer with the reason if nothing can
    be projected, and QuestionError for goals that no curve can have."""
    fitted = [b for b in analysis.best_fits if not b.withheld]
    if not analysis.curves or not fitted:
        if not analysis.best_fits:
            raise NoAnswer(f"{analysis.study} has no finished models to project from")
        raise NoAnswer(f"{analysis.study}: too few trials ended to choose the best models")
    compute = compute_of(facts, fitted, measurements)
    steps: Sequence[StepCost] | None = counted or steps_from_flops(facts.sizes) or None
    epochs = None if compute is None else compute[1]
    if steps is None:  # the user's own code: what its trials reported
        steps, epochs = reported_steps(measurements), reported_epochs(measurements)
    try:
        scale = scaling(
            asked_about(analysis, goals).fit,
            dict(analysis.size_laws)["smallest adequate"],
            steps,
            parameters=smallest_adequate(fitted) or None,
            adequate_at=max(b.samples for b in fitted),
            epochs=epochs,
            fixed=len({m.trial.size for m in measurements}) == 1,
            name=analysis.study,
        )
    except ValueError as error:
        raise NoAnswer(f"{analysis.study}: {error}") from None
    if counted:
        return scale
    if facts.sizes:
        return replace(scale, assumptions=(*scale.assumptions, ONLY_FLOPS))
    return replace(scale, times=trial_times(measurements))


def reported_steps(measurements: Sequence[Measurement]) -> tuple[StepCost, ...] | None:
    """The cost of one unit of data by model size, from the FLOPs and parameters that the user's own
    code reported for whole runs on the largest shard of each size; None if it reported none.

    If it did not report the samples seen, the cost of a unit includes all passes over it."""
    costs: dict[int, tuple[int, float]] = {}
    finished = [m for m in measurements if m.status in SCORED and m.flops and m.parameters]
    for size in {m.trial.size for m in finished}:
        runs = [m for m in finished if m.trial.size == size]
        largest = max(m.trial.samples for m in runs)
        per_unit = [
            (m.flops or 0.0) / (m.samples_seen or m.trial.samples)
            for m in runs
            if m.trial.samples == largest
        ]
        costs[size] = (runs[0].parameters or 0, statistics.median(per_unit))
    return steps_from_flops(costs) or None


def reported_epochs(measurements: Sequence[Measurement]) -> float | None:
    """Passes over the data that the user's own code reported on the largest shard; 1 if the FLOPs
    per unit include all passes; None if unknown."""
    finished = [m for m in measurements if m.status in SCORED]
    counted = [m for m in finished if m.samples_seen]
    if not counted:
        return 1.0 if any(m.flops for m in finished) else None
    largest = max(m.trial.samples for m in counted)
    return statistics.median(
        m.samples_seen / m.trial.samples for m in counted if m.trial.samples == largest
    )


def trial_times(measurements: Sequence[Measurement]) -> TrialTimes | None:
    """How the time of the study's trials grows with data and parameters: log time by least squares
    over the largest data sizes, where startup time matters least. None for fewer than two sizes."""
    finished = [m for m in measurements if m.status in SCORED and m.seconds > 0]
    shards = sorted({m.trial.samples for m in finished})[-LARGEST_SHARDS:]
    finished = [m for m in finished if m.trial.samples in shards]
    if len(shards) < 2 or len(finished) < 3:
        return None
    log_m = np.log([m.trial.samples for m in finished])
    log_p = np.log([float(m.parameters or 1) for m in finished])
    center = float(log_m.mean()), float(log_p.mean())
    columns = [np.ones(len(finished)), log_m - center[0]]
    if all(m.parameters for m in finished) and np.ptp(log_p) > 0:
        columns.append(log_p - center[1])
    x, y = np.stack(columns, axis=1), np.log([m.seconds for m in finished])
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    if rank < x.shape[1]:
        return None
    df = max(len(finished) - int(rank), 1)
    scatter = float(((y - x @ coefficients) ** 2).sum() / df) ** 0.5
    spread = np.linalg.cholesky(np.linalg.inv(x.T @ x) + 1e-12 * np.eye(x.shape[1]))
    rng = np.random.default_rng(20171201)
    normal = rng.standard_normal((TIME_DRAWS, x.shape[1])) @ spread.T
    draws = coefficients + scatter * normal * np.sqrt(df / rng.chisquare(df, TIME_DRAWS))[:, None]
    # more data or a larger model never shortens a run
    draws[:, 1:] = np.maximum(draws[:, 1:], 0.0)
    padded = np.concatenate([draws, np.zeros((TIME_DRAWS, 3 - x.shape[1]))], axis=1)
    return TrialTimes(center, tuple(map(tuple, padded.tolist())), len(finished), max(shards))


def with_cost(
    analysis: Analysis,
    facts: Facts,
    measurements: Sequence[Measurement],
    counted: Sequence[StepCost],
) -> Analysis:
    """The analysis with what lower errors would cost, if that can be projected.

    It needs a trainer that counts FLOPs; otherwise the cost of a step is unknown."""
    if not (counted or facts.sizes):
        return analysis
    try:
        scale = scaling_of(analysis, facts, measurements, counted)
    except NoAnswer:
        return analysis
    return replace(
        analysis, cost=cost_report(scale, machine_of(measurements, scale.smallest), bool(counted))
    )


def machine_of(measurements: Sequence[Measurement], parameters: float = 0.0) -> Machine | None:
    """One worker of the study's machine, with the FLOP rate at which it trained models of about so
    many ``parameters``, or by default those on the most data; None if no FLOPs were counted. Small
    models take most of their time between operations, so the rate differs by size. It includes the
    time of evaluations."""
    finished = [m for m in measurements if m.flops and m.seconds > 0]
    if not finished:
        return None
    counts = {m.trial.size: float(m.parameters) for m in finished if m.parameters}
    if not parameters:
        most = max(m.trial.samples for m in finished)
        largest = max(m.trial.size for m in finished if m.trial.samples == most)
        parameters = counts.get(largest, 0.0)
    size = max(m.trial.size for m in finished)
    if parameters and counts:
        size = min(counts, key=lambda s: (abs(np.log(counts[s] / parameters)), s))
    rates = [m.flops / m.seconds for m in finished if m.trial.size == size and m.flops]
    runs = "one trial" if len(rates) == 1 else f"the median of {len(rates)} trials"
    return Machine(
        name="here",
        title="one worker of this study's machine",
        precision="fp32",
        flops=statistics.median(rates),
        source=f"{runs} of size {size}",
    )


def cost_report(
    scaling: Scaling, study_machine: Machine | None, counted: bool = True
) -> CostReport:
    """A report's costs: the usual targets on the study's machine and on others, and the curves.

    If no steps were ``counted``, other machines are left out: small models there wait for memory
    and kernel launches, so an estimate from FLOPs alone could be a thousand times too fast."""
    goals = usual_targets(scaling)
    reference = study_machine or machine(ELSEWHERE[0])
    others = [machine(name) for name in ELSEWHERE if counted and name != reference.name]
    return CostReport(
        cost(scaling, goals, machine=reference),
        tuple(cost(scaling, goals, machine=kind, factors=()) for kind in others),
        cost_curves(scaling, (reference, *others), CURVE),
    )


def usual_targets(scaling: Scaling) -> list[float]:
    """The ``REDUCTIONS`` of the curve's error at the data at hand, rounded."""
    if scaling.samples is None:
        return []
    at = np.log(scaling.samples)
    error = np.exp(
        np.median([np.interp(at, scaling.log_samples, row) for row in scaling.log_error])
    )
    return [float(np.format_float_scientific(share * error, 2)) for share in REDUCTIONS]
