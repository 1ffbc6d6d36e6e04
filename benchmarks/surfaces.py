"""What the surfaces of the published studies are like: of these the scenarios are drawn.

    make bench-surfaces

To the log errors of each study's trials (means over seeds of a model, within 0.5 of the best of
their shard) a power law with a best size and learning rate is fitted by robust least squares:

    level - slope x + (too_small or too_large) off**2
          + bend (log rate - best - by_size (log size - best size) - by_data x)**2

with x the log of the samples about their mean, off = log size - best size - grows x. Told are those
that ``plan/scenarios.py`` draws, the root mean square of what the surface leaves near the best
(rough) and of seeds about their mean (noise).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

RESULTS = Path(__file__).parent.parent / "studies" / "results"
NEAR, NEAREST = 0.5, 0.1
STARTS = 12
TOLD = ("slope", "grows", "too_small", "too_large", "bend", "by_size", "by_data", "rough", "noise")


def surface(p: np.ndarray, x: np.ndarray, size: np.ndarray, rate: np.ndarray) -> np.ndarray:
    level, slope, best, grows, small, large, best_rate, bend, by_size, by_data = p
    off = size - best - grows * x
    height = np.exp(np.clip(np.where(off < 0, small, large), -30, 5)) * off**2
    turned = rate - best_rate - by_size * (size - best) - by_data * x
    return level - slope * x + height + np.exp(min(bend, 5.0)) * turned**2


def of_study(trials: pd.DataFrame) -> tuple[int, dict[str, float]]:
    """Cells, and what is told of them."""
    trials = trials[trials["status"].isin(["complete", "capped"])]
    rate = next(name for name in trials.columns if "learning_rate" in name)
    logs = np.log(trials["validation_error"])
    by = logs.groupby([trials["samples"], trials["size"], trials[rate]])
    seeds = by.std(ddof=1).dropna()
    cells = by.mean().rename("error").reset_index()
    x, size, rates = (np.log(cells[c].to_numpy()) for c in ("samples", "size", rate))
    x, y = x - x.mean(), cells["error"].to_numpy()
    above = y - cells.groupby("samples")["error"].transform("min").to_numpy()
    near = above < NEAR
    random = np.random.default_rng(0)
    fits = []
    for _ in range(STARTS):
        best, best_rate = (random.uniform(v.min(), v.max()) for v in (size, rates))
        start = [y.mean(), 0.2, best, 0.3, -2.0, -4.0, best_rate, -3.0, 0.0, 0.0]

        def off(p: np.ndarray) -> np.ndarray:
            return (surface(p, x, size, rates) - y)[near]

        fits.append(least_squares(off, start, loss="soft_l1", f_scale=0.05))
    p = min(fits, key=lambda fit: fit.cost).x
    rough = np.sqrt(np.mean((surface(p, x, size, rates) - y)[above < NEAREST] ** 2))
    noise = np.sqrt((seeds**2).mean()) if len(seeds) else np.nan
    values = (p[1], p[3], *np.exp(np.clip(p[[4, 5, 7]], -30, 5)), p[8], p[9], rough, noise)
    return int(near.sum()), dict(zip(TOLD, map(float, values), strict=True))


def main() -> None:
    print(f"{'study':22}{'cells':>7}" + "".join(f"{name:>11}" for name in TOLD))
    every = []
    for folder in sorted(RESULTS.iterdir()):
        if (folder / "trials.csv").exists():
            cells, found = of_study(pd.read_csv(folder / "trials.csv"))
            every.append(found)
            row = "".join(f"{found[name]:11.4f}" for name in TOLD)
            print(f"{folder.name:22}{cells:7}{row}", flush=True)
    table = pd.DataFrame(every)
    for share in (0.1, 0.5, 0.9):
        row = "".join(f"{value:11.4f}" for value in table.quantile(share))
        print(f"{f'{share:.0%} quantile':29}{row}")


if __name__ == "__main__":
    main()
