"""Coverage and width of what ``steep.joint`` says, on simulated tables of known laws.

    python benchmarks/joint.py [--repetitions 20] [--designs grid,isoflop] [--laws chinchilla]

Truths: a law drawn at random (E 1.2 to 2.2; terms 0.2 to 0.8 at 3e8 parameters and 1e10 samples;
exponents 0.25 to 0.5, Kaplan's 0.06 to 0.12). Designs that people use: a crossed grid of 5 x 5, six
isoFLOP budgets, a ladder of D = 20 N, 22 runs of 35 checkpoints, a grid with 2 % of misfit, 245
runs of which five lie off. An interval that is open, or a split that is refused, is counted apart:
it holds no number. The truth of the errors includes the misfit; E and the best size are those of
the law.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from steep.questions.joint import joint

Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]
LEVEL, TIMES = 0.9, (4.0, 30.0)
DESIGNS = ("grid", "isoflop", "ladder", "checkpoints", "misfit", "outliers")
LAWS = ("chinchilla", "rosenfeld", "kaplan")


def truth(law: str, rng: np.random.Generator) -> tuple[float, Surface]:
    """(E, surface) of one random law; E is 0 for a law without a floor."""
    floor, alpha, beta = rng.uniform(1.2, 2.2), rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.5)
    a, b = rng.uniform(0.2, 0.8, 2)

    def chinchilla(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return floor + a * (n / 3e8) ** -alpha + b * (d / 1e10) ** -beta

    def rosenfeld(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        e = chinchilla(n, d)
        return e / np.sqrt(1 + (e / 9) ** 2)

    if law == "chinchilla":
        return floor, chinchilla
    if law == "rosenfeld":
        return floor, rosenfeld
    x, y = rng.uniform(0.06, 0.1), rng.uniform(0.08, 0.12)

    def kaplan(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return ((3 * a * (n / 3e8) ** -x) ** (1 / y) + (3 * b * (d / 1e10) ** -y) ** (1 / y)) ** y

    return 0.0, kaplan


def bent(surface: Surface, rng: np.random.Generator) -> Surface:
    """With a misfit of 2 %: half of them a saddle, half of them waves."""
    k, (p, q), saddle = rng.uniform(0.5, 1.5), rng.uniform(0, 6, 2), rng.random() < 0.5
    sign = rng.choice([-1, 1])

    def other(n: np.ndarray, d: np.ndarray) -> np.ndarray:
        x, y = np.log10(n / 3e8), np.log10(d / 1e10)
        extra = sign * x * y if saddle else np.sin(2 * k * x + p) * np.cos(2 * k * y + q)
        return surface(n, d) * np.exp(0.02 * extra)

    return other


def table(design: str, surface: Surface, rng: np.random.Generator) -> pd.DataFrame:
    """One table of runs with its noise; ``run`` where rows share one."""
    noise, run = 0.004, None
    if design in ("grid", "misfit"):
        side = 5 if design == "grid" else 8
        n, d = (
            v.ravel()
            for v in np.meshgrid(np.geomspace(3e7, 3e9, side), np.geomspace(1e9, 1e11, side))
        )
    elif design == "isoflop":
        n, d = [], []
        for c in np.geomspace(1e18, 3e20, 6):
            middle = 0.3 * (c / 6) ** 0.5 * np.exp(rng.normal(0, 0.1))
            n += (middle * np.geomspace(0.25, 4, 7)).tolist()
            d += (c / 6 / (middle * np.geomspace(0.25, 4, 7))).tolist()
        n, d = np.array(n), np.array(d)
    elif design == "ladder":
        n = np.geomspace(5e7, 3e9, 8)
        d, noise = 20 * n * np.exp(rng.normal(0, 0.02, 8)), 0.003
    elif design == "checkpoints":
        n = np.repeat(np.exp(rng.uniform(np.log(5e7), np.log(2e9), 22)), 35)
        d, run = np.tile(np.linspace(0.03, 1, 35) * 3e11, 22), np.repeat(np.arange(22), 35)
    else:
        n = np.exp(rng.uniform(np.log(5e7), np.log(1e10), 245))
        d, noise = np.exp(rng.uniform(np.log(1e9), np.log(3e11), 245)), 0.005
    error = rng.normal(0, noise, len(n))
    if run is not None:
        own, slope = rng.normal(0, noise, 22), rng.normal(0, 0.3 * noise, 22)
        error = own[run] + slope[run] * np.log(d / 1e11) + rng.normal(0, noise / 4, len(n))
    if design == "outliers":
        error[rng.choice(len(n), 5, replace=False)] += rng.uniform(0.05, 0.3, 5)
    frame = pd.DataFrame({"parameters": n, "samples": d, "error": surface(n, d) * np.exp(error)})
    return frame if run is None else frame.assign(run=run, step=d)


def best_size(surface: Surface, flops: float) -> float:
    n = np.geomspace(1e5, 1e14, 40_001)
    return float(n[np.argmin(surface(n, flops / 6 / n))])


def score(law: str, design: str, seed: int, noise: float = 0.004) -> dict[str, tuple]:
    """(inside or None for open, width in logs) of each quantity of one simulated table."""
    rng = np.random.default_rng([seed, LAWS.index(law), DESIGNS.index(design)])
    floor, exact = truth(law, rng)
    surface = bent(exact, rng) if design == "misfit" else exact
    frame = table(design, surface, rng)
    fit = joint(frame)
    top = float((6 * frame.parameters * frame.samples).max())
    found: dict[str, tuple] = {}
    if floor and fit.laws and "E" in fit.names:
        found["E"] = _held(fit.parameter("E"), floor)
    for times in TIMES:
        n = best_size(exact, top * times)
        if design == "ladder":
            n = (top * times / 6 / 20) ** 0.5
        d = top * times / 6 / n
        row = fit.predict(n, d).iloc[0]
        t = float(surface(np.array(n), np.array(d)))
        found[f"error {times:g}x"] = (
            row.lower <= t <= row.upper, np.log(row.upper / row.lower), abs(np.log(row.error / t)),
        )  # fmt: skip
        try:
            size = fit.frontier(top * times)[0].parameters
        except ValueError:
            found[f"size {times:g}x"] = (None, np.inf, np.nan)
            continue
        found[f"size {times:g}x"] = _held(size, best_size(exact, top * times))
    return found


def _held(interval: object, true: float) -> tuple:
    low, high, value = interval.lower, interval.upper, interval.value  # type: ignore[attr-defined]
    if low is None or high is None:
        return None, np.inf, np.nan
    return low <= true <= high, np.log(high / max(low, 1e-12)), abs(np.log(value / true))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--repetitions", type=int, default=20)
    asked.add_argument("--designs", default=",".join(DESIGNS))
    asked.add_argument("--laws", default=",".join(LAWS))
    told = asked.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for design in told.designs.split(","):
        scores: dict[str, list[tuple]] = defaultdict(list)
        for law in told.laws.split(","):
            for seed in range(told.repetitions):
                for name, one in score(law, design, seed).items():
                    scores[name].append(one)
        for name, all_of in scores.items():
            closed = [one for one in all_of if one[0] is not None]
            rows.append(
                {
                    "design": design,
                    "quantity": name,
                    "tables": len(all_of),
                    "open": len(all_of) - len(closed),
                    "inside": np.mean([one[0] for one in closed]) if closed else np.nan,
                    "width": np.median([one[1] for one in closed]) if closed else np.nan,
                    "error": np.mean([one[2] for one in closed]) if closed else np.nan,
                }
            )
    result = pd.DataFrame(rows)
    print(result.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    for quantity, part in result.groupby(result.quantity.str.split().str[0]):
        print(f"{quantity}: mean {part.inside.mean():.3f}, lowest {part.inside.min():.3f}")


if __name__ == "__main__":
    main()
