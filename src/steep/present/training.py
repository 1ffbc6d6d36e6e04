"""Training curves (validation error against steps) as one drawing with a panel a shard."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steep.present import numbers
from steep.present.drawing import Drawing, Layer, Line, Points, log_axis
from steep.present.learning import size_colours, size_label
from steep.present.numbers import Scale
from steep.records import BestFit, Measurement, Status

MOST_RUNS = 60
"""Runs drawn per shard; of more, those with the lowest error are drawn and the caption says so."""

MINIMUM = "minimum of a best fit's run"
CUT_SHORT = "cut short"


def training_curves(
    measurements: Sequence[Measurement], best_fits: Sequence[BestFit], how: Scale, unit: str
) -> Drawing | None:
    """Validation error against steps of every run; the best fit's runs are thick."""
    runs = [m for m in measurements if len(m.curve) > 1 and m.trial.permutation == 0]
    if not runs:
        return None
    shards = sorted({m.trial.samples for m in runs})
    colours = size_colours(m.trial.size for m in runs)
    labels = {m.trial.size: size_label(m.trial.size, m.parameters or 0) for m in runs}
    best = {
        (b.samples, b.best.size, b.best.hyperparameters) for b in best_fits if b.permutation == 0
    }
    layers: list[Layer] = []
    shown = 0
    for samples in shards:
        mine = sorted((m for m in runs if m.trial.samples == samples), key=_lowest)[:MOST_RUNS]
        shown += len(mine)
        panel = _panel(samples, unit)
        for run in sorted(mine, key=lambda m: (m.trial.size, m.trial.seed)):
            is_best = (samples, run.trial.size, run.trial.hyperparameters) in best
            layers += _run(run, panel, colours[run.trial.size], is_best, how)
    # a diverged run climbs without end: it may leave the figure, not squeeze the others
    steady = [m for m in runs if m.status is not Status.DIVERGED] or runs
    heights = [how.drawn(e.validation_error) for m in steady for e in m.curve]
    return Drawing(
        name="training_curves",
        title="Training curves: validation error against steps",
        caption=_caption(shown, len(runs)),
        x=log_axis("training steps", [v for la in layers if isinstance(la, Line) for v in la.x]),
        y=log_axis(f"validation {how.title}", heights),
        layers=tuple(layers),
        panels=tuple(_panel(s, unit) for s in shards),
        panel_label="shard",
        opens_on=_panel(_opening(runs, best_fits), unit),
        legend=(MINIMUM, CUT_SHORT, *(labels[size] for size in colours)),
    )


def _opening(runs: Sequence[Measurement], best_fits: Sequence[BestFit]) -> float:
    """The largest shard that was searched: a held-out one has a single candidate."""
    held_out = {b.samples for b in best_fits if b.held_out}
    sizes = {m.trial.samples for m in runs}
    return max(sizes - held_out or sizes)


def _panel(samples: float, unit: str) -> str:
    return f"{numbers.exact(samples)} {unit}"


def _lowest(run: Measurement) -> float:
    return run.validation_error if run.validation_error is not None else float("inf")


def _run(run: Measurement, panel: str, colour: str, best: bool, how: Scale) -> list[Layer]:
    """One run: its curve, a dot at its minimum, a cross where it broke off."""
    label = size_label(run.trial.size, run.parameters or 0)
    curve = [e for e in run.curve if e.step > 0 and 0 < e.validation_error < math.inf]
    about = f"{label}, seed {run.trial.seed}{_settings(run)}"
    hover = tuple(
        f"{about}<br>step {numbers.exact(e.step)}: {numbers.measured(e.validation_error, how)}"
        for e in curve
    )
    layers: list[Layer] = [
        Line(
            x=tuple(float(e.step) for e in curve),
            y=tuple(how.drawn(e.validation_error) for e in curve),
            colour=colour,
            width=2.6 if best else 1.1,
            legend=label,
            hover=hover,
            panel=panel,
        )
    ]
    if best and curve:
        lowest = min(curve, key=lambda e: e.validation_error)
        minimum = (float(lowest.step),), (how.drawn(lowest.validation_error),)
        text = (f"minimum of {about}",)
        layers.append(Points(*minimum, colour, hover=text, legend=MINIMUM, panel=panel))
    if run.status is not Status.COMPLETE and curve:
        end = (float(curve[-1].step),), (how.drawn(curve[-1].validation_error),)
        text = (f"{about}<br>{run.status.value}: {run.reason or 'no reason given'}",)
        layers.append(
            Points(*end, "truth", marker="cross", hover=text, legend=CUT_SHORT, panel=panel)
        )
    return layers


def _settings(run: Measurement) -> str:
    searched = [f"{name} {numbers.setting(value)}" for name, value in run.trial.hyperparameters]
    return "".join(f"<br>{text}" for text in searched[:6])


def _caption(shown: int, total: int) -> str:
    text = "Thick: the runs of the best-fit model, with a dot at the minimum that is its score."
    if shown < total:
        text += f" {shown} of {total} runs drawn: per shard, the {MOST_RUNS} with the lowest error."
    return text
