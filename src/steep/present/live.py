"""A study while it runs, in words, tables and figures: what ``steep watch`` adds to the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from steep.present import numbers
from steep.present.drawing import Drawing, Layer, Line, Points, log_axis
from steep.present.lines import MOST_NAMED, time_lines, trial_name, trouble, varied
from steep.present.numbers import Scale
from steep.present.palette import sequence
from steep.present.sentences import sentence
from steep.present.table import LEFT, RIGHT, Table, cell, label
from steep.records import (
    ENDED,
    Evaluation,
    Measurement,
    Sample,
    Status,
    Trial,
    TrialStanding,
    total_flops,
)
from steep.records.live import ItemErrors, LiveState, RunningTrial, TrialRecord

QUEUED = 12
"""Planned trials that are listed."""
LATEST = 8
"""Trials that ended last that are listed on the first page."""

Fact = dict[str, str]


def headline(rows: Sequence[TrialStanding]) -> str:
    """ "34 of 96 trials have ended, 2 running": what a title and a screen reader say."""
    ended = sum(row.status in ENDED for row in rows)
    running = sum(row.status == Status.RUNNING for row in rows)
    verb = "has" if ended == 1 else "have"
    text = f"{ended} of {len(rows)} trials {verb} ended"
    return text + (f", {running} running" if running else "")


def facts(state: LiveState) -> list[Fact]:
    """The key numbers of a study that runs."""
    rows = state.standing.rows
    ended = sum(row.status in ENDED for row in rows)
    shown = [_fact("Ended", f"{ended} of {len(rows)} trials")]
    for line in time_lines(state.standing):
        name, colon, value = line.partition(": ")
        shown.append(_fact(capital(name), value) if colon else _fact("Time", line))
    work = total_flops(state.measurements)
    done = "" if work is None else f"{numbers.flops(work)} in trials that have ended"
    spent = sum(row.seconds or 0.0 for row in rows)
    shown.append(_fact("Training", numbers.duration(spent), done))
    held = [one.memory for one in state.running if one.memory is not None]
    if held:
        most = f"of {len(held)}, the largest {numbers.memory(max(held))}" if len(held) > 1 else ""
        shown.append(_fact("Memory of workers", numbers.memory(sum(held)), most))
    return shown


def trouble_lines(rows: Sequence[TrialStanding], unit: str) -> list[str]:
    """What did not go well, a line a reason, with the trials that it stopped."""
    lines = []
    for head, what in trouble(rows, unit):
        count = f"{len(what)} " if len(what) > 1 else ""
        more = f"; and {len(what) - MOST_NAMED} more" if len(what) > MOST_NAMED else ""
        lines.append(f"{count}{head} ({'; '.join(what[:MOST_NAMED])}{more})")
    return lines


def shares(rows: Sequence[TrialStanding]) -> list[tuple[str, int]]:
    """How many trials there are in each state that occurs, in the order of a trial's life."""
    states = Counter(row.status for row in rows)
    order = (*ENDED, Status.RUNNING, Status.PLANNED)
    return [(status.value, states[status]) for status in order if states[status]]


def _fact(name: str, value: str, about: str = "") -> Fact:
    return {"name": name, "value": value, "about": about}


# ---------------------------------------------------------------- what runs, what waits


def running_table(
    running: Sequence[RunningTrial], how: Scale, unit: str, links: Mapping[str, str]
) -> Table:
    """One row a running trial: how far it is, its error so far, its worker and that one's memory.

    ``links`` leads from a trial's id to its page."""
    names = varied([one.trial for one in running])
    rows = []
    for one in running:
        last = one.curve[-1] if one.curve else None
        lowest = min((_error(e) for e in one.curve), default=math.inf)
        rows.append(
            (
                trial_name(one.trial, names, one.attempt, unit),
                numbers.duration(one.seconds),
                numbers.UNKNOWN if last is None else numbers.exact(last.step),
                numbers.UNKNOWN if last is None else numbers.measured(_known(_error(last)), how),
                numbers.measured(_known(lowest), how),
                numbers.UNKNOWN if one.worker is None else f"process {one.worker}",
                numbers.memory(one.memory),
            )
        )
    columns = ("trial", "for", "step", f"{how.label} now", "lowest", "worker", "memory")
    align = (LEFT, RIGHT, RIGHT, RIGHT, RIGHT, LEFT, RIGHT)
    paths = tuple(links.get(one.trial.id, "") for one in running)
    return Table("Trials that run", columns, tuple(rows), align, links=paths)


def queue_table(queue: Sequence[tuple[Trial, str]], unit: str, links: Mapping[str, str]) -> Table:
    """The trials that are planned and wait for a worker, the first ``QUEUED`` of them."""
    names = varied([trial for trial, _ in queue])
    first = queue[:QUEUED]
    has_reasons = any(why for _, why in first)
    columns = ("trial", "planned because") if has_reasons else ("trial",)
    rows = tuple((trial_name(trial, names, unit=unit), why)[: len(columns)] for trial, why in first)
    rest = len(queue) - len(first)
    note = f"And {rest} more." if rest else ""
    paths = tuple(links.get(trial.id, "") for trial, _ in first)
    return Table(
        "Trials that wait for a worker", columns, rows, (LEFT, LEFT)[: len(columns)], note, paths
    )


