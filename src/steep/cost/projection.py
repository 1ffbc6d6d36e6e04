"""What a target error takes: data, model, compute, memory, time, energy; and what compute buys.

Everything is a function of draws: of the learning curve, of the size law, and of what a step of a
model of some size costs. Draws go in, an interval comes out, and a target that some draws never
reach has no upper end. Nothing here imports torch: steps were counted before (engine/steps.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from steep.cost.first_order import first_orders
from steep.cost.roofline import BOUNDS, Site, Steps
from steep.laws.law import Array
from steep.records import (
    ALREADY_MET,
    CostAnswer,
    CostCurve,
    Interval,
    Limit,
    Machine,
    Projection,
    Purchase,
    Scaling,
    TrialTimes,
)
from steep.stats.draws import BENT
from steep.stats.inverse import best_fit_sizes, first_crossings, reachable, target_crossing

TOO_LARGE = "does not fit in memory"
FACTORS = (2.0, 10.0, 100.0)
"""Multiples of today's compute whose value is given by default."""
HOUR = 3600.0


def cost(
    scaling: Scaling,
    target: Iterable[float] = (),
    *,
    machine: Machine | None = None,
    devices: int = 1,
    batch: float | None = None,
    price: float | None = None,
    factors: Iterable[float] = FACTORS,
    budget: float | None = None,
) -> CostAnswer:
    """What each ``target`` error takes on ``devices`` of a ``machine``, and what compute buys.

    Without a machine the time is that of the study's own trials, where there are any; where nothing
    is known of steps the answer is data and model size alone.

    ``batch`` is in units of m, of all devices together (default: what the steps were counted
    with); ``price`` is of a device-hour, in any currency; ``factors`` are multiples of the compute
    of one best-fit training run on the data at hand; ``budget`` is the FLOPs that a run may take,
    to say whether data or compute is short. Raises ValueError for impossible numbers."""
    wanted = [float(t) for t in target]
    if any(not t > 0 for t in wanted) or devices < 1 or (batch is not None and not batch > 0):
        raise ValueError("targets, devices and batch must be positive")
    if machine is not None and not scaling.steps:
        raise ValueError("nothing is known of what a step costs")
    if devices > 1 and (machine is None or machine.link is None):
        where = "the study's own machine" if machine is None else machine.title
        raise ValueError(f"{where} works alone: one device")
    site = None
    if machine is not None:
        many = float(batch or scaling.steps[0].batch)
        site = Site(machine, devices, max(many, scaling.steps[0].units * devices), price)
    counted = bool(scaling.steps) and scaling.steps[0].size > 0
    known = scaling.samples is not None and bool(scaling.steps) and bool(scaling.size_draws)
    return CostAnswer(
        name=scaling.name,
        unit=scaling.unit,
        metric=scaling.metric,
        machine=machine,
        devices=devices,
        batch=site.batch if site is not None and (batch or counted) else None,
        projections=tuple(project(scaling, t, site) for t in wanted),
        purchases=tuple(buys(scaling, f) for f in factors) if known else (),
        limit=limit(scaling, budget) if scaling.samples is not None else None,
        first_order=first_orders(scaling.steps),
        assumptions=scaling.assumptions,
        notes=scaling.notes,
        level=scaling.level,
        price=price,
        guesses=scaling.guesses,
        times=scaling.times if machine is None else None,
        highest=scaling.highest,
    )


# ---------------------------------------------------------------- a target


