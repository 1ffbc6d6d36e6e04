"""Shared by the subcommands: a run with a progress bar, budgets, JSON, errors as sentences.

Modules are imported where they are needed, since ``steep --help`` must not wait for them.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer

from steep.base.extras import sentence

if TYPE_CHECKING:
    from steep.records import Analysis

_json_asked: ContextVar[bool] = ContextVar("json_asked", default=False)
"""Whether the command that runs was asked for JSON, which "no answer" then is, too."""


def _ask_json(asked: bool) -> bool:
    _json_asked.set(asked)
    return asked


Json = Annotated[bool, typer.Option("--json", callback=_ask_json, help="Print JSON for scripts.")]
PARTIAL, BAD_INPUT, NO_ANSWER, INTERRUPTED = 1, 2, 3, 130
EXIT_CODES = (
    "Exit codes: 0 answered or done; 1 some trials failed; 2 wrong input, with one sentence why; "
    "3 no answer (the points support no law or forecast, or no pair of curves can be compared); "
    "130 interrupted, the same command resumes."
)


def run_study(
    study: Any,
    workers: int | None,
    budget: str | None,
    quiet: bool,
    track: str | None = None,
    **options: bool,
) -> int:
    """Run a study with a progress bar, print the result, and return the exit code. ``track`` names
    an experiment tracker that receives the events as well."""
    from steep.present.progress import Progress
    from steep.present.sentences import study_lines
    from steep.train import StudyFailed

    flops, seconds = _budget(budget)
    study.check()
    tracker = None if track is None else _tracker(track, study)

    def observe(event: Any) -> None:
        progress.observe(event)
        if tracker is not None:
            tracker.observe(event)

    try:
        with Progress(
            study.time_left, study.answered_metric, lambda: str(study.domain.unit), quiet
        ) as progress:
            outcome = study.run(
                workers=workers,
                budget=flops,
                seconds=seconds,
                observe=observe,
                **options,
            )
    except StudyFailed as error:
        typer.echo(f"steep: {error}", err=True)
        return PARTIAL
    if outcome.word == "drained":
        typer.echo("Stopped; every finished step is kept. The same command resumes.", err=True)
        return INTERRUPTED
    if tracker is not None:
        tracker.finish(study.spec.study, study.analyse())
    if not quiet:
        for line in study_lines(study.analyse()):
            typer.echo(line)
        typer.echo(f"Report: {study.folder / 'report.html'}")
    if outcome.word == "budget":
        typer.echo(f"Stopped at the budget: {_rest(outcome)}.", err=True)
        typer.echo(_goes_on(study, budget, outcome), err=True)
    if outcome.failed or outcome.timeout:
        failed = f"{outcome.failed + outcome.timeout} of {outcome.trials} trials failed"
        typer.echo(
            f"{failed}: 'steep status {study.folder}' says why. Once that is mended, the same "
            "command with --retry-failed tries them again.",
            err=True,
        )
        return PARTIAL
    if outcome.diverged and not outcome.complete + outcome.capped + outcome.stopped:
        all_diverged = (
            f"All {outcome.diverged} trials diverged: no error that they reported is a number"
        )
        typer.echo(f"{all_diverged}; 'steep status {study.folder}' lists them.", err=True)
        return NO_ANSWER
    return 0


def _rest(outcome: Any) -> str:
    """What a budget leaves of a study."""
    from steep.present.numbers import several

    if not outcome.unfinished:
        return "what the search would train next does not fit in what is left"
    return f"the search would go on ({several(outcome.unfinished, 'trial')} planned so far)"


def _goes_on(study: Any, budget: str | None, outcome: Any) -> str:
    """The command that continues a study that its budget stopped: with the same time again, or with
    as much as the next requested trials are expected to take."""
    from steep.present.lines import goes_on
    from steep.present.progress import coarse

    budget_text = study.spec.run.budget if budget is None else re.sub(r"\s", "", budget)
    if outcome.enough is not None and outcome.enough > duration(budget_text):
        from steep.spec.sections import written_duration

        budget_text = written_duration(outcome.enough)
    if outcome.enough is None and not outcome.ran:
        return f"A larger one goes on: 'steep run {shlex.quote(str(study.folder))} --budget ...'."
    larger = ", or a larger budget" if outcome.enough is None else ""
    seconds = _budget(budget_text)[1]
    flops = re.sub(r"(?i)flops?$", "", budget_text)
    length = f"{flops} FLOPs" if seconds is None else coarse(seconds)
    return f"{goes_on(study.folder, budget_text, length)}{larger}."


def wrote_spec(path: Path) -> str:
    """The message that a spec was written, with the next commands."""
    name = shlex.quote(str(path))
    return f"Wrote {path}. Next: steep plan {name}; steep run {name}"


def _tracker(name: str, study: Any) -> Any:
    from steep.integrations.tracking import open_tracker

    def warn(text: str) -> None:
        typer.echo(f"steep: {name}: {text}", err=True)

    try:
        return open_tracker(name, study.spec.study, study.folder, warn)
    except ValueError as error:
        fail(str(error))


def _budget(text: str | None) -> tuple[float | None, float | None]:
    """A budget in FLOPs ('1e15', '2e9 FLOPs') or in seconds ('2h', '30m', '90s'). A plain number is
    refused: nobody knows whether '10' are minutes, trials or FLOPs."""
    if text is None:
        return None, None
    plain = re.sub(r"\s*flops?$", "", text.strip(), flags=re.IGNORECASE)
    try:
        flops = float(plain)
    except ValueError:
        return None, duration(text)
    if not 0 < flops < float("inf"):
        fail(f"--budget {text}: write FLOPs such as 1e15, or a time such as 2h")
    if plain == text.strip() and "e" not in plain.lower():
        fail(f"--budget {text}: of what? Write a time ({text}m, {text}h) or FLOPs (1e15)")
    return flops, None


def duration(text: str, option: str = "--budget") -> float:
    """A time such as '2h' in seconds; other text is an error of ``option``."""
    from steep.spec.sections import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}")


def results_json(study: Any) -> dict[str, Any]:
    from steep.analysis.result_tables import fits

    analysis = study.analyse()
    return fits(analysis) | {"report": str(study.folder / "report.html")}


def so_far_json(analysis: Analysis | None) -> dict[str, Any]:
    """The best fit of the largest shard that has one, the larger shards whose search is too
    unfinished to name one, and the forecast from there; None for both before there is a curve."""
    if analysis is None or not analysis.curves:
        return {"largest_shard": None, "forecast": None}
    curve, (best, error) = analysis.headline, analysis.largest
    open_ = [b.samples for b in analysis.best_fits if b.withheld and b.samples > best.samples]
    largest: dict[str, Any] = {"samples": best.samples, "size": best.best.size, "error": error}
    largest |= {"larger_withheld": sorted(set(open_))}
    return {
        "metric": curve.metric,
        "unit": analysis.unit,
        "largest_shard": largest,
        "largest": curve.fit.at_hand,
        "forecast": asdict(curve.forecast),
    }


def answered(outcomes: Iterable[bool]) -> None:
    """Exit with the code for 'no answer' unless at least one of the outcomes is an answer."""
    if not any(outcomes):
        raise typer.Exit(NO_ANSWER)


def title(name: str, curves: int) -> None:
    if curves > 1:
        typer.echo(f"\n{name}")


def show(drawing: Any, plot: bool, png: Path | None) -> None:
    """A figure in the terminal, and as a file."""
    if plot:
        from steep.present.plain_plot import plain_plot

        unicode = "utf" in (sys.stdout.encoding or "").lower()
        typer.echo(f"\n{plain_plot(drawing, unicode)}")
    if png is not None:
        from steep.present.plots import save

        try:
            save(drawing, png)
        except ValueError as error:
            fail(f"--png {error}")
        typer.echo(f"Wrote {png}", err=True)


_NAMED = {"hyperparameters", "metrics", "best_guess", "provenance", "versions", "fixed", "tied"}
"""Fields of records that are pairs of a name and a value."""


def print_json(value: Any) -> None:
    from steep.base.own_metric import with_own_metric

    value = with_own_metric(_by_name(value))
    typer.echo(json.dumps(value, indent=1, allow_nan=False, default=str))


def _by_name(value: Any) -> Any:
    """Pairs of names and values as objects, which a program can ask by name."""
    if isinstance(value, dict):
        return {
            name: dict(one) if name in _NAMED and isinstance(one, list | tuple) else _by_name(one)
            for name, one in value.items()
        }
    return [_by_name(one) for one in value] if isinstance(value, list | tuple) else value


def print_record(record: Any) -> None:
    from steep.records import encode

    print_json(json.loads(encode(record)))


def fail(message: str) -> NoReturn:
    typer.echo(f"steep: {message}", err=True)
    raise typer.Exit(BAD_INPUT)


class _Tolerant:
    """A stream for messages that drops them if it cannot be written to, instead of failing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_streams() -> None:
    """Make the standard streams safe to use.

    A closed one would get its number reused by the next opened file, which would then receive the
    messages. Standard error that cannot be written to (a closed pipe, a full disk) must not end a
    run."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # os.open returns the lowest free number, which is this one. Writing an answer to a
            # closed standard output is an error, as on a full disk: hence /dev/full.
            full = name == "stdout" and os.path.exists("/dev/full")
            os.open("/dev/full" if full else os.devnull, os.O_RDWR)
        if getattr(sys, name) is None and name != "stdin":
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names may not be valid text
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast("TextIO", _Tolerant(sys.stderr))


@contextmanager
def stdout_for_the_answer() -> Iterator[None]:
    """Redirect what the user's code prints to standard error, so that standard output has only the
    answer and a program can read it."""
    stdout_copy = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout_copy, 1)
        os.close(stdout_copy)


class OutputClosed(Exception):
    """The reader of the output has closed it, as in 'steep ... | head'."""


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn errors that a user can fix into a message and exit code 2 (3 for 'no answer')."""
    silent = signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # __main__ set this during imports
    try:
        try:
            if silent:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            yield
        finally:
            if silent:  # no traceback for a Ctrl-C while Python shuts down
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.stdout.flush()  # here, where an error can still be reported
    except KeyboardInterrupt:  # raised outside of a run, which handles it
        sys.exit(130)
    except (BrokenPipeError, OutputClosed):
        _close_stdout()
        sys.exit(0)
    except Exception as error:
        message = for_the_user(error)
        if message is None:
            raise
        print(f"steep: {message}", file=sys.stderr)
        _close_stdout()
        if not any(kind.__name__ == "NoAnswer" for kind in type(error).__mro__):
            sys.exit(BAD_INPUT)
        if _json_asked.get():
            print_json({"outcome": "no answer", "reason": message})
        sys.exit(NO_ANSWER)


def _close_stdout() -> None:
    """Send Python's final flush to the null device if standard output cannot be written to."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def for_the_user(error: Exception) -> str | None:
    """The message of an error for the user; None for a bug in steep.

    User errors are recognised by the name of their class, which avoids importing their modules."""
    if any(kind.__name__ in _USER_ERRORS for kind in type(error).__mro__):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return "the folder that this command was started in is gone: change to one that exists"
    if isinstance(error, OSError) and error.errno in _OF_OUTPUT:
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"this takes more memory than there is: {error or 'out of memory'}"
    if isinstance(error, ModuleNotFoundError):
        return sentence(error)
    return None


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


_OF_OUTPUT = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
_USER_ERRORS = {
    "SpecError",
    "DataError",
    "ShardsError",
    "StoreError",
    "TableError",
    "OwnCodeError",
    "PluginError",
    "QuestionError",
    "ExecutorError",
    "MissingExtra",
    "SourceError",
    "BudgetError",
}
