"""First-order models: constants of Hestness et al. 2019, taken from counts or given by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from steep.records import FirstOrder, Interval, Scaling, StepCost

LINEAR_FROM = 3e7
"""Parameters from which costs are linear in them (Hestness et al. 2019: 30 to 100 million)."""


def first_orders(steps: Sequence[StepCost]) -> tuple[FirstOrder, ...]:
    """gamma, lambda, mu and delta of the smaller models, then of those from 30M parameters on."""
    counted = [s for s in steps if s.size]
    groups = (
        [s for s in counted if s.parameters < LINEAR_FROM],
        [s for s in counted if s.parameters >= LINEAR_FROM],
    )
    return tuple(first_order(group) for group in groups if len(group) > 1)


def first_order(steps: Sequence[StepCost]) -> FirstOrder:
    """The constants over these models, geometric means between the smallest and largest values."""
    p = np.array([s.parameters for s in steps], float)
    units = steps[0].units

    def constant(values: Iterable[float]) -> Interval:
        found = np.array(list(values))
        mean = float(np.exp(np.log(found).mean()))
        return Interval(mean, float(found.min()), float(found.max()), 1.0)

    flops = np.array([(s.flops + s.pointwise) * s.units for s in steps])
    return FirstOrder(
        units=units,
        gamma=constant(flops / p),
        lambda_=constant(s.step_bytes / s.parameters for s in steps),
        mu=constant(s.bytes * s.units / s.parameters**0.5 for s in steps),
        delta=constant(max(s.weights, s.memory) / s.parameters for s in steps),
        models=len(steps),
        smallest=float(p.min()),
        largest=float(p.max()),
        exponent=float(np.polyfit(np.log(p), np.log(flops), 1)[0]) if len(p) > 1 else 1.0,
    )


def steps_by_hand(
    gamma: float,
    *,
    units: float = 1.0,
    lambda_: float = 0.0,
    mu: float = 0.0,
    delta: float = 0.0,
    batch: float = 1.0,
) -> tuple[StepCost, ...]:
    """Steps that follow a first-order model exactly: gamma FLOPs and mu sqrt(p) bytes a sample of
    ``units``, lambda p bytes a step, delta p bytes of memory."""
    return tuple(
        StepCost(
            size=0,
            parameters=p,
            parameters_without_embeddings=p,
            units=units,
            batch=batch * units,
            flops=gamma * p / units,
            pointwise=0.0,
            bytes=mu * p**0.5 / units,
            step_bytes=lambda_ * p,
            activations=0.0,
            memory=0.0,
            weights=delta * p,
        )
        for p in (10**3, 10**6, 10**9, 10**12)
    )


def scaling_by_hand(
    alpha: float,
    beta_g: float,
    *,
    sigma: float,
    beta_p: float,
    steps: Sequence[StepCost],
    floor: float = 0.0,
    samples: float | None = None,
    epochs: float | None = None,
    name: str = "a law given by hand",
    unit: str = "samples",
    metric: str = "error",
) -> Scaling:
    """error = floor + alpha m^beta_g and best-fit size sigma m^beta_p (parameters), taken as exact:
    no intervals. Raises ValueError for numbers that make no law."""
    if not alpha > 0 or not beta_g < 0 or floor < 0:
        raise ValueError("a learning curve needs alpha > 0, beta_g < 0 and a floor of at least 0")
    if not sigma > 0 or not beta_p >= 0:
        raise ValueError("a size law needs sigma > 0 and beta_p of at least 0")
    grid = np.linspace(0.0, np.log(1e24), 2000)
    if samples is not None:
        grid = np.unique(np.append(grid, np.log(samples)))
    curve = np.log(floor + alpha * np.exp(beta_g * grid))
    return Scaling(
        name=name,
        unit=unit,
        metric=metric,
        log_samples=tuple(grid.tolist()),
        log_error=(tuple(curve.tolist()),),
        size_center=0.0,
        size_draws=((float(np.log(sigma)), beta_p),),
        steps=tuple(steps),
        samples=samples,
        epochs=epochs,
    )