def project(scaling: Scaling, target: float, site: Site | None = None) -> Projection:
    """One target error. The largest outcome decides: out of reach, then too large. Without a
    ``site``: data, model size, and compute and time as far as they were measured."""
    curve = Draws(scaling)
    log_m, level, here = curve.reaches(target), scaling.level, scaling.samples
    found = target_crossing(log_m, level, scaling.first, here)
    blank = Projection(
        target,
        found.outcome,
        found.samples,
        found.factor,
        found.unreachable,
        level=level,
        smallest=found.smallest,
    )
    if found.samples.value is None or found.outcome == ALREADY_MET:
        return blank
    there = reachable(log_m, here)
    m = np.exp(log_m[there])
    whole = len(log_m)

    def over(values: Array) -> Interval:
        """Draws that never get there need no end of anything."""
        every = np.concatenate([values, np.full(whole - len(values), np.inf)])
        return _interval(every, level)

    blank = replace(blank, samples=over(m) if found.smallest is None else found.samples)
    p = None
    if scaling.size_draws:
        p = curve.parameters(log_m)[there]
        blank = replace(blank, parameters=over(p))
    if site is None:
        flops = seconds = None
        if p is not None and scaling.steps:
            flops = over(m * scaling.passes * Steps(scaling.steps).at("flops", p))
        if scaling.times is not None:
            seconds = over(trial_seconds(scaling.times, m, p))
        return replace(blank, flops=flops, seconds=seconds)
    if p is None:
        raise ValueError("the size of the best model is not known: no time on a machine without it")
    run = Steps(scaling.steps).run(p, m * scaling.passes, site)
    fits = float(np.mean(run.fits))
    watts = site.machine.watts
    device_seconds = run.seconds * site.devices
    return replace(
        blank,
        outcome=found.outcome if fits >= 0.5 else TOO_LARGE,
        flops=over(run.flops),
        memory=over(run.memory),
        fits=fits,
        seconds=over(run.seconds),
        joules=None if watts is None else over(device_seconds * watts),
        price=None if site.price is None else over(device_seconds / HOUR * site.price),
        bound=BOUNDS[int(np.bincount(run.bound).argmax())],
        utilisation=float(np.median(run.flops / (run.seconds * site.devices * site.machine.flops))),
        at_once=float(np.median(run.at_once)),
    )


def trial_seconds(times: TrialTimes, m: Array, parameters: Array | None) -> Array:
    """Seconds of a run on m (draws,) with a model of ``parameters`` (draws,), per draw, as the
    study's own trials took."""
    order = np.arange(len(m)) % len(times.draws)
    level, data, size = np.array(times.draws)[order].T
    log_p = times.center[1] if parameters is None else np.log(parameters)
    grown = level + data * (np.log(m) - times.center[0]) + size * (log_p - times.center[1])
    return np.asarray(np.exp(grown))


def _interval(values: Array, level: float) -> Interval:
    """Median and ends of draws, some perhaps infinite; what is certain has no ends."""
    if np.ptp(values[np.isfinite(values)]) == 0 and np.isfinite(values).all():
        return Interval(float(values[0]), None, None, level)
    lower, middle, upper = (v if np.isfinite(v) else None for v in _ends(values, level))
    return Interval(middle, lower, upper, level)


def _ends(values: Array, level: float) -> tuple[float, float, float]:
    wanted = [0.5 - level / 2, 0.5, 0.5 + level / 2]
    lower, middle, upper = np.quantile(values, wanted, method="inverted_cdf").tolist()
    return lower, middle, upper


class Draws:
    """A scaling's draws as arrays: curves (draws, places), and the size law beside them."""

    def __init__(self, scaling: Scaling) -> None:
        self.grid = np.array(scaling.log_samples)
        self.curves = np.array(scaling.log_error)
        self.sizes = scaling.size_draws
        self.center = scaling.size_center
        self.here = -np.inf if scaling.samples is None else float(np.log(scaling.samples))
        self.first = scaling.first
        self.smallest = scaling.smallest

    def reaches(self, error: float) -> Array:
        """Per draw, log m at which the curve falls to ``error``; inf: never."""
        return first_crossings(self.curves, self.grid, error, self.first)

    def parameters(self, log_m: Array) -> Array:
        """Best-fit parameters at log m (draws,) or (draws, places); inf where m is.

        Beyond the data at hand no model is smaller than the smallest adequate one there."""
        if len(log_m) != len(self.curves):
            raise ValueError("one log m per draw")
        found = best_fit_sizes(log_m, self.sizes, self.center, self.smallest, self.here)
        return np.exp(found)


