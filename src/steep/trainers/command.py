"""A command as the trainer of a study: a script in any language, which need not know steep.

    trainer:
      name: command
      command: python train.py --data {shard} --width {size} --lr {learning_rate} --seed {seed}

Each trial runs it once, in the folder of the spec, with the values put in:

- ``{shard}``, ``{validation}``, ``{test}``: files with the items of the trial, see ``domains``;
- ``{size}``, ``{seed}``, ``{samples}``, ``{items}``, ``{trial}`` and every hyperparameter by name;
- ``{checkpoints}``: the trial's own folder, kept between its attempts; ``{result}``: a file to
  write; ``{python}``: the interpreter that runs steep. $STEEP_CHECKPOINTS and $STEEP_RESULT too.

It reports as ``trainers/reported.py`` says. SIGTERM asks it to save and end.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from steep.base.memory import parse_bytes
from steep.base.metrics import higher
from steep.contracts.domain import Domain
from steep.contracts.trainer import Handle, Interrupted, ShardItems, Trainer
from steep.engine.schedule import without_improvement
from steep.records import Measurement, Status, Trial, Value
from steep.spec.load import Loaded
from steep.spec.sections import Few, Stop, Strict
from steep.trainers import fingerprint, reported
from steep.trainers.answer import (
    OwnCodeError,
    StudyMetric,
    known_metric,
    measurement,
    part_and_name,
    study_metric,
)
from steep.trainers.own_code import OWN_VALIDATION as OWN_VALIDATION
from steep.trainers.own_code import cost as cost
from steep.trainers.own_code import extent as extent
from steep.trainers.own_code import recipe as recipe
from steep.trainers.own_code import refuse_changed
from steep.trainers.process import PLAIN, Process
from steep.trainers.reported import Reported, Row

FILES = ("shard", "validation", "test")
PLACES = (*FILES, "size", "seed", "samples", "items", "trial", "checkpoints", "result", "python")
_PLACE = re.compile(r"(?<!\$)\{([A-Za-z_]\w*)\}")
"""``${NAME}`` is the shell's."""
_SHOWN, _WIDE = 3, 140
"""Last lines of output in a failure's sentence, and their characters."""
_POLL = 0.1


class Options(Strict):
    command: str
    """The command line of one trial; {shard}, {size}, {seed} and hyperparameters are put in."""
    pattern: str | None = None
    """Where the result is printed: 'accuracy: {number}'. The last line that matches counts."""
    csv: str | None = None
    """A CSV that the command writes, with {checkpoints} or {trial} in its path; its best row
    counts."""
    trainer_state: str | None = None
    """The same of a trainer_state.json, as Hugging Face's Trainer writes it."""
    column: str | None = None
    """Of ``csv`` and ``trainer_state``: the metric's. None: validation_accuracy, eval_loss, ..."""
    percent: bool = False
    """Whether ``pattern``, ``csv`` and ``trainer_state`` hold percentages."""
    patience: Few | None = None
    """Evaluations in progress lines without a lower error after which the command is stopped and
    its best one counts. None: never."""
    grace: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds from SIGTERM, after which the command is killed."""
    memory: str | None = None
    """What each process of the command may take, e.g. 4 GB. None: no limit."""

    @field_validator("pattern")
    @classmethod
    def _one_number(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            reported.compiled(pattern)
        return pattern

    @field_validator("memory")
    @classmethod
    def _bytes(cls, memory: str | None) -> str | None:
        if memory is not None:
            parse_bytes(memory)
        return memory


class CommandError(RuntimeError):
    """The command failed; another attempt may not. ``detail``: what it printed."""

    def __init__(self, message: str, cause: str, detail: str) -> None:
        super().__init__(message)
        self.cause, self.detail = cause, detail


def memory(loaded: Loaded, domain: Domain, trial: Trial, items: np.ndarray) -> float | None:
    """The limit, where there is one."""
    limit = loaded.spec.trainer.options.get("memory")
    return None if limit is None else parse_bytes(limit)


def code(loaded: Loaded) -> dict[str, str]:
    """Digests of the scripts that the command names, and of the user's modules they import."""
    return fingerprint.code_of_command(loaded.spec.trainer.options["command"], loaded.base)


