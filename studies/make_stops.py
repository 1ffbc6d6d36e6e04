"""Makes src/steep/data/typical_stops.yaml anew from the published studies: when trials stopped.

python studies/make_stops.py
"""

from __future__ import annotations

from pathlib import Path

from steep.cost.stops import COLUMNS, Kind, Seen, ended, place_of, plane_of
from steep.published import Published

RESULTS = Path(__file__).parent / "results"
FILE = Path(__file__).parent.parent / "src" / "steep" / "data" / "typical_stops.yaml"
HEAD = """\
# When trials stop, learnt from finished ones: made by studies/make_stops.py of the published
# studies, read by cost/stops.py. Of each study the plane of x = log(best step / first evaluation's)
# over log(size / middle size), log(steps in an epoch / 64) and log(learning rate / middle rate),
# and the scatter (spread) of its trials about that plane.

studies:
"""
OTHERS = """\
# not published: a default search of 8,000 bundled images
- {study: images-default, domain: images, family: resnet, optimizer: momentum,
   metric: cross_entropy, level: 2.61, by_size: -0.41, by_epoch: 0.25, by_rate: -0.24, spread: 0.31,
   trials: 46}
"""


def seen(name: str) -> Seen:
    """A published study's row."""
    study = Published.open(RESULTS / name)
    trials = ended(study.measurements())
    spec = study.spec
    optimizer = str(trials[0].trial.hyperparameter("optimizer") or "")
    kind = Kind(spec.domain.name, spec.family.name, optimizer, study.analyse().metric)
    plane, spread = plane_of(place_of(spec, trials), trials)
    level, by_size, by_epoch, by_rate = (round(float(v), 2) for v in plane)
    return Seen(name, kind, (level, by_size, by_epoch, by_rate), round(spread, 2), len(trials))


def text() -> str:
    rows = []
    for name in sorted(f.name for f in RESULTS.iterdir() if (f / "study.json").exists()):
        row = seen(name)
        kind, plane = row.kind, zip(COLUMNS, row.plane, strict=True)
        labels = f"study: {name}, domain: {kind.domain}, family: {kind.family}"
        labels += f", optimizer: {kind.optimizer or 'none'}, metric: {kind.metric}"
        numbers = ", ".join(f"{column}: {value}" for column, value in plane)
        rows.append(f"- {{{labels},\n   {numbers}, spread: {row.spread}, trials: {row.trials}}}\n")
    return HEAD + "".join(rows) + OTHERS


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