def running_curves(
    running: Sequence[RunningTrial], how: Scale, unit: str, name: str = "running_curves"
) -> Drawing | None:
    """Validation error against steps of the trials that run, up to now."""
    names = varied([one.trial for one in running])
    layers: list[Layer] = []
    for one, colour in zip(running, sequence(len(running)), strict=True):
        layers += _curve(one.curve, trial_name(one.trial, names, unit=unit), colour, how)
    if not layers:
        return None
    return _steps(
        name,
        f"Trials that run: validation {how.label} against steps",
        "Each line is a trial that runs, up to its last evaluation.",
        f"validation {how.title}",
        layers,
    )


def trial_curve(curve: Sequence[Evaluation], how: Scale) -> Drawing | None:
    """Validation error against steps of one trial, with its lowest."""
    layers = _curve(curve, "validation", "main", how)
    if not layers:
        return None
    lowest = min(curve, key=_error)
    place = (float(lowest.step),), (how.drawn(_error(lowest)),)
    text = f"lowest, at step {numbers.exact(lowest.step)}: {numbers.measured(_error(lowest), how)}"
    layers.append(Points(*place, "truth", marker="diamond", hover=(text,), legend="lowest"))
    return _steps(
        "trial_curve",
        f"Validation {how.label} against steps",
        "A trial's score is its lowest validation error.",
        f"validation {how.title}",
        layers,
    )


def loss_curves(curve: Sequence[Evaluation]) -> Drawing | None:
    """Training and validation loss against steps of one trial."""
    validation = [(e.step, e.validation_loss) for e in curve]
    training = [(e.step, e.train_loss) for e in curve if e.train_loss is not None]
    layers: list[Layer] = []
    for name, colour, losses in (
        ("validation", "main", validation),
        ("training", "second", training),
    ):
        known = [(step, loss) for step, loss in losses if step > 0 and 0 < loss < math.inf]
        if len(known) > 1:
            texts = [f"{name}, step {numbers.exact(s)}: {numbers.number(v)}" for s, v in known]
            x, y = tuple(float(s) for s, _ in known), tuple(v for _, v in known)
            layers.append(Line(x, y, colour, legend=name, hover=tuple(texts)))
    if len(layers) < 2:
        return None
    caption = "Losses are means per unit; that of training is of the steps since the last point."
    return _steps("loss_curves", "Losses against steps", caption, "loss", layers)


def _curve(curve: Sequence[Evaluation], name: str, colour: str, how: Scale) -> list[Layer]:
    points = [e for e in curve if e.step > 0 and 0 < _error(e) < math.inf]
    if not points:
        return []
    x = tuple(float(e.step) for e in points)
    y = tuple(how.drawn(_error(e)) for e in points)
    texts = tuple(
        f"{name}<br>step {numbers.exact(e.step)}: {numbers.measured(_error(e), how)}"
        for e in points
    )
    last = Points(x[-1:], y[-1:], colour, size=7.0, legend=name)
    if len(points) == 1:
        return [replace(last, hover=texts)]
    return [Line(x, y, colour, legend=name, hover=texts), last]


def _steps(name: str, title: str, caption: str, y: str, layers: Sequence[Layer]) -> Drawing:
    drawn = [layer for layer in layers if isinstance(layer, (Line, Points))]
    return Drawing(
        name=name,
        title=title,
        caption=caption,
        x=log_axis("training steps", [v for layer in drawn for v in layer.x]),
        y=log_axis(y, [v for layer in drawn for v in layer.y]),
        layers=tuple(layers),
    )


def _error(evaluation: Evaluation) -> float:
    return evaluation.validation_error


def _known(error: float) -> float | None:
    return error if math.isfinite(error) else None


# ---------------------------------------------------------------- all trials, one trial


def trials_table(
    rows: Sequence[tuple[int, TrialStanding]],
    measurements: Mapping[str, Measurement],
    how: Scale,
    unit: str,
    links: Mapping[str, str],
    title: str,
) -> Table:
    """One row a trial: what it trains, how it stands, what it measured. ``rows`` have its place in
    the order of planning, ``measurements`` are by id."""
    trials = [row.trial for _, row in rows]
    names = varied(trials)
    draws = any(trial.permutation for trial in trials)
    columns = ["trial", unit, *(["draw"] if draws else []), "size", *map(label, names), "seed"]
    columns += ["state", how.label, "training time", "training compute"]
    lines = []
    for number, row in rows:
        trial, found = row.trial, measurements.get(row.trial.id)
        given = dict(trial.hyperparameters)
        line = [f"#{number}", numbers.exact(trial.samples)]
        line += [str(trial.permutation + 1)] if draws else []
        line += [str(trial.size)]
        line += [numbers.setting(given[n]) if n in given else numbers.UNKNOWN for n in names]
        line += [str(trial.seed), row.status.value]
        line += [numbers.measured(None if found is None else found.validation_error, how)]
        line += [numbers.duration(row.seconds)]
        line += [numbers.flops(None if found is None else found.flops)]
        lines.append(tuple(line))
    align = tuple(LEFT if name in ("trial", "state") else RIGHT for name in columns)
    paths = tuple(links.get(trial.id, "") for trial in trials)
    return Table(title, tuple(columns), tuple(lines), align, links=paths)


