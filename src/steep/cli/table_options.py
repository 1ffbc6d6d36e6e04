"""The options for reading a table, which several subcommands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, TypeAlias

import typer

Columns: TypeAlias = Mapping[str, Any]
"""Fields of ``answers.Source`` by name."""
Level = Annotated[float, typer.Option(help="Level of the intervals.", min=0.01, max=0.999)]

_HOW: dict[str, Any] = {
    "x": Annotated[str | None, typer.Option("--x", help="Column of training-set sizes.")],
    "y": Annotated[
        list[str] | None, typer.Option("--y", help="Column of errors; repeat it for a curve each.")
    ],
    "by": Annotated[
        list[str] | None,
        typer.Option("--by", help="Column that separates the curves; repeat it, or A,B."),
    ],
    "se": Annotated[str | None, typer.Option(help="Column of standard errors.")],
    "sd": Annotated[str | None, typer.Option(help="Column of standard deviations; with --runs.")],
    "runs": Annotated[
        str | None, typer.Option(help="Of --sd: over how many runs, a number or a column.")
    ],
    "ci": Annotated[str | None, typer.Option(help="Two columns of confidence bounds: LOW,HIGH.")],
    "x_scale": Annotated[
        str | None,
        typer.Option(
            "--x-scale", help="Of sizes: log10, ln, log2, k, M, B, percent, share or plain."
        ),
    ],
    "y_scale": Annotated[
        str | None, typer.Option("--y-scale", help="Of errors: log10, ln, log2, percent or plain.")
    ],
    "parameters": Annotated[str | None, typer.Option(help="Column of model sizes.")],
    "unique": Annotated[
        str | None,
        typer.Option(help="Column of distinct samples, of runs that saw some repeatedly."),
    ],
    "higher_is_better": Annotated[
        bool,
        typer.Option(
            "--higher-is-better",
            help="The column is an accuracy or score; answers and targets are too.",
        ),
    ],
    "all_rows": Annotated[
        bool,
        typer.Option(
            "--all-rows",
            help="Treat all rows as replicate runs of one curve, whatever columns differ.",
        ),
    ],
    "validation_items": Annotated[
        int | None,
        typer.Option(
            "--validation-items", help="Validation examples behind each error; 0 counts as 0.5/N."
        ),
    ],
    "best_guess": Annotated[
        str | None,
        typer.Option(
            "--best-guess",
            help="What a constant guess has, 0.9 or 90%: sizes no better are set aside.",
        ),
    ],
    "robust": Annotated[
        bool, typer.Option("--robust", help="Down-weight points far off the trend, and list them.")
    ],
}
_NUMBERS = ("x", "x_scale", "y", "y_scale", "by")
CURVES = (*_NUMBERS, "se", "sd", "runs", "ci", "higher_is_better", "all_rows", "validation_items")
"""The options of all subcommands about learning curves."""
FITS = (*CURVES, "parameters", "best_guess")
"""The options of those that fit single curves."""
JOINT = (*_NUMBERS, "parameters", "unique", "higher_is_better", "all_rows", "validation_items")
"""The options of those about runs of all sizes."""


def reads(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a subcommand: the options called ``names`` are passed to it in ``columns``.

    All of its parameters must be keyword-only."""

    def decorated(question: Callable[..., None]) -> Callable[..., None]:
        @wraps(question)
        def command(**given: Any) -> None:
            columns = {name: given.pop(name) for name in names}
            several = {n: tuple(v) for n, v in columns.items() if isinstance(v, list)}
            question(columns=columns | several, **given)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(question, eval_str=True).parameters.values():
            # typer sees the table options themselves in place of ``columns``
            parameters += map(_option, names) if parameter.name == "columns" else [parameter]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorated


def _option(name: str) -> inspect.Parameter:
    """The parameter of a command that typer turns into this table option."""
    annotation = _HOW[name]
    default = False if annotation.__origin__ is bool else None
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
