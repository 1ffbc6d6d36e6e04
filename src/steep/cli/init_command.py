"""Propose a study of the user's own training command, and run it once to check its reports.

``steep init rows.csv --command "python train.py --data {shard} --seed {seed}"`` writes the spec and
trains on the smallest shard, so that mistakes in a command show within a minute.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steep.base.metrics import LOSSES, PLAIN, RATES, SHARES, original
from steep.contracts.executor import Event, Job, Kind
from steep.domains.external import Options as External
from steep.executors.worker import work
from steep.plan import clock
from steep.plan.lengths import LearnedLengths
from steep.present.numbers import duration, exact, measured, scale
from steep.propose import place, run_section, study_name, yaml_text
from steep.records import SCORED, Measurement, Status, Trial
from steep.spec.load import QuestionError, parse
from steep.spec.yaml_reader import scalar
from steep.study import Study
from steep.tables.words import metric_kind, own_metric
from steep.trainers.command import PLACES, named_in

STEPS, FEWEST = 6, 10
"""The shards double ``STEPS`` times up to all of the data, if the smallest then has at least
``FEWEST`` items."""
VALIDATION = 0.1
LATER = 2
"""Between the shards on which a trial is timed: four times the data each."""


@dataclass(frozen=True)
class FirstRun:
    """The result of the first run."""

    text: str
    """The spec, with the metric that the command named."""
    notes: tuple[str, ...]
    problem: str | None
    """The problem with the command's report, or None."""


def propose(
    data: Sequence[Path],
    command: str,
    values: Sequence[str],
    *,
    items: int | None,
    label: str | None,
    metric: str | None,
    pattern: str | None,
    budget: float | None,
    workers: int | None,
    base: Path,
) -> FirstRun:
    """A spec for a study of ``command``, and the result of its first trial. ``values`` are texts
    such as 'learning_rate=0.1,0.3'. Raises QuestionError for arguments that give no valid spec."""
    grid = _grid(values)
    _check_names(command, grid)
    if not data and items is None:
        raise QuestionError(
            "name the training data, or say how many items there are: --items 50000"
        )
    run = run_section(budget, workers)
    if pattern and not metric:
        raise QuestionError(
            "--pattern needs --metric: what the number is that it matches (error, accuracy, loss, "
            "perplexity, ...)"
        )
    draft = _Draft(data, command, grid, items, label, metric, pattern, run, base)
    with tempfile.TemporaryDirectory(prefix="steep-") as home:
        loaded = parse(draft.spec(metric), base, "the proposed spec")
        study = Study(loaded, Path(home) / "study")
        study.check()
        study.begin()
        outcome = _tried(study)
        timed = _timed(study, outcome, clock.pilot_seconds(budget))
    draft.run = run_section(budget, workers, timed)
    shard = study.cut.shards[0]
    setting = f"on the smallest shard ({exact(shard.samples)} of {exact(draft.total)} {shard.unit})"
    if isinstance(outcome, str):
        return FirstRun(draft.spec(metric), (), f"{outcome}\nThat was {setting}.")
    if outcome.status == Status.DIVERGED:
        return FirstRun(draft.spec(metric), (), f"{outcome.reason}\nThat was {setting}.")
    ((name, error), *_) = [p for p in outcome.metrics if p[1] == outcome.validation_error]
    made_of = original(name)
    reported_metric = name if made_of is None else made_of.name
    number_format = scale(name)
    notes = [
        f"Ran it once {setting}: {number_format.label} {measured(float(error), number_format)} in "
        f"{duration(outcome.seconds)}, with {_lines(len(outcome.curve))} of progress.",
        *_taken_for(metric),
    ]
    if study.cut.removed:
        notes.append(
            f"{exact(study.cut.removed)} {shard.unit} to train on were left out: V or the test "
            "part holds a copy of each."
        )
    if not outcome.curve:
        notes.append(
            'Lines such as {"step": 100, "validation_error": 0.31} would show its progress.'
        )
    if len(timed) > 1:
        notes.append(
            f"{len(timed) - 1} more, of more data or of the largest model, took "
            f"{duration(sum(one.seconds for one in timed[1:]))}: steep plan predicts from them, by "
            "run.timed in the spec."
        )
    return FirstRun(draft.spec(reported_metric), tuple(notes), None)


def _check_names(command: str, grid: Mapping[str, list[Any]]) -> None:
    """Raises QuestionError where the command and the values have not the same names."""
    if unknown := sorted(named_in(command) - set(PLACES) - set(grid)):
        names = ", ".join(f"--values {name}=..." for name in unknown)
        raise QuestionError(
            f"the command names what steep does not know: give {names} (or, where the braces are "
            f"the program's own, leave a blank in them: {{ {unknown[0]} }})"
        )
    if unused := sorted(set(grid) - named_in(command)):
        raise QuestionError(f"--values {unused[0]}: the command has no {{{unused[0]}}}")
    if "size" in named_in(command) and "size" not in grid:
        raise QuestionError("give the sizes of the models: --values size=16,32,64")


def _taken_for(metric: str | None) -> list[str]:
    """A note where the name of a metric says nothing about its direction."""
    own = own_metric(metric or "error")
    if own != metric or own in {*PLAIN, *LOSSES, *RATES, *SHARES} or metric_kind(metric) == "error":
        return []
    return [
        f"Lower values of {metric} are taken for better ones, as steep does not know it. Where "
        "higher ones are, report what falls instead."
    ]


