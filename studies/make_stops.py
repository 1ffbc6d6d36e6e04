"""Makes src/steep/data/typical_stops.yaml anew from the published studies: when trials stopped.

python studies/make_stops.py
"""

from __future__ import annotations

from pathlib import Path

from steep.analysis.published import Published
from steep.plan.stops import COLUMNS, FinishedStudy, Kind, ended, plane_of
from steep.propose import CREEPS, IMPROVEMENT
from steep.spec.sections import Stop

RESULTS = Path(__file__).parent / "results"
FILE = Path(__file__).parent.parent / "src" / "steep" / "data" / "typical_stops.yaml"
HEAD = """\
# When trials stop, learnt from finished ones: made by studies/make_stops.py of the published
# studies, read by plan/stops.py. Of each study the plane of x = log(last improving step / first
# evaluation's) over log(size / middle size), log(steps in an epoch / 64) and log(learning rate /
# middle rate), and the scatter (spread) of its trials about it. Trials that need not improve by a
# share of their error are here twice: as they were, and cut by the rule that init writes.

studies:
"""
OTHERS = """\
# not published: a default search of 8,000 bundled images
- {study: images-default, domain: images, family: resnet, optimizer: momentum,
   metric: cross_entropy, level: 2.61, by_size: -0.41, by_epoch: 0.25, by_rate: -0.24, spread: 0.31,
   trials: 46}
"""


def seen(name: str) -> list[FinishedStudy]:
    """A published study's rows."""
    study = Published.open(RESULTS / name)
    usual = IMPROVEMENT.get(study.spec.domain.name, CREEPS)
    own = study.spec.stop
    proposed = own.model_copy(update={"improvement": usual, "patience": Stop().patience})
    rules = (own,) if own.improvement else (own, proposed)
    return [_seen(name, study, rule) for rule in rules]


def _seen(name: str, study: Published, rule: Stop) -> FinishedStudy:
    trials = ended(study.measurements())
    spec = study.spec.model_copy(update={"stop": rule})
    optimizer = str(trials[0].trial.hyperparameter("optimizer") or "")
    analysis = study.analyse()
    kind = Kind(spec.domain.name, spec.family.name, optimizer, analysis.metric)
    guess = dict(analysis.best_guess)[analysis.metric]
    plane, spread = plane_of(spec, trials, float(guess))
    level, by_size, by_epoch, by_rate = (round(float(v), 2) for v in plane)
    rounded = (level, by_size, by_epoch, by_rate)
    return FinishedStudy(name, kind, rounded, round(spread, 2), len(trials), rule.improvement)


def text() -> str:
    rows = []
    for name in sorted(f.name for f in RESULTS.iterdir() if (f / "study.json").exists()):
        rows += [_line(row) for row in seen(name)]
    return HEAD + "".join(rows) + OTHERS


def _line(row: FinishedStudy) -> str:
    kind, plane = row.kind, zip(COLUMNS, row.plane, strict=True)
    labels = f"study: {row.study}, domain: {kind.domain}, family: {kind.family}"
    labels += f", optimizer: {kind.optimizer or 'none'}, metric: {kind.metric}"
    numbers = ", ".join(f"{column}: {value}" for column, value in plane)
    rule = f"improvement: {row.improvement:g}, trials: {row.trials}"
    return f"- {{{labels},\n   {numbers}, spread: {row.spread},\n   {rule}}}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
