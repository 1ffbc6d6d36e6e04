"""Keeps a measured grid as a table that searches can be replayed on.

    python benchmarks/grids.py out/images-grid

Writes benchmarks/data/images-grid.csv.gz (named after the study): one row an evaluation of each
trial, as ``steep.trainers.replay`` reads it. Columns that are the same for all trials are left out,
numbers rounded to what a search can see of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from steep import Study
from steep.trainers import replay

DATA = Path(__file__).parent / "data"
DIGITS = {"train_loss": 4, "validation_loss": 6, "validation_error": 6, "test_error": 5}


def main(folder: str) -> None:
    study = Study.open(folder)
    frame = replay.table(study.measurements())
    known = {*replay.PLACE, *replay.ENDED, *replay.POINT}
    same = [c for c in frame.columns if c not in known and frame[c].nunique() == 1]
    frame = frame.drop(columns=same).sort_values(
        [*replay.PLACE[:3], "learning_rate", "seed", "step"]
    )
    for name, digits in DIGITS.items():
        frame[name] = [float(f"{v:.{digits}g}") for v in frame[name]]
    frame["seconds"] = frame["seconds"].round(1)
    frame["samples_seen"] = frame["samples_seen"].round(0)
    path = DATA / f"{study.spec.study}.csv.gz"
    frame.to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})
    trials = frame.groupby([*replay.PLACE, "learning_rate"]).ngroups
    seconds = frame.groupby([*replay.PLACE, "learning_rate"])["seconds"].first().sum()
    print(f"{path.name}: {trials} trials, {len(frame)} rows, {seconds / 3600:.2f} core hours")


if __name__ == "__main__":
    main(sys.argv[1])
