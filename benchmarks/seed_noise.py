"""How the noise of seeds grows with what a candidate lies above its shard's best one.

    python benchmarks/seed_noise.py

From the trials of every study in ``studies/results``: the variance over seeds of a candidate's log
error is taken to be sigma**2 + (K * gap)**2, gap its mean log error above the lowest of its shard,
and both are fitted by maximum likelihood, K to each study alone and to all at once. ``pooled``
takes all candidates within a log error of 0.25 to have one variance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from steep.stats.seeds import NEAR, seed_noise

RESULTS = Path(__file__).parents[1] / "studies" / "results"


def candidates(study: Path) -> pd.DataFrame:
    """Of those with two seeds: shard, gap, squares about the mean, degrees of freedom."""
    trials = pd.read_csv(study / "trials.csv", low_memory=False)
    trials = trials[trials["status"].isin(["complete", "capped"])]
    trials = trials.assign(log=np.log(trials["validation_error"]))
    cell = ["permutation", "samples", "size", "learning_rate"]
    found = trials.groupby(cell)["log"].agg(mean="mean", variance="var", n="count", logs=list)
    found = found.reset_index()
    found["gap"] = found["mean"] - found.groupby("samples")["mean"].transform("min")
    return found.assign(df=found["n"] - 1, study=study.name)


def fitted(cells: pd.DataFrame) -> float:
    """K by maximum likelihood, with one sigma for each study."""
    cells = cells[cells["df"] > 0]
    of = cells["study"].astype("category").cat.codes.to_numpy()
    gap, variance, df = (cells[name].to_numpy(float) for name in ("gap", "variance", "df"))

    def misfit(log_of: np.ndarray) -> float:
        whole = np.exp(2 * log_of[:-1])[of] + (np.exp(log_of[-1]) * gap) ** 2
        return float(np.sum(df * (np.log(whole) + variance / whole)) / 2)

    start = np.append(np.full(of.max() + 1, -4.0), -1.5)
    return float(np.exp(minimize(misfit, start, method="L-BFGS-B").x[-1]))


def main() -> None:
    studies = sorted(path.parent for path in RESULTS.glob("*/trials.csv"))
    every = [candidates(study) for study in studies]
    for cells in every:
        shards = [[np.array(x) for x in g["logs"]] for _, g in cells.groupby("samples")]
        near = cells[(cells["df"] > 0) & (cells["gap"] < NEAR)]
        pooled = np.average(near["variance"], weights=near["df"]) ** 0.5
        sigma = seed_noise(shards)[0] ** 0.5
        name, k = cells["study"].iloc[0], fitted(cells)
        print(f"{name:22s} pooled {pooled:.4f}  sigma {sigma:.4f}  K {k:.2f}")
    print(f"{'all':22s} K {fitted(pd.concat(every)):.2f}")


if __name__ == "__main__":
    main()
