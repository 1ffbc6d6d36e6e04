"""``steep joint`` and what it asks of a table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steep.cli.table_options import JOINT, Columns, Level, reads
from steep.cli.terminal import Json, answered, fail, print_json, title

if TYPE_CHECKING:
    from steep.analysis.asked import Goal
    from steep.records import (
        Allocation,
        Backtest,
        ForUse,
        Frontier,
        Interval,
        JointFit,
        RequiredSamples,
    )


@dataclass(frozen=True)
class JointAnswer:
    """One table's fit and its answers."""

    name: str
    fit: JointFit
    at: Any = None
    """A DataFrame of forecasts."""
    frontier: tuple[Frontier, ...] = ()
    exponents: tuple[Interval, ...] = ()
    """a of N ~ C^a and beta_p of N ~ D^beta_p."""
    allocations: tuple[Allocation, ...] = ()
    disagreement: str = ""
    use: ForUse | None = None
    needed: tuple[tuple[float, RequiredSamples], ...] = ()
    backtest: Backtest | None = None
    refused: str = ""
    """Why there is no frontier."""


def answer(
    name: str,
    fit: JointFit,
    at: Sequence[tuple[float, ...]] = (),
    flops: Sequence[float] = (),
    goal: Goal | None = None,
    serve: float | None = None,
    tested: bool = False,
    no_split: str = "",
) -> JointAnswer:
    """A joint fit's answers: forecasts ``at`` given sizes, and the best split of compute at
    ``flops`` (by default 1x, 10x and 100x the largest compute of the runs).

    ``no_split``: why no split of compute is computed. Raises ValueError for sizes at which nothing
    is known."""
    from steep.questions.allocation import allocations, disagreement
    from steep.questions.joint import backtest_joint
    from steep.questions.surface import (
        best_for_use,
        frontier_exponents,
        samples_for,
        split_refused,
    )

    result = JointAnswer(name, fit, refused=no_split or split_refused(fit))
    errors = [r.error for r in fit.rows]
    target = None if goal is None else goal.of(fit.metric, max(errors, default=0.0))
    if fit.draws and at:
        unique = [p[2] for p in at if len(p) == 3]
        if unique and len(unique) < len(at):
            raise ValueError("give the unique samples at every place or at none")
        result = replace(
            result, at=fit.predict([p[0] for p in at], [p[1] for p in at], unique or None)
        )
    if fit.draws and tested:
        result = replace(result, backtest=backtest_joint(fit))
    if result.refused:
        return result
    largest = max(r.parameters * r.samples for r in fit.rows) * fit.flops_per_parameter_sample
    computes = list(flops) or [largest * times for times in (1.0, 10.0, 100.0)]
    ways = allocations(fit, computes)
    sizes = sorted({p[0] for p in at}) or [fit.frontier(largest)[0].parameters.value or 1.0]
    return replace(
        result,
        frontier=fit.frontier(computes),
        exponents=frontier_exponents(fit),
        allocations=ways if any(a.outcome == "ok" for a in ways[1:]) else (),
        disagreement=disagreement(ways),
        use=best_for_use(fit, target, serve) if target and serve is not None else None,
        needed=() if target is None else tuple((n, samples_for(fit, target, n)) for n in sizes),
    )


