"""A dry run, a study's progress and its findings, in lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from steep.plan import Bounds, Plan
from steep.present.numbers import count, duration, ends, exact, factor, flops, memory, share
from steep.records import Finding, Prediction, Shard, Status, Took


def plan_lines(study: str, shards: Sequence[Shard], plan: Plan, workers: int) -> list[str]:
    """What ``steep plan`` prints."""
    unit = shards[0].unit
    fitted = [s for s in shards if not s.held_out and s.permutation == 0]
    held = [s for s in shards if s.held_out and s.permutation == 0]
    sizes = ", ".join(exact(s.samples) for s in fitted)
    lines = [f"{study}: {len(fitted)} shards to fit, of {sizes} {unit}"]
    if held:
        sizes = ", ".join(exact(s.samples) for s in held)
        lines.append(f"held out, forecast first, then trained and fitted, too: {sizes} {unit}")
    fewest = len(plan.trials) + plan.held_out_trials
    most = plan.most_trials + plan.held_out_trials
    about = "about " if plan.adaptive else ""
    decided = ", as the results decide" if plan.adaptive else ""
    lines.append(f"trials: {about}{fewest}" + (f" to {most}" if most > fewest else "") + decided)
    if plan.parameters:
        models = ", ".join(f"{size}: {count(parameters)}" for size, parameters in plan.parameters)
        lines.append(f"parameters by size: {models}")
    lines.append(f"training: {_bounds(plan.flops, flops)}")
    lines.append(f"disk: about {memory(plan.disk)}")
    if plan.seconds is None:
        lines.append("time: not known before a trial has run")
    else:
        each = Bounds(plan.seconds.low / workers, plan.seconds.high / workers)
        lines.append(f"time: {_bounds(each, duration)} with {workers} worker(s) on this machine")
    if plan.prediction is not None:
        lines[-1:] = prediction_lines(plan.prediction, lines[-1])
    return lines


def prediction_lines(found: Prediction, bounds: str) -> list[str]:
    """The expected time, what it rests on, and between which bounds it must lie."""
    own = f", and from {found.own_trials} finished trials of this study" if found.own_trials else ""
    seen = f"{found.learnt_from} finished trials of {found.family}"
    if not found.learnt_from:
        seen = f"finished trials of other families (none of {found.family} is known)"
    return [
        f"time: about {ends(found.clock, duration)} with {found.workers} worker(s), each with a "
        "core of this machine to itself",
        f"  {duration(found.training.value)} of training, {share(found.evaluations)} of it looking "
        f"at validation items; from seconds of training here, from when {seen} stopped{own}",
        f"  if every trial stopped as early or as late as it can: {bounds.removeprefix('time: ')}",
    ]


def took_sentence(found: Prediction, took: Took) -> str:
    """What was predicted of the time, confronted."""
    low, high, value = found.training.lower, found.training.upper, found.training.value or 0.0
    inside = (low or 0.0) <= took.training <= (high or float("inf"))
    verdict = "inside the interval" if inside else "outside the interval"
    text = (
        f"Predicted before training: {ends(found.training, duration)} of training in "
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


def status_lines(rows: Sequence[Any]) -> list[str]:
    """What ``steep status`` prints: states, then everything that did not go well."""
    states = Counter(row.status for row in rows)
    told = ", ".join(f"{states[s]} {s.value}" for s in Status if states[s])
    took = sum(row.seconds or 0.0 for row in rows)
    lines = [f"{len(rows)} trials: {told or 'none yet'}; {duration(took)} of training"]
    for row in rows:
        if row.status in (Status.DIVERGED, Status.FAILED, Status.TIMEOUT, Status.RUNNING):
            trial = row.trial
            what = f"{exact(trial.samples)} samples, size {trial.size}, seed {trial.seed}"
            why = f": {row.reason}" if row.reason else ""
            tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
            lines.append(f"  {row.status.value}: {what}{tries}{why}")
    return lines


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """What ``steep diagnose`` prints: each finding, its evidence, and what to do."""
    if not findings:
        return ["Nothing to report."]
    lines = []
    for found in findings:
        lines.append(f"{found.severity}: {found.kind} ({found.where})")
        lines += [f"    {found.evidence}", f"    Next: {found.next_step}"]
    return lines
