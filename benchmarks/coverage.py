"""Do the intervals hold the truth as often as they say? Simulated curves, whose truth is known.

    python benchmarks/coverage.py [--simulations 1000] [--seed 0] [--kind floor]

Each row is one kind of truth; every simulation draws its own: exponent uniform in [-0.6, -0.05],
noise of one run log-uniform in [0.5, 5] %, 5 to 12 sizes a factor of two apart, 1 to 5 seeds
(repeated sizes). All parts of the noise are in it, in units of that of one run: the draw of the
nested shards (0 to 1, correlation root of the ratio of sizes) and what the search left over (0 to
0.5, one value for all seeds of a size). The validation set is the same for all points and for
the new one, so its common effect cancels.

Counted is how often intervals at 50, 80 and 90 % hold the exponent (pure power laws only: elsewhere
it is not the law's) and a new measurement at 4x, 10x and 100x the largest size, beside the median
width of the 90 % interval (upper / lower) and the Monte Carlo standard error. Beside it stands how
one-sided the medians are: the share of true errors below the median (0.5 is honest), the median of
log(median / truth), and the same of the samples that the true error at 10x takes. The row 'mixture'
is of power and power + floor together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from steep.fit import fit
from steep.forecast import forecast

LEVELS = (0.5, 0.8, 0.9)
REACHES = (4.0, 10.0, 100.0)
Truth = Callable[[np.ndarray], np.ndarray]


def power(rng: np.random.Generator, largest: float) -> tuple[Truth, float]:
    b = rng.uniform(0.05, 0.6)
    return lambda m: 0.3 * (m / largest) ** -b, b


def floor(rng: np.random.Generator, largest: float) -> tuple[Truth, float]:
    """The floor's share of the error at the largest size is uniform in [0, 0.8]."""
    b, share = rng.uniform(0.05, 0.6), rng.uniform(0.0, 0.8)
    return lambda m: 0.3 * (share + (1 - share) * (m / largest) ** -b), b


def plateau(rng: np.random.Generator, largest: float) -> tuple[Truth, float]:
    """Misspecified where it matters: the smallest sizes still guess, sharply joined."""
    b, onset = rng.uniform(0.05, 0.6), largest * rng.uniform(0.02, 0.3)
    level = (onset / largest) ** -b
    return lambda m: 0.3 * (level**-3 + ((m / largest) ** -b) ** -3) ** (-1 / 3), b


def broken(rng: np.random.Generator, largest: float) -> tuple[Truth, float]:
    """Misspecified: the slope changes by up to a factor of two within the points, sharply."""
    b, late = rng.uniform(0.1, 0.5), rng.uniform(0.5, 2.0)
    at = np.log(largest) - rng.uniform(0.5, 2.0)

    def truth(m: np.ndarray) -> np.ndarray:
        t = np.log(m) - at
        return 0.3 * np.exp(-b * np.where(t < 0, t, late * t))

    return truth, b


TRUTHS = {"power": power, "floor": floor, "plateau": plateau, "broken": broken}
WELL_SPECIFIED = ("power", "floor")


