"""Where a ``Scaling`` comes from: a fitted curve with its size law and counted steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from steep.cost.first_order import steps_by_hand
from steep.records import Fit, Scaling, SizeLaw, StepCost
from steep.stats.predictive import curve_draws, with_bounds

ASSUMED_BETA_P = (0.5, 1.0)
"""Where the size law is not measured: the range that Hestness et al. 2017 found in every domain."""
ASSUMED_DRAWS = 41
PLACES = 400
NEAREST, FARTHEST = 1e-4, 1e12
"""Ends of the grid, times the largest size that was used."""


def scaling(
    fit: Fit,
    size_law: SizeLaw | None = None,
    steps: Sequence[StepCost] | None = (),
    *,
    parameters: float | None = None,
    adequate_at: float | None = None,
    epochs: float | None = None,
    fixed: bool = False,
    name: str = "",
) -> Scaling:
    """A fit's draws, its size law's, and what steps cost, ready for ``steep.cost``.

    ``parameters`` is the size of the smallest adequate model for ``adequate_at`` samples (by
    default the data at hand), ``fixed`` that it is the only one; ``epochs`` the passes over the
    data in a run. ``steps`` are counted ones; (): a dense model is guessed, and the guesses say so;
    None: compute is not known. A size law that is not measured is assumed; where no model size is
    known, none is given. Raises ValueError for a fit without draws."""
    if fit.reference is None or not fit.draws or fit.outcome == "not a power law":
        reason = fit.beta_g_reason or fit.supports or fit.outcome
        raise ValueError(f"nothing to project from: {reason}")
    assumptions: list[str] = []
    guesses: tuple[str, ...] = ()
    grid = np.log(fit.reference) + np.linspace(np.log(NEAREST), np.log(FARTHEST), PLACES)
    grid = with_bounds(fit, grid)
    center, sizes = _sizes(
        size_law, parameters, adequate_at or fit.at_hand or fit.reference, fixed, assumptions
    )
    if steps is not None and not steps:
        steps, guesses = dense_steps(), dense_guesses(epochs=epochs)
    return Scaling(
        name=name or fit.metric,
        unit=fit.unit,
        metric=fit.metric,
        log_samples=tuple(grid.tolist()),
        log_error=tuple(map(tuple, curve_draws(fit, grid).tolist())),
        size_center=center,
        size_draws=sizes,
        steps=tuple(steps or ()),
        samples=fit.at_hand,
        first=fit.used[0].samples,
        highest=max(p.error for p in fit.points),
        smallest=parameters or 0.0,
        epochs=epochs,
        level=fit.level,
        assumptions=tuple(assumptions),
        notes=fit.notes,
        guesses=guesses,
    )


def _sizes(
    size_law: SizeLaw | None,
    parameters: float | None,
    adequate_at: float,
    fixed: bool,
    assumptions: list[str],
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """(log m, draws of (log parameters there, beta_p)) of the size law, measured or assumed."""
    if size_law is not None and size_law.outcome == "ok" and size_law.center is not None:
        if parameters is not None and any(slope < 0 for _, slope in size_law.draws):
            assumptions.append(
                "The size law leaves open whether the best model grows; none smaller than today's "
                "is assumed."
            )
        return size_law.center[0], size_law.draws
    if parameters is None:
        return float(np.log(adequate_at)), ()
    if fixed:
        assumptions.append("Every run had a model of one size: it is kept.")
        return float(np.log(adequate_at)), ((float(np.log(parameters)), 0.0),)
    reason = size_law.reason if size_law is not None else "nobody measured it"
    assumptions.append(
        f"How the best model grows is not measured ({reason}): from the model at hand on, beta_p "
        "between 0.5 and 1 is assumed, the range found in every domain of Hestness et al. 2017."
    )
    slopes = np.linspace(*ASSUMED_BETA_P, ASSUMED_DRAWS).tolist()
    return float(np.log(adequate_at)), tuple((float(np.log(parameters)), b) for b in slopes)


def dense_guesses(
    flops_per_parameter: float | None = None, epochs: float | None = None
) -> tuple[str, ...]:
    """What is assumed of a model of which no step was counted; None: nothing was given."""
    assumptions = []
    if flops_per_parameter is None:
        assumptions.append(f"a dense model of {DENSE_FLOPS:g} FLOPs per parameter and unit of data")
    if epochs is None:
        assumptions.append("one pass over the data")
    return (*assumptions, "16 bytes of memory a parameter (Adam in 32 bits), time by FLOPs alone")


DENSE_FLOPS = 6.0
"""Of a dense model, a parameter and unit of data (Kaplan et al. 2020)."""


def dense_steps(
    flops_per_parameter: float = DENSE_FLOPS, batch: float = 1.0
) -> tuple[StepCost, ...]:
    """By default 6 FLOPs a parameter and unit (Kaplan et al. 2020); memory: weights, gradients and
    Adam's two states. What activations take and move depends on the model, and is not known."""
    return steps_by_hand(flops_per_parameter, delta=16.0, batch=batch)


def steps_from_flops(sizes: Mapping[int, tuple[int, float]]) -> tuple[StepCost, ...]:
    """Of models of which only (parameters, FLOPs per unit) are known, by model size; memory
    as of ``dense_steps``."""
    by_parameters = {p: f for p, f in sizes.values() if p > 0 and f > 0}
    return tuple(
        replace(
            dense_steps(f / p)[0],
            parameters=p,
            parameters_without_embeddings=p,
            flops=f,
            weights=16.0 * p,
        )
        for p, f in sorted(by_parameters.items())
    )