def problem(loaded: Loaded, domain: Domain) -> tuple[str, str] | None:
    """What is wrong with the command of a spec: where, and a sentence."""
    options = _options(loaded)
    if not hasattr(domain, "text"):
        return "domain.name", "a command is given files: use domain dataset, or external"
    without_places = _PLACE.sub("x", options.command)
    if PLAIN.fullmatch(without_places):
        try:
            shlex.split(without_places)
        except ValueError:
            return "trainer.command", f"a quotation in it is not closed: {options.command}"
    names = {*loaded.spec.training, *loaded.spec.search.hyperparameters}
    if taken := sorted(names & set(PLACES)):
        return (
            "trainer.command",
            f"{', '.join(taken)} cannot be a hyperparameter: steep fills it in",
        )
    known = {*PLACES, *names}
    for key in ("command", "csv", "trainer_state"):
        for name in sorted(named_in(getattr(options, key) or "")):
            if name not in known:
                return f"trainer.{key}", f"no {{{name}}}; there are: {', '.join(sorted(known))}"
    used = named_in(options.command)
    if unused := sorted(set(loaded.spec.search.hyperparameters) - used):
        what = f"{{{unused[0]}}} is not in it, though search.hyperparameters lists values of it"
        return "trainer.command", what
    if len(loaded.spec.family.sizes) > 1 and "size" not in used:
        return "trainer.command", "{size} is not in it, though family.sizes lists several"
    if not used & {"shard", "samples", "items"}:
        return "trainer.command", "it is given no training data: {shard} is the file of a shard"
    read = [key for key in ("pattern", "csv", "trainer_state") if getattr(options, key)]
    if read and not study_metric(loaded, domain).declared:
        named = known_metric(part_and_name(options.column or "")[1])
        if named is None:
            what = "error, accuracy, loss, ..."
            return f"trainer.{read[0]}", f"say what its number is: domain: metric: ({what})"
    if len(read) > 1:
        return f"trainer.{read[1]}", f"{read[0]} is read as well: one place has the result"
    for key in read:
        if key != "pattern" and not {"checkpoints", "trial"} & named_in(getattr(options, key)):
            return (
                f"trainer.{key}",
                "its path must hold {checkpoints} or {trial}: trials run at once",
            )
    return None


def absent(loaded: Loaded) -> tuple[str, str] | None:
    """A shell."""
    if os.name != "posix":
        return "trainer.name", "commands need a POSIX system"
    return None


def open_trainer(loaded: Loaded, domain: Domain) -> Trainer:
    """The command of the spec. Raises CodeChangedError where its scripts are others by now."""
    refuse_changed(loaded, code(loaded))
    options, metric = _options(loaded), study_metric(loaded, domain)

    def train(trial: Trial, shard: ShardItems, handle: Handle) -> Measurement:
        return _Attempt(loaded.base, options, metric, domain, trial, shard, handle).run()

    return train


def named_in(text: str) -> set[str]:
    """The placeholders of a command."""
    return set(_PLACE.findall(text))


def _options(loaded: Loaded) -> Options:
    return Options.model_validate(loaded.spec.trainer.options)


def shard_files(domain: Any, trial: Trial, shard: ShardItems, handle: Handle) -> dict[str, str]:
    """The trial's items as files, by placeholder; '' for a part that is empty."""
    names = {
        "shard": (f"{trial.permutation}-{trial.items}", shard.train),
        "validation": ("validation", shard.validation),
        "test": ("test", shard.test),
    }
    return {
        key: str(handle.shard_file(name + domain.suffix, partial(domain.text, items)))
        if len(items)
        else ""
        for key, (name, items) in names.items()
    }