def simulate(
    kind: str,
    rng: np.random.Generator,
    noise: float | None = None,
    sizes: int | None = None,
    seeds: int | None = None,
) -> dict[str, float]:
    """One simulated curve fitted: for each quantity and level, 1.0 where the interval holds it."""
    sizes = sizes or int(rng.integers(5, 13))
    seeds = seeds or int(rng.integers(1, 6))
    noise = noise or float(np.exp(rng.uniform(np.log(0.005), np.log(0.05))))
    m = 1000.0 * 2.0 ** np.arange(sizes)
    truth, b = TRUTHS[kind](rng, m[-1])
    repeated = np.repeat(m, seeds)
    at = m[-1] * np.array(REACHES)
    shared = noise * _shared(rng, np.concatenate([m, at]))
    runs = noise * rng.normal(size=len(repeated)) + np.repeat(shared[: len(m)], seeds)
    error = truth(repeated) * np.exp(runs)
    fitted = fit(samples=repeated, error=error, intervals=False)
    new = truth(at) * np.exp(shared[len(m) :] + noise / seeds**0.5 * rng.normal(size=len(at)))
    result: dict[str, float] = {}
    for level in LEVELS:
        answers = forecast(fitted, at=at, level=level).at
        for reach, value, answer in zip(REACHES, new, answers, strict=True):
            off = float(np.log(answer.error / truth(np.array(answer.samples))))
            result[f"{reach:g}x {level:.0%}"] = float(answer.lower <= value <= answer.upper)
            if level == LEVELS[-1]:
                result[f"{reach:g}x width"] = answer.upper / answer.lower
                result |= {f"{reach:g}x below": float(off > 0), f"{reach:g}x off": off}
    if fitted.outcome == "ok":
        needed = fitted.samples_for(float(truth(at)[1])).samples or np.inf  # None: out of reach
        result |= {"target below": float(needed > at[1]), "target off": np.log(needed / at[1])}
    for level in LEVELS if kind == "power" else ():
        slope = fit(
            samples=repeated, error=error, level=level, laws=["power"], intervals=False
        ).beta_g
        if slope is None:  # noise hides the fall, and no exponent is told
            continue
        result[f"beta_g {level:.0%}"] = float(slope.lower <= -b <= slope.upper)
        if level == LEVELS[-1]:
            result["beta_g width"] = slope.upper - slope.lower
    return result


def _shared(rng: np.random.Generator, m: np.ndarray) -> np.ndarray:
    """What all seeds of a size have in common, (len(m),): draw of the data and leftover search."""
    draw, search = rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.5)
    correlation = np.exp(-0.5 * np.abs(np.log(m)[:, None] - np.log(m)[None, :]))
    nested = np.linalg.cholesky(correlation) @ rng.normal(size=len(m))
    return draw * nested + search * rng.normal(size=len(m))


def run(kind: str, simulations: int, seed: int, **fixed: float | int | None) -> dict[str, float]:
    """Coverage (mean) and width (median) of each quantity over ``simulations`` curves."""
    return summary(simulations_of(kind, simulations, seed, **fixed))


def simulations_of(
    kind: str, simulations: int, seed: int, **fixed: float | int | None
) -> list[dict[str, float]]:
    rng = np.random.default_rng([seed, list(TRUTHS).index(kind)])
    return [simulate(kind, rng, **fixed) for _ in range(simulations)]  # type: ignore[arg-type]


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Shares are means, widths and distances medians."""
    return {
        key: float(
            (np.median if key.endswith(("width", "off")) else np.mean)(
                [r[key] for r in rows if key in r]
            )
        )
        for key in dict.fromkeys(key for row in rows for key in row)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(TRUTHS), default=None)
    parser.add_argument("--cells", action="store_true", help="noise x sizes, instead of averages")
    options = parser.parse_args()
    kinds = [options.kind] if options.kind else list(TRUTHS)
    error = (0.9 * 0.1 / options.simulations) ** 0.5
    print(f"{options.simulations} simulations a row; Monte Carlo error at 90 %: {error:.3f}")
    cells = [(0.005, 5), (0.005, 12), (0.05, 5), (0.05, 12)] if options.cells else [(None, None)]
    for noise, sizes in cells:
        cell = f", noise {noise}, {sizes} sizes" if noise else ""
        both: list[dict[str, float]] = []
        for kind in kinds:
            rows = simulations_of(kind, options.simulations, options.seed, noise=noise, sizes=sizes)
            note = "" if kind in WELL_SPECIFIED else " (misspecified)"
            show(f"{kind}{note}{cell}", summary(rows))
            both += rows if kind in WELL_SPECIFIED else []
        if options.kind is None:
            show(f"mixture{cell}", summary(both))


def show(title: str, found: dict[str, float]) -> None:
    print(title)
    for quantity in ("beta_g", *(f"{r:g}x" for r in REACHES), "target"):
        held = [found.get(f"{quantity} {level:.0%}") for level in LEVELS]
        text = ""
        if held[0] is not None:
            text = "  ".join(f"{v:.3f}" for v in held if v is not None)
            text += f"   width {found[f'{quantity} width']:.3f}"
        if (below := found.get(f"{quantity} below")) is not None:
            text += f"   below {below:.3f}  off {found[f'{quantity} off']:+.3f}"
        if text:
            print(f"  {quantity:7s} {text.strip()}", flush=True)


if __name__ == "__main__":
    main()