def latest(rows: Sequence[TrialStanding], ends: Mapping[str, float]) -> list[int]:
    """The places, from 0, of the ``LATEST`` trials that ended last, the last first. ``ends`` says
    when each ended, by id."""
    ended = [i for i, row in enumerate(rows) if row.trial.id in ends]
    return sorted(ended, key=lambda i: -ends[rows[i].trial.id])[:LATEST]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def trial_title(trial: Trial, unit: str) -> str:
    draw = f", draw {trial.permutation + 1} of the data" if trial.permutation else ""
    return f"{numbers.exact(trial.samples)} {unit}, size {trial.size}, seed {trial.seed}{draw}"


def trial_answer(record: TrialRecord, how: Scale) -> str:
    """How the trial stands, in a sentence."""
    row, measured = record.standing, record.measurement
    error = None if measured is None else measured.validation_error
    text = row.status.value
    if row.status == Status.RUNNING and row.seconds is not None:
        text = f"running for {numbers.duration(row.seconds)}"
    if error is not None:
        text += f": {numbers.measured(error, how)} {how.label} on the validation part"
    if row.reason:
        text += f" ({row.reason})" if error is not None else f": {row.reason}"
    return sentence(capital(text))


def settings_pairs(record: TrialRecord, unit: str) -> list[tuple[str, str]]:
    """What the trial trains: its configuration."""
    trial = record.standing.trial
    pairs = [
        ("shard", f"{numbers.exact(trial.samples)} {unit}"),
        ("items in it", numbers.exact(trial.items)),
        ("draw of the data", str(trial.permutation + 1)),
        ("size", str(trial.size)),
        *((label(name), numbers.setting(value)) for name, value in trial.hyperparameters),
        ("seed", str(trial.seed)),
        ("planned because", record.why),
        ("trial", trial.id),
    ]
    return [(name, value) for name, value in pairs if value]


def result_pairs(found: Measurement, how: Scale) -> list[tuple[str, str]]:
    """What the trial brought back."""
    error, se = f"validation {how.label}", found.validation_error_se
    pairs = [
        (error, numbers.measured(found.validation_error, how)),
        ("its sampling error", numbers.standard_error(se, found.validation_error or 0.0, how)),
        (f"test {how.label}", numbers.measured(found.test_error, how)),
        (f"training {how.label}", numbers.measured(found.train_error, how)),
        ("validation loss", numbers.number(found.validation_loss)),
        *((label(n), _metric(n, v)) for n, v in found.metrics),
        ("parameters", numbers.count(found.parameters)),
        ("best step", f"{numbers.exact(found.best_step)} of {numbers.exact(found.steps)}"),
        ("training compute", numbers.flops(found.flops)),
        ("training time", numbers.duration(found.seconds)),
        ("largest memory", numbers.memory(found.peak_memory)),
        ("engine", found.engine),
        ("device", f"{found.device}, {_threads(found.threads)}"),
        *((f"version of {n}", str(v)) for n, v in found.versions),
        ("sha256 of the weights", found.weights_hash or ""),
    ]
    return [(name, value) for name, value in pairs if value and value != numbers.UNKNOWN]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _metric(name: str, value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return numbers.measured(float(value), numbers.scale(name))
    return cell(name, value)


def attempts_table(record: TrialRecord) -> Table:
    """Every attempt at the trial."""
    rows = tuple((str(a.number), a.state, a.reason or "") for a in record.attempts)
    return Table("Attempts", ("attempt", "state", "reason"), rows, (LEFT, LEFT, LEFT))


def items_table(found: ItemErrors) -> Table:
    """The validation items on which the trial's model was worst."""
    how = numbers.scale(found.metric)
    rows = tuple(
        (numbers.exact(item), numbers.measured(error, how), numbers.exact(units))
        for item, error, units in found.worst
    )
    items = numbers.exact(found.items)
    none = numbers.exact(found.without_error)
    note = f"{items} validation items, {none} of them without an error; numbered from 0."
    columns = ("validation item", how.label, "units in it")
    return Table("Items with the largest errors", columns, rows, note=note)


def samples_table(samples: Sequence[Sample]) -> Table:
    """What the trial's model made of a few validation items."""
    rows = tuple((one.given, one.expected, one.written) for one in samples)
    columns = ("given", "in the data", "by the model")
    note = "Spread over all validation items, not chosen by how well the model did."
    return Table("Samples", columns, rows, (LEFT, LEFT, LEFT), note=note)


def log_text(record: TrialRecord) -> str:
    """The notes about a trial, a line each."""
    return "\n".join(f"{numbers.moment(at)}  {text}" for at, text in record.log)
