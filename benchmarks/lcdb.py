"""Extrapolation on 160 published learning curves: accuracy, coverage, interval score.

    python benchmarks/lcdb.py [CSV] [--folds 5]

Of each curve (columns ``curve, samples, error``) the sizes up to 1.0001 * largest / 4 (then / 16)
are fitted and the error at the largest size is forecast. Scored is |log error| capped at 1 (mean
and median over curves), how often the 90 % interval holds the value, its median width in log and
its interval score (Gneiting and Raftery 2007), also in log. Peers: the last value, a straight line
in log-log, and power + floor by scipy's ``curve_fit`` as people use it, with their own intervals.

The rows ``fold`` show how far the prior of the exponent was learnt from these curves: for each fold
of data sets its centre is chosen on the other folds, and the fold is scored with that.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit
from scipy.stats import t as student
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from steep.fit import fit
from steep.forecast import forecast
from steep.laws import LAWS

DATA = Path(__file__).parent / "data" / "lcdb11_dev.csv"
Answer = tuple[float, float, float]
"""(lower, middle, upper) error at the size asked for."""


def steep_forecast(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    # peers forecast every curve, so must this: also those that do not fall within what is fitted
    found = fit(samples=m, error=error, falls=True, intervals=False)
    answer = forecast(found, at=[at]).at[0]
    return answer.lower, answer.error, answer.upper


def last_value(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    return float("nan"), float(error[-1]), float("nan")


def straight_line(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    x, y = np.log(m), np.log(error)
    design = np.stack([np.ones(len(x)), x], axis=1)
    value, *_ = np.linalg.lstsq(design, y, rcond=None)
    df = len(x) - 2
    variance = float(np.sum((y - design @ value) ** 2)) / df
    new = np.array([1.0, np.log(at)])
    spread = (variance * (1 + new @ np.linalg.inv(design.T @ design) @ new)) ** 0.5
    half = student.ppf(0.95, df) * spread
    middle = float(new @ value)
    return np.exp(middle - half), np.exp(middle), np.exp(middle + half)


def floor_curve_fit(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    def law(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a * (x / m[-1]) ** -b + c

    start, bounds = (error[-1] / 2, 0.5, error[-1] / 2), ([0, 0, 0], [10, 3, error.max()])
    value, spread = curve_fit(law, m, error, p0=start, bounds=bounds, maxfev=5000)
    step = 1e-6
    gradient = np.array(
        [(law(at, *(value + step * e)) - law(at, *value)) / step for e in np.eye(3)]
    )
    noise = float(np.sum((error - law(m, *value)) ** 2)) / max(len(m) - 3, 1)
    known = gradient @ spread @ gradient  # infinite where a bound is hit: people see a warning
    variance = noise + (max(known, 0.0) if np.isfinite(known) else 0.0)
    half = student.ppf(0.95, max(len(m) - 3, 1)) * variance**0.5
    middle = float(law(at, *value))
    return max(middle - half, 1e-4), middle, middle + half


def hoiem(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    """alpha + eta * n**gamma by weighted least squares, gamma drawn to -0.5.

    As published: errors in percent, gamma searched for from -0.99 to 0 in steps of 0.01 with the
    penalty 5 * |gamma + 0.5|, the variance of an error v_0 + v_1 / n with v_0 = 0.02. They get v_1
    from repeated trainings; without any it is fitted, by the same formula, to the squared residuals
    about the curve with gamma = -0.5.
    """
    percent, v_0 = 100 * error, 0.02

    def solve(gamma: float, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        design = np.stack([np.ones(len(m)), m**gamma], axis=1) / variance[:, None] ** 0.5
        inverse = np.linalg.pinv(design)
        return inverse @ (percent / variance**0.5), inverse @ inverse.T

    def residual(gamma: float, value: np.ndarray) -> np.ndarray:
        return percent - value[0] - value[1] * m**gamma

    first, _ = solve(-0.5, np.ones(len(m)))
    v_1 = max(np.sum((residual(-0.5, first) ** 2 - v_0) / m) / np.sum(1 / m**2), 0.0)
    variance = v_0 + v_1 / m
    found = []
    for gamma in np.arange(-0.99, 0.0, 0.01):
        value, spread = solve(gamma, variance)
        miss = float(np.sum(residual(gamma, value) ** 2 / variance)) + 5 * abs(gamma + 0.5)
        found.append((miss, gamma, value, spread))
    _, gamma, value, spread = min(found, key=lambda one: one[0])
    new = np.array([1.0, at**gamma])
    middle = float(new @ value)
    half = 1.645 * float(new @ spread @ new + v_0 + v_1 / at) ** 0.5
    lower, middle, upper = np.maximum([middle - half, middle, middle + half], 0.01) / 100
    return lower, middle, upper


def gaussian_process(m: np.ndarray, error: np.ndarray, at: float) -> Answer:
    """A line, a smooth departure from it and noise, all sizes by maximum marginal likelihood."""
    kernel = DotProduct(1.0) + ConstantKernel(0.1) * RBF(1.0) + WhiteKernel(0.01)
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2)
    process.set_params(random_state=0)
    x = np.log(m / m[-1])[:, None]
    process.fit(x, np.log(error))
    value, spread = process.predict(np.log([[at / m[-1]]]), return_std=True)
    middle, half = float(value[0]), 1.645 * float(spread[0])
    return np.exp(middle - half), np.exp(middle), np.exp(middle + half)


PEERS: dict[str, Callable[..., Answer]] = {
    "last value": last_value,
    "log-log line": straight_line,
    "power + floor, curve_fit": floor_curve_fit,
    "Hoiem et al. 2021": hoiem,
    "GP, scikit-learn": gaussian_process,
    "steep": steep_forecast,
}


def tasks(
    frame: pd.DataFrame, reach: int, slack: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float, float]]:
    """(curve, fitted sizes, their errors, largest size, its error) of every curve."""
    for name, group in frame.groupby("curve", sort=False):
        m = group["samples"].to_numpy(float)
        error = group["error"].to_numpy(float)
        keep = m <= slack * m.max() / reach
        yield str(name), m[keep], error[keep], float(m[-1]), float(error[-1])


def score(answers: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """``answers`` (curves, 3) against ``truth`` (curves,), all in log."""
    lower, middle, upper = answers.T
    miss = np.minimum(np.abs(middle - truth), 1.0)
    outside = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    return {
        "mean": float(miss.mean()),
        "median": float(np.median(miss)),
        "holds": float(np.mean((lower <= truth) & (truth <= upper))),
        "width": float(np.median(upper - lower)),
        "interval score": float(np.mean(upper - lower + 2 / 0.1 * outside)),
    }


def answers_of(
    method: Callable[..., Answer], frame: pd.DataFrame, reach: int, slack: float = 1.0001
) -> np.ndarray:
    """(curves, 4): log of lower, middle, upper and of the truth."""
    rows = []
    for _, m, error, at, truth in tasks(frame, reach, slack):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append([*method(m, error, at), truth])
    return np.log(np.array(rows))


def show(name: str, reach: int, rows: np.ndarray) -> None:
    values = score(rows[:, :3], rows[:, 3])
    text = "  ".join(f"{key} {value:.3f}" for key, value in values.items())
    print(f"{reach:3d}x  {name:26s} {text}", flush=True)


def with_centre(centre: float) -> dict[str, Any]:
    """The laws with another prior centre of every exponent."""
    return {
        name: replace(
            law,
            shape=tuple(replace(s, centre=centre) if s.kind == "heavy" else s for s in law.shape),
        )
        for name, law in LAWS.items()
    }


def cross_validated(frame: pd.DataFrame, folds: int) -> None:
    """Choose the exponent's prior centre on the other folds, score the fold left out."""
    centres = (-0.9, -0.6, -0.3, 0.0)
    data_set = frame.drop_duplicates("curve")["curve"].str.split("/").str[0].to_numpy()
    names = np.random.default_rng(0).permutation(np.unique(data_set))
    fold = {name: i % folds for i, name in enumerate(names)}
    of_curve = np.array([fold[name] for name in data_set])
    shipped = dict(LAWS)
    rows: dict[tuple[int, float], np.ndarray] = {}
    for centre in centres:
        LAWS.update(with_centre(centre))
        for reach in (4, 16):
            rows[reach, centre] = answers_of(steep_forecast, frame, reach)
    LAWS.update(shipped)
    chosen = {reach: np.empty_like(rows[reach, centres[0]]) for reach in (4, 16)}
    for f in range(folds):
        out, train = of_curve == f, of_curve != f
        miss = {
            c: sum(score(rows[r, c][train, :3], rows[r, c][train, 3])["mean"] for r in (4, 16))
            for c in centres
        }
        best = min(miss, key=lambda c: miss[c])
        for reach in (4, 16):
            chosen[reach][out] = rows[reach, best][out]
    for reach in (4, 16):
        show("steep, cross-validated", reach, chosen[reach])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("csv", nargs="?", default=DATA, type=Path)
    parser.add_argument("--folds", type=int, default=0, help="0: without cross-validation")
    parser.add_argument("--only", choices=list(PEERS), default=None)
    options = parser.parse_args()
    frame = pd.read_csv(options.csv)
    for reach in (4, 16):
        for name, method in PEERS.items():
            if options.only in (None, name):
                show(name, reach, answers_of(method, frame, reach))
    if options.folds:
        cross_validated(frame, options.folds)


if __name__ == "__main__":
    main()