# ---------------------------------------------------------------- the frontier


def buys(scaling: Scaling, factor: float) -> Purchase:
    """What ``factor`` times the compute of a run on the data at hand buys, if as much more data and
    as much larger a model are had as fit together: C = epochs m f(s(m)), f the FLOPs a unit."""
    if not factor > 0 or scaling.samples is None:
        raise ValueError("a multiple of today's compute needs the data at hand, and is positive")
    curve, steps, level = Draws(scaling), Steps(scaling.steps), scaling.level
    here = np.log(scaling.samples)
    grid = np.concatenate([[here], curve.grid[curve.grid > here]])
    if factor < 1:
        grid = np.concatenate([curve.grid[curve.grid < here], [here]])
    places = np.broadcast_to(grid, (len(curve.curves), len(grid)))
    sizes = curve.parameters(places)
    compute = np.log(scaling.passes) + grid + np.log(steps.at("flops", sizes))
    today = compute[:, 0 if factor >= 1 else -1]
    found = np.array(
        [
            (
                m := float(np.interp(c + np.log(factor), row, grid)),
                float(np.interp(m, grid, np.log(size))),
                float(np.interp(m, curve.grid, errors)),
                float(np.interp(here, curve.grid, errors)),
            )
            for c, row, size, errors in zip(today, compute, sizes, curve.curves, strict=True)
        ]
    )
    m, p, error, before = found.T
    ratio = np.exp(error - before)
    return Purchase(
        factor,
        _interval(np.exp(today) * factor, level),
        _interval(np.exp(m), level),
        _interval(np.exp(p), level),
        _interval(np.exp(error), level),
        _interval(ratio, level),
        _interval(1 / ratio - 1, level),
    )


def cost_curves(
    scaling: Scaling, machines: Iterable[Machine], factors: Iterable[float]
) -> tuple[CostCurve, ...]:
    """Error along multiples of today's compute, and the time of each on one device of each kind."""
    bought = tuple(buys(scaling, f) for f in factors)
    steps = Steps(scaling.steps)
    p = np.array([b.parameters.value for b in bought], float)
    m = np.array([b.samples.value for b in bought], float)
    found = []
    for machine in machines:
        site = Site(machine, 1, scaling.steps[0].batch)
        run = steps.run(p, m * scaling.passes, site)
        took = zip(run.seconds, run.fits, strict=True)
        found.append(CostCurve(machine, bought, tuple(float(s) if ok else None for s, ok in took)))
    return tuple(found)


def limit(scaling: Scaling, budget: float | None = None) -> Limit:
    """Whether data, compute or a floor holds the error where it is.

    A floor, where the curve falls less than half as fast as it did at its steepest in most draws
    (the region of irreducible error). Else compute, where one run of the best-fit model on all the
    data costs more than the ``budget``. Else data."""
    if scaling.samples is None:
        raise ValueError("the data at hand is not known")
    curve, level = Draws(scaling), scaling.level
    here = np.log(scaling.samples)
    slopes = np.diff(curve.curves, axis=1) / np.diff(curve.grid)
    middle = (curve.grid[1:] + curve.grid[:-1]) / 2
    past = (middle <= here) & (middle >= np.log(scaling.first or 1.0))
    steepest = slopes[:, past].min(axis=1) if past.any() else slopes[:, 0]
    now = np.array([np.interp(here, middle, row) for row in slopes])
    flops = None
    if scaling.steps and scaling.size_draws:
        flops = buys(scaling, 1.0).flops
    word = "data"
    if float(np.mean(now > BENT * steepest)) > 0.5:
        word = "floor"
    elif budget is not None and flops is not None and (flops.value or 0.0) > budget:
        word = "compute"
    return Limit(
        word,
        scaling.samples,
        flops,
        budget,
        _interval(now, level),
        _interval(steepest, level),
        any(slope != 0.0 for _, slope in scaling.size_draws),
    )
