"""A dry run, a study's progress and its findings, in lines of text."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steep.present.numbers import (
    count,
    duration,
    ends,
    exact,
    factor,
    fit_scale,
    flops,
    largest_measured,
    measured,
    memory,
    setting,
    several,
    share,
)
from steep.present.progress import coarse, time_left
from steep.present.sentences import answer, sentence, serious_sentence, switch_sentence
from steep.records import (
    FEWEST_POINTS,
    ONE_SEED,
    Analysis,
    Bounds,
    Finding,
    Interval,
    Plan,
    Prediction,
    Shard,
    Standing,
    Status,
    TimeSpent,
    Trial,
    TrialStanding,
)
from steep.records.analysis import QUEUED
from steep.spec.sections import parse_duration

MOST_NAMED = 5
"""Trials that failed for one reason, named one by one."""


def plan_lines(study: str, shards: Sequence[Shard], plan: Plan, workers: int) -> list[str]:
    """What ``steep plan`` prints."""
    unit = shards[0].unit
    fitted = [s for s in shards if not s.held_out and s.permutation == 0]
    held = [s for s in shards if s.held_out and s.permutation == 0]
    sizes = ", ".join(exact(s.samples) for s in fitted)
    lines = [f"{study}: {len(fitted)} shards to fit, of {sizes} {unit}"]
    if held:
        sizes = ", ".join(exact(s.samples) for s in held)
        lines.append(
            f"held out (forecast first, then trained and added to the fit): {sizes} {unit}"
        )
    lines.append(f"trials: {_trials(plan)}")
    if plan.parameters:
        models = ", ".join(f"{size}: {count(parameters)}" for size, parameters in plan.parameters)
        lines.append(f"parameters by size: {models}")
    found = plan.prediction
    if plan.adaptive and found is not None and found.flops is not None:
        lines.append(f"training: about {ends(found.flops, flops)}")
    else:
        lines.append(f"training: {_bounds(plan.flops, flops)}")
    lines.append(f"disk: about {memory(plan.disk)}")
    if plan.seconds is None:
        lines.append("time: unknown until a trial has run")
    else:
        each = Bounds(plan.seconds.low / workers, plan.seconds.high / workers)
        lines.append(
            f"time: {_bounds(each, duration)} with {several(workers, 'worker')} on this machine"
        )
    if plan.prediction is not None:
        lines[-1:] = prediction_lines(plan.prediction, lines[-1], plan.adaptive)
        if plan.kept is not None:
            at, file = plan.kept
            lines.append(f"  as timed on {at} UTC; to time anew, delete {file}")
        reached = plan.prediction.shards
        if reached is not None and reached < len(fitted):
            few = ", too few for a forecast" if reached < FEWEST_POINTS else ""
            lines.append(
                f"The budget is expected to cover {reached} of {len(fitted)} shards{few}: give it "
                "more time, or use fewer sizes or smaller shards."
            )
    return lines


def begun_sentence(standing: Standing, folder: Path, plan: Plan) -> str:
    """What to know of the plan of a study that has begun: how much of it is done, and which of its
    numbers are of the rest."""
    if standing.complete:
        return (
            f"{folder} is complete: {standing.ended} trials have ended and nothing is left to "
            "train; a spec with more in it, and --extend, adds to it."
        )
    if plan.prediction is None:
        rest = "The plan covers the whole study."
    elif plan.adaptive:
        rest = "Trials, training and time are for what is left."
    else:
        rest = "The plan covers the whole study, its time what is left."
    if standing.budget is not None and standing.budget_left:
        left = duration(standing.budget_left)
        rest += f" Of its budget of {standing.budget}, {left} is left (run: budget)."
    elif standing.budget is not None:
        rest += f" Its budget of {standing.budget} is used up (run: budget): they assume none."
    have = "trial has" if standing.ended == 1 else "trials have"
    return f"{folder} has begun: {standing.ended} {have} ended. {rest}"


def _trials(plan: Plan) -> str:
    """Of an adaptive search what it requested in the scenarios in which it was simulated; else
    bounds."""
    found = plan.prediction
    if plan.adaptive and found is not None:
        low, high = found.fewest_trials, found.most_trials
        return f"about {found.trials} ({low} to {high}), depending on results"
    fewest = len(plan.trials) + plan.held_out_trials
    most = plan.most_trials + plan.held_out_trials
    about = "about " if plan.adaptive else ""
    decided = ", depending on results" if plan.adaptive else ""
    return f"{about}{fewest}" + (f" to {most}" if most > fewest else "") + decided


def prediction_lines(found: Prediction, bounds: str, adaptive: bool) -> list[str]:
    """The expected time and what it rests on; of a fixed list of trials its bounds, too."""
    finished = several(found.own_trials, "finished trial")
    own = f", and from {finished} of this study" if found.own_trials else ""
    seen = f"{found.learnt_from} finished trials of {found.family} in published studies"
    if not found.learnt_from:
        seen = f"finished trials of other families (none of {found.family} on such data is known)"
    if found.own_trials and not found.evaluations:
        seen, own = f"{finished} of this study", ""
    workers = "1 worker, which has" if found.workers == 1 else f"{found.workers} workers, each with"
    rests = (
        f"{share(found.evaluations)} of it on evaluations; from steps timed here and from when "
        f"{seen} stopped{own}"
    )
    if found.own_trials and not found.evaluations:
        rests = f"from what {seen} took"
    lines = [
        f"time: {_expected(found.clock)} with {workers} a core of this machine to itself",
        f"  {duration(found.training.value)} of training, {rests}",
    ]
    if not adaptive:
        lines.append(
            "  if every trial stopped as early or as late as it can: "
            f"{bounds.removeprefix('time: ')}"
        )
    return lines


def _expected(time: Interval) -> str:
    """A time with its interval; of one that a budget cuts off, what the budget allows."""
    if time.value is None or time.value != time.upper:
        return f"about {ends(time, duration)}"
    most = f"{duration(time.value)} that the budget allows (a tenth of it for what has begun)"
    if time.lower == time.value:
        return f"the {most}"
    return f"{duration(time.lower)} or more, up to the {most},"


def took_sentence(found: Prediction, took: TimeSpent) -> str:
    """What was predicted of the time, confronted."""
    low, high, value = found.training.lower, found.training.upper, found.training.value or 0.0
    inside = (low or 0.0) <= took.training <= (high or float("inf"))
    verdict = "inside the interval" if inside else "outside the interval"
    own = found.own_trials if not found.evaluations else 0  # steps that cannot be timed
    when = f"after {several(own, 'trial')}" if own else "before training"
    text = (
        f"Predicted {when}: {ends(found.training, duration)} of training in "
        f"{found.trials} trials; it took {duration(took.training)} in {took.trials}"
    )
    if took.complete and value:
        text += f", {factor(took.training / value)} as long, {verdict}"
    if took.clock is not None and took.complete:
        text += (
            f". On the clock, with {found.workers} workers: {duration(found.clock.value)} "
            f"predicted, {duration(took.clock)} taken"
        )
    return f"{text}."


def _bounds(bounds: Bounds | None, form: Any) -> str:
    if bounds is None:
        return "unknown"
    low, high = form(bounds.low), form(bounds.high)
    return str(low) if low == high else f"{low} to {high}"


def status_lines(standing: Standing, folder: Path | None = None) -> list[str]:
    """What ``steep status`` prints: states, best error, forecast and time left, what runs, and
    everything that did not go well; trials that failed for one reason share a line. The ``folder``
    of the study is for the command that goes on after a budget that is used up."""
    rows, analysis = standing.rows, standing.analysis
    lines = [count_line(rows)]
    interrupted = sum(map(_interrupted, rows))
    if interrupted:
        lines.append(f"  {interrupted} interrupted: the same command resumes")
    if analysis is not None and analysis.curves:
        lines += [largest_line(analysis), _forecast_line(analysis)]
        if analysis.headline is not analysis.curves[0]:
            lines.append(switch_sentence(analysis.metric, analysis.headline.metric))
        if doubt := serious_sentence(analysis.findings):
            lines.append(doubt)
    lines += time_lines(standing)
    if folder is not None and standing.budget is not None and standing.used_up:
        seconds = parse_duration(standing.budget)
        lines.append(f"  {goes_on(folder, standing.budget, coarse(seconds))}")
    names = varied([row.trial for row in rows])
    for row in rows:
        if row.status == Status.RUNNING:
            state = QUEUED if row.place == QUEUED else "running"
            length = "" if row.seconds is None else f" for {duration(row.seconds)}"
            where = f" on {row.place}" if row.place and row.place != QUEUED else ""
            name = trial_name(row.trial, names, row.attempts, standing.unit)
            lines.append(f"  {state}{length}{where}: {name}")
    for head, stopped in trouble(rows, standing.unit):
        lines.append(f"  {len(stopped)} {head}" if len(stopped) > 1 else f"  {head}")
        lines += [f"    {text}" for text in stopped[:MOST_NAMED]]
        if len(stopped) > MOST_NAMED:
            lines.append(f"    and {len(stopped) - MOST_NAMED} more")
    return lines


def largest_line(analysis: Analysis) -> str:
    """The best fit of the largest shard that has one, by the metric that answers are about; larger
    shards with results whose best model nobody can name yet are mentioned."""
    best, error = analysis.largest
    how = fit_scale(analysis.headline.fit)
    where = f"{exact(best.samples)} {analysis.unit}, size {best.best.size}"
    found = f"{how.label} {measured(error, how)} on {where}"
    open_ = [b for b in analysis.best_fits if b.withheld and b.samples >= best.samples]
    larger = [b for b in open_ if b.samples > best.samples]
    if larger:
        why = {b.withheld for b in larger}
        rest = "searches are unfinished" if why != {ONE_SEED} else "models have one seed each"
        last = max(analysis.headline.fit.bounds, key=lambda p: p.samples, default=None)
        if last is not None:
            rest += f", {measured(last.error, how)} by now on {exact(last.samples)}"
        return f"largest shard with a best fit so far: {found}; larger shards' {rest}"
    return f"largest shard so far: {found}{f'; {best.withheld}' if best.withheld else ''}"


def _forecast_line(analysis: Analysis) -> str:
    """The forecast so far and the size that it goes on from; where there is none, why."""
    first = analysis.headline
    text = sentence(answer(first.forecast, analysis))
    largest = largest_measured(first.fit)
    if largest is None or (first.forecast.outcome != "ok" and not first.forecast.at):
        return f"no forecast so far: {text.removeprefix('No forecast: ')}"
    return f"forecast so far, from {exact(largest)} {analysis.unit} on: {text}"


def count_line(rows: Sequence[TrialStanding]) -> str:
    """How many trials there are in which state, and what they took."""
    text = ", ".join(f"{count} {state}" for state, count in trial_states(rows).items())
    took = duration(seconds_of(rows))
    return f"{several(len(rows), 'trial')}: {text or 'none yet'}; {took} of training"


def trial_states(rows: Sequence[TrialStanding]) -> dict[str, int]:
    """How many trials are in each state that any is in."""
    states = Counter(row.status.value for row in rows if row.place != QUEUED)
    in_order = {s.value: states[s.value] for s in Status if states[s.value]}
    queued = sum(row.place == QUEUED for row in rows)
    return in_order | ({QUEUED: queued} if queued else {})


def seconds_of(rows: Sequence[TrialStanding]) -> float:
    """What all the trials took. Those that are queued have not begun."""
    return sum(row.seconds or 0.0 for row in rows if row.place != QUEUED)


def time_lines(standing: Standing) -> list[str]:
    """How much longer it takes, and what of its budget is left."""
    lines = []
    going = standing.going
    if standing.done:
        lines.append("nothing is left to train")
    elif standing.used_up:
        lines.append(f"time: the budget of {standing.budget} is used up (run: budget)")
    elif standing.left is not None:
        text = time_left(standing.left)
        lines.append(f"time: {text if going else text.replace('left', 'more once it goes on')}")
    if standing.budget is not None and standing.budget_left and (going or not standing.complete):
        lines.append(f"budget: {duration(standing.budget_left)} of {standing.budget} left")
    return lines


def goes_on(folder: Path, budget: str, length: str) -> str:
    """The command that continues a study that its budget stopped, and for how long."""
    return f"'steep run {shlex.quote(str(folder))} --budget {budget}' goes on for {length} more"


def trouble(rows: Sequence[TrialStanding], unit: str = "samples") -> list[tuple[str, list[str]]]:
    """What did not go well: each reason, and the trials that it stopped."""
    names = varied([row.trial for row in rows])
    bad: dict[str, list[str]] = {}
    for row in rows:
        reason = row.reason
        if row.status in (Status.DIVERGED, Status.FAILED, Status.TIMEOUT):
            head = f"{row.status.value}: {reason or 'no reason given'}"
        elif row.status == Status.PLANNED and reason:
            head = reason if _interrupted(row) else f"failed, to be tried again: {reason}"
        else:
            continue
        bad.setdefault(head, []).append(trial_name(row.trial, names, row.attempts, unit))
    return list(bad.items())


def _interrupted(row: TrialStanding) -> bool:
    """Its driver is gone: the trial has not failed."""
    return (row.reason or "").startswith("interrupted:")


def varied(trials: Sequence[Trial]) -> list[str]:
    """The hyperparameters in which the trials differ."""
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.hyperparameters:
            values.setdefault(name, set()).add(value)
    return [name for name, given in sorted(values.items()) if len(given) > 1]


def trial_name(
    trial: Trial, names: Sequence[str], attempts: int | None = None, unit: str = "samples"
) -> str:
    """A trial's label, unique in its study, whose trials differ in ``names``."""
    given = dict(trial.hyperparameters)
    parts = [f"{exact(trial.samples)} {unit}", f"size {trial.size}"]
    parts += [f"{name} {setting(given[name])}" for name in names if name in given]
    parts.append(f"seed {trial.seed}")
    if trial.permutation:
        parts.append(f"draw {trial.permutation + 1} of the data")
    if attempts is not None and attempts > 1:
        parts.append(f"attempt {attempts}")
    return ", ".join(parts)


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """What ``steep diagnose`` prints: each finding, its evidence, and what to do."""
    if not findings:
        return ["Nothing to report."]
    lines = []
    for found in findings:
        lines.append(f"{found.severity}: {found.kind} ({found.where})")
        lines += [f"    {found.evidence}", f"    Next: {found.next_step}"]
    return lines