@dataclass
class _Attempt:
    """One run of the command."""

    base: Path
    options: Options
    metric: StudyMetric
    domain: Any
    trial: Trial
    shard: ShardItems
    handle: Handle

    def run(self) -> Measurement:
        self.began = time.perf_counter()
        checkpoints, resumed = self.handle.folder()
        with tempfile.TemporaryDirectory(prefix="steep-") as scratch:
            result = Path(scratch) / "result.json"
            values = self.values(checkpoints, result)
            command = filled(self.options.command, values, shlex.quote)
            process = self.started(command, checkpoints, result)
            try:
                printed = Reported(self.metric)
                stopped = self.follow(process, printed)
                code = process.close()
                self.check_end(code, process, stopped, printed, checkpoints if resumed else None)
                try:
                    answer = self.answer(printed, result, values, process)
                    return self.measured(answer, printed)
                except OwnCodeError as error:
                    raise OwnCodeError(f"{error}{shown(process)}", process.output.text()) from None
            finally:
                process.close()

    def values(self, checkpoints: Path, result: Path) -> dict[str, str]:
        """What is put into the command."""
        trial = self.trial
        values = {name: _plain(value) for name, value in trial.hyperparameters}
        values |= shard_files(self.domain, trial, self.shard, self.handle)
        return values | {
            "size": str(trial.size),
            "seed": str(trial.seed),
            "samples": _plain(trial.samples),
            "items": str(trial.items),
            "trial": trial.id,
            "checkpoints": str(checkpoints),
            "result": str(result),
            "python": sys.executable,
        }

    def started(self, command: str, checkpoints: Path, result: Path) -> Process:
        pattern = self.pattern
        environment = {"PYTHONUNBUFFERED": "1", **os.environ}
        environment |= {"STEEP_CHECKPOINTS": str(checkpoints), "STEEP_RESULT": str(result)}
        limit = None if self.options.memory is None else parse_bytes(self.options.memory)

        def wanted(line: bytes) -> bool:
            if reported.is_json(line):
                return True
            return pattern is not None and bool(pattern.search(line.decode(errors="replace")))

        try:
            return Process(command, self.base, environment, wanted, limit)
        except (FileNotFoundError, PermissionError) as error:
            raise OwnCodeError(f"the command cannot be started: {error}") from None

    @property
    def pattern(self) -> re.Pattern[str] | None:
        text = self.options.pattern
        return None if text is None else reported.compiled(text)

    def follow(self, process: Process, printed: Reported) -> bool:
        """Pass on the command's progress until it ends; whether it was stopped for having come to
        its best. Raises Interrupted on a stop request, and Diverged for an error that is not a
        number."""
        self.matches: list[str] = []
        pattern = self.pattern
        while True:
            over = process.over  # checked first: what it printed before is in the queue then
            while (line := process.next_line(0.0 if over else _POLL)) is not None:
                if pattern is not None and pattern.search(line):
                    self.matches.append(line)
                seconds = time.perf_counter() - self.began
                if (evaluation := printed.take(line, self.trial.samples, seconds)) is not None:
                    self.handle.progress(evaluation)
                if self.handle.stop_requested():
                    break
            if over:
                return False
            if self.handle.stop_requested():
                process.stop(self.options.grace)
                raise Interrupted
            if self.options.patience is not None and _waited(printed) >= self.options.patience:
                process.stop(self.options.grace)
                while (line := process.next_line(0.0)) is not None:
                    printed.take(line, self.trial.samples, time.perf_counter() - self.began)
                return True

    def check_end(
        self, code: int, process: Process, stopped: bool, printed: Reported, resumed: Path | None
    ) -> None:
        """Raise CommandError where the command failed. Where it began with what an earlier attempt
        had saved and came no further, the next one begins anew."""
        if code == 0 or stopped:
            return
        last = shown(process, failed=True)
        output = process.output.text()
        if resumed is not None and not printed.curve:
            self.handle.drop_folder()
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        cause = "oom" if code in (-9, 137) or _is_memory(last) else "error"
        if code == 127:
            raise OwnCodeError(f"the command was not found (exit code 127){last}", output)
        raise CommandError(f"the command failed with {how}{last}", cause, output)

    def answer(
        self, printed: Reported, result: Path, values: Mapping[str, str], process: Process
    ) -> Any:
        """What the command reported, from the one place that has it."""
        options = self.options
        if options.csv or options.trainer_state:
            path = self.base / filled(options.csv or options.trainer_state or "", values, str)
            read = reported.of_csv if options.csv else reported.of_trainer_state
            return self.best_row(read(path, options.column, self.metric))
        if (pattern := self.pattern) is not None:
            # Python's logging writes to standard error.
            text = reported.matched(pattern, self.matches) or reported.matched(
                pattern, process.errors.lines()
            )
            if text is None:
                raise OwnCodeError(
                    f"the command reported no result: no line matches {options.pattern!r}"
                )
            return self.scaled(float(text))
        results = list(printed.results)
        if (written := reported.of_file(result)) is not None and written not in results:
            results.append(written)
        if len(results) > 1:
            first, second = results[0], results[-1]
            raise OwnCodeError(
                f"the command reported {len(results)} results, {first} and {second}: one is wanted "
                "(a line with a step is progress)"
            )
        if results:
            return results[0].get("", results[0])
        if (best := printed.best()) is not None:
            return best
        raise OwnCodeError(
            "the command reported no result: its standard output has no line such as "
            '{"validation_error": 0.12}, it writes no $STEEP_RESULT, and the spec names no '
            "pattern, csv or trainer_state"
        )

    def scaled(self, value: float) -> float:
        return value / 100 if self.options.percent else value

    def best_row(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The row with the lowest error; NaN where one is none."""
        key = f"validation_{self.metric.own}"
        if not self.metric.declared:
            key = self.options.column or key
        values = [self.scaled(value) for _, value in rows]
        bad = [value for value in values if not math.isfinite(value)]
        named = known_metric(part_and_name(key)[1]) or self.metric.name
        higher_is_better = higher(named) is not None
        best = max(values) if higher_is_better else min(values)
        step = rows[values.index(best)][0] if not bad else None
        answer: dict[str, Any] = {key: bad[0] if bad else best}
        if step is not None and float(step).is_integer():
            answer["best_step"] = step
        return answer

    def measured(self, answer: Any, printed: Reported) -> Measurement:
        seconds = time.perf_counter() - self.began
        found = measurement(
            self.trial,
            self.metric,
            answer,
            seconds,
            len(self.shard.validation),
            self.handle,
            who=reported.WHO,
            engine="command",
            strict=False,
        )
        steps = found.steps or (printed.curve[-1].step if printed.curve else 0)
        seen = found.samples_seen or (printed.curve[-1].samples_seen if printed.curve else 0.0)
        kept = tuple(printed.curve) if found.status != Status.DIVERGED else ()
        return replace(found, curve=kept, steps=steps, samples_seen=seen)


def filled(text: str, values: Mapping[str, str], quote: Any) -> str:
    """``text`` with the placeholders that are known replaced; other braces stay."""

    def value(match: re.Match[str]) -> str:
        return str(quote(values[match[1]])) if match[1] in values else match[0]

    return _PLACE.sub(value, text)


def _plain(value: Value) -> str:
    """As a script's arguments are written: 10 for 10.0, true for True."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def shown(process: Process, failed: bool = False) -> str:
    """The last lines of what the command printed, for the end of a sentence; of one that has
    ``failed`` those of standard error, if there are any."""
    last = process.errors.last_lines(_SHOWN) if failed else []
    lines = [line[:_WIDE] for line in last or process.output.last_lines(_SHOWN)]
    while len(lines) > 1 and sum(map(len, lines)) > _WIDE:
        del lines[0]
    return f"; the last it printed: {' | '.join(lines)}" if lines else "; it printed nothing"


def _waited(printed: Reported) -> int:
    """Evaluations since the lowest error."""
    return without_improvement(Stop(), [point.validation_error for point in printed.curve])


def _is_memory(text: str) -> bool:
    lowered = text.lower()
    return any(sign in lowered for sign in ("memoryerror", "out of memory", "bad_alloc"))
