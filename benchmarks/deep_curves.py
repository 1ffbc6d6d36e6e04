"""Extrapolation on the deep models' curves of this repository's own studies.

    python benchmarks/deep_curves.py

Every study in ``studies/results`` has a curve of its best fits and one of each model size (lowest
over hyperparameters of the median over seeds), 5 to 7 sizes in steps of two, measured for other
ends than this. At least four of them, up to the largest / 2 (then / 4), are fitted, without
standard errors, and the error at the largest is forecast; scores and peers are those of lcdb.py.
Curves of one study share data and trials: they are fewer than they seem.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from lcdb import PEERS, answers_of, show

RESULTS = Path(__file__).parents[1] / "studies" / "results"
SLACK = 1.02
"""Shards end with a group, so steps are of two but for a percent."""
FEWEST = 4


def best_fits(study: Path) -> pd.DataFrame:
    found = pd.read_csv(study / "best_fit.csv").query("permutation == 0")
    return found.assign(curve=f"{study.name}, best fits")[["curve", "samples", "error"]]


def single_models(study: Path) -> pd.DataFrame:
    trials = pd.read_csv(study / "trials.csv", low_memory=False).query("permutation == 0")
    cell = ["samples", "size", "learning_rate"]
    cells = trials.groupby(cell, as_index=False)["validation_error"].median()
    curves = cells.groupby(["samples", "size"], as_index=False)["validation_error"].min()
    names = study.name + ", size " + curves["size"].astype(str)
    return curves.assign(curve=names, error=curves["validation_error"])[
        ["curve", "samples", "error"]
    ]


def own_curves() -> pd.DataFrame:
    """``curve, samples, error`` of every study."""
    folders = sorted(path.parent for path in RESULTS.glob("*/trials.csv"))
    return pd.concat([read(s) for s in folders for read in (best_fits, single_models)]).dropna()


def fitted(curves: pd.DataFrame, reach: int) -> pd.DataFrame:
    """Those of which enough sizes are left; all their sizes, in order."""
    groups = curves.sort_values("samples").groupby("curve", sort=True)
    return groups.filter(lambda g: (g.samples <= SLACK * g.samples.max() / reach).sum() >= FEWEST)


def main() -> None:
    curves = own_curves()
    for reach in (2, 4):
        frame = fitted(curves, reach)
        studies = frame["curve"].str.split(",").str[0].nunique()
        print(f"\n{frame['curve'].nunique()} curves of {studies} studies")
        for name, method in PEERS.items():
            show(name, reach, answers_of(method, frame, reach, SLACK))


if __name__ == "__main__":
    main()