def _lines(count: int) -> str:
    return "no line" if not count else "1 line" if count == 1 else f"{count} lines"


def _grid(values: Sequence[str]) -> dict[str, list[Any]]:
    grid = {}
    for text in values:
        name, equals, listed = text.partition("=")
        if not equals or not name.isidentifier() or not listed:
            raise QuestionError(f"--values {text}: write a name and values, such as lr=0.1,0.3")
        if name in grid:
            raise QuestionError(f"--values {name} is given twice: list all of its values in one")
        scalars = [scalar(one.strip()) for one in listed.split(",")]
        grid[name] = list({json.dumps(value): value for value in scalars}.values())
    sizes = grid.get("size", [1])
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise QuestionError("--values size: only whole numbers from 1 on")
    return grid


class _Draft:
    """The spec that is proposed."""

    def __init__(
        self,
        data: Sequence[Path],
        command: str,
        grid: Mapping[str, list[Any]],
        items: int | None,
        label: str | None,
        metric: str | None,
        pattern: str | None,
        run: str,
        base: Path,
    ) -> None:
        self.run = run
        self.command, self.grid, self.items, self.label = command, grid, items, label
        self.pattern = f"  pattern: {yaml_text(pattern)}\n" if pattern else ""
        if pattern and re.search(r"\{number\} ?%", pattern):
            self.pattern += "  percent: true            # of the pattern's number\n"
        self.parts = place(data, base) if data else {}
        self.name = study_name(data, base, "command") if data else "own-study"
        self.own_split = "validation" not in named_in(command)
        self.smallest = 1.0
        opened = Study(parse(self.spec(metric), base, "the proposed spec"), base / self.name)
        self.total = float(opened.items.size[opened.cut.orders[0]].sum())
        if self.total < FEWEST * 4:
            raise QuestionError(
                f"{exact(self.total)} items to train on are too few for a learning curve"
            )
        self.smallest = float(max(FEWEST, math.ceil(self.total / 2**STEPS)))

    def spec(self, metric: str | None) -> str:
        """The commented spec; ``metric`` None: not known yet."""
        metric_line = (
            f"  metric: {yaml_text(metric)}             # what the command reports\n"
            if metric
            else ""
        )
        if self.parts:
            paths = "".join(f"  {part}: {yaml_text(path)}\n" for part, path in self.parts.items())
            domain = f"  name: dataset\n{paths}"
            domain += f"  label: {yaml_text(self.label)}\n" if self.label else ""
        else:
            domain = f"  name: external\n  items: {External(items=self.items or 0).items}\n"
        split = ""
        if not self.own_split and "validation" not in self.parts:
            split = f"\nsplit:\n  validation: {VALIDATION}          # the file {{validation}}\n"
        sizes = self.grid.get("size", [1])
        others = {name: values for name, values in self.grid.items() if name != "size"}
        listed = "".join(f"    {name}: {json.dumps(values)}\n" for name, values in others.items())
        search = f"\nsearch:\n  hyperparameters:\n{listed}" if others else ""
        return f"""\
# Written by steep init; change what you know better. Next: steep plan, then steep run.
study: {yaml_text(self.name)}

domain:
{domain}{metric_line}{split}
trainer:
  name: command
  command: {json.dumps(self.command, ensure_ascii=False)}
{self.pattern}
family:
  sizes: {json.dumps(sorted(sizes))}

shards:                      # nested training sets, each twice the one before
  smallest: {self.smallest:g}
  held_out: 1                # the largest is forecast first, then trained and fitted, too
{search}{self.run}"""


def _timed(study: Study, first: Measurement | str, seconds: float) -> list[Measurement]:
    """The trials that show how time grows with data and with the model, as many as are expected to
    end in so many seconds: a law through one trial alone would be a guess."""
    if isinstance(first, str) or first.seconds <= 0 or first.status not in SCORED:
        return []
    timed = [first]
    shards = [s for s in study.search_space.shards if not s.permutation]
    sizes = sorted(study.spec.family.sizes)
    places = [(shards[0], sizes[-1]), *((shard, sizes[0]) for shard in shards[LATER::LATER])]
    for shard, size in places:
        trial = Trial(0, shard.items, shard.samples, size, study.middle_choice(), 0)
        seconds -= timed[-1].seconds
        if any(trial == one.trial for one in timed):
            continue
        if LearnedLengths(study.spec, timed).expected(trial) > seconds:
            break
        outcome = _tried(study, trial)
        if isinstance(outcome, str) or outcome.seconds <= 0 or outcome.status not in SCORED:
            break  # what is wrong with it is reported when the study runs
        timed.append(outcome)
    return timed


def _tried(study: Study, trial: Trial | None = None) -> Measurement | str:
    """The measurement of a trial, or the reason for its failure: of the smallest model on the
    smallest shard unless another is given."""
    shard = study.cut.shards[0]
    trial = trial or Trial(
        0, shard.items, shard.samples, min(study.spec.family.sizes), study.middle_choice(), 0
    )
    events: list[Event] = []
    work([Job(study.folder, trial, 1)], events.append, threading.Event())
    last = events[-1]
    if last.kind == Kind.RESULT:
        measurement: Measurement = last.payload
        return measurement
    if str(last.payload["reason"]).startswith("KeyboardInterrupt"):
        raise KeyboardInterrupt
    output = str(last.payload.get("detail") or "").splitlines()[-20:]
    return "\n".join([str(last.payload["reason"]), *(f"    {line}" for line in output)])