@reads(*JOINT)
def joint(
    *,
    source: Annotated[str, typer.Argument(help="A CSV/JSON/Parquet file of runs, or -.")],
    law: Annotated[
        list[str] | None,
        typer.Option(
            help="chinchilla, kaplan, rosenfeld, interacting or repeated; repeat. Default: all "
            "that apply, weighed."
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Forecast here: PARAMETERS,SAMPLES such as 7e9,4e12; repeat."),
    ] = None,
    flops: Annotated[
        list[float] | None, typer.Option(help="Compute at which to give the best model; repeat.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="An error to reach: the samples it takes at each size.")
    ] = None,
    serve: Annotated[
        float | None,
        typer.Option(help="With --target: samples served later, counted in the best size."),
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="Hold a parameter: alpha=0.34; repeat.")
    ] = None,
    tie: Annotated[
        list[str] | None, typer.Option(help="Make two parameters equal: alpha=beta; repeat.")
    ] = None,
    floor: Annotated[float | None, typer.Option(help="The floor E, where it is known.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Column that names the run of each row (checkpoints).")
    ] = None,
    compute: Annotated[
        str | None, typer.Option(help="Column of training FLOPs, where samples are not given.")
    ] = None,
    flops_per_parameter_sample: Annotated[
        float, typer.Option(help="k of C = k N D.", min=0.01)
    ] = 6.0,
    backtest: Annotated[
        bool,
        typer.Option("--backtest", help="Hold out the runs of most compute and forecast them."),
    ] = False,
    columns: Columns,
    level: Level = 0.9,
    draws: Annotated[
        bool, typer.Option("--draws", help="With --json: draws and rows too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Error against data and model size together: the law, forecasts, the best split of compute."""
    from steep.analysis.asked import goal_of
    from steep.base.spelling import no_such
    from steep.cli.answers import Source, joint_fits_of
    from steep.laws.surfaces import SURFACES
    from steep.spec.load import QuestionError

    if draws and not as_json:
        fail("--draws belongs to --json: they are thousands of numbers")
    for name in law or ():
        if name not in SURFACES:
            fail(no_such("joint law", name, SURFACES))
    fixed = dict(map(_held, fix or []))
    if floor is not None:
        fixed["E"] = floor
    goal = None if target is None else goal_of(target)
    if serve is not None and goal is None:
        fail("--serve belongs to --target: the error that is to be reached")
    options = {
        "law": law or None, "fixed": fixed, "tied": [_pair(t) for t in tie or []], "run": run,
        "level": level, "flops_per_parameter_sample": flops_per_parameter_sample,
    }  # fmt: skip
    places = [_place(text) for text in at or []]
    no_split = ""
    if Source(source).is_study:
        no_split = (
            f"runs of a study pass over their data as often as helps: ask steep cost {source}"
        )
        if flops or serve is not None:
            fail(f"--flops and --serve: what compute buys is answered by 'steep cost {source}'")
    try:
        fits = joint_fits_of(source, columns, compute, options)
        answers = [
            answer(name, fit, places, flops or [], goal, serve, backtest, no_split)
            for name, fit in fits
        ]
    except ValueError as error:
        if isinstance(error, QuestionError) or type(error) is not ValueError:
            raise
        raise QuestionError(str(error)) from None
    if as_json:
        print_json([_plain(a, draws) for a in answers])
    for one in () if as_json else answers:
        title(one.name, len(answers))
        for line in lines(one):
            typer.echo(line)
    answered(one.fit.outcome in ("ok", "misfit") and bool(one.fit.draws) for one in answers)


def lines(one: JointAnswer) -> list[str]:
    """An answer in words: forecasts first, then the fit, its laws and the split of compute."""
    from steep.present import joint as words

    texts = [] if one.at is None else words.at_lines(one.fit, one.at)
    texts += words.fit_lines(one.fit)
    texts += words.law_lines(one.fit)
    if one.refused and one.fit.draws:
        texts.append(f"No best split of compute follows: {one.refused}.")
    texts += words.frontier_lines(one.fit, one.frontier, one.exponents)
    texts += words.allocation_lines(one.allocations, one.disagreement)
    texts += [words.needed_line(one.fit, s, n) for n, s in one.needed]
    texts += [] if one.use is None else words.use_lines(one.fit, one.use)
    texts += [] if one.backtest is None else [one.backtest.sentence]
    return [*texts, *one.fit.notes]


def _plain(one: JointAnswer, draws: bool) -> dict[str, Any]:
    """An answer as plain values; the fit also has ``law`` and ``parameters`` of the first law."""
    fit = asdict(one.fit)
    if not draws:
        del fit["draws"], fit["rows"]
    fit |= {"law": one.fit.law, "off": one.fit.off}
    fit["parameters"] = {
        name: asdict(p) for name, p in zip(one.fit.names, one.fit.parameters, strict=True)
    }
    a, beta_p = (asdict(i) for i in one.exponents) if one.exponents else (None, None)
    return {
        "name": one.name,
        "fit": fit,
        "at": [] if one.at is None else one.at.to_dict("records"),
        "frontier": [asdict(f) for f in one.frontier],
        "a": a,
        "beta_p": beta_p,
        "no_frontier": one.refused,
        "allocations": [asdict(w) for w in one.allocations],
        "disagreement": one.disagreement,
        "use": None if one.use is None else asdict(one.use),
        "needed": [{"parameters": n} | asdict(s) for n, s in one.needed],
        "backtest": None if one.backtest is None else asdict(one.backtest),
    }


# ---------------------------------------------------------------- options as numbers


def _number(text: str, option: str) -> float:
    from steep.tables.amounts import Writing, number

    try:
        value, _ = number(text, Writing(size=True))
    except ValueError:
        value = None
    if value is None:
        fail(f"{option} {text!r}: write a number such as 7e9 or 7B")
    return value


def _place(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    if len(parts) not in (2, 3):
        fail(f"--at {text!r}: write PARAMETERS,SAMPLES (or PARAMETERS,SAMPLES,UNIQUE)")
    values = tuple(_number(part.strip(), "--at") for part in parts)
    if min(values) <= 0:
        fail(f"--at {text!r}: sizes must be positive")
    return values


def _held(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        fail(f"--fix {text!r}: write NAME=VALUE")
    return name.strip(), _number(value.strip(), "--fix")


def _pair(text: str) -> tuple[str, str]:
    first, equals, second = text.partition("=")
    if not equals:
        fail(f"--tie {text!r}: write NAME=NAME")
    return first.strip(), second.strip()
