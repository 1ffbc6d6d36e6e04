"""The subcommand ``steep cost``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from steep.cli.table_options import CURVES, Columns, Level, reads
from steep.cli.terminal import Json, duration, fail, print_json, title

Number = Annotated[float | None, typer.Option()]


@reads(*CURVES, "parameters")
def cost(
    *,
    source: Annotated[
        str | None, typer.Argument(help="A study folder or a table with model sizes.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="An error to reach: 0.05 or 5%; repeat.")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(help="cpu (this computer), v100, a100, h100, ...; else where a study ran."),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of devices, data-parallel.")] = 1,
    batch: Annotated[
        float | None, typer.Option(help="Units of data per step, over all devices.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, tf32 or bf16.")] = None,
    achieve: Annotated[float | None, typer.Option(help="Share of the peak FLOP rate.")] = None,
    price: Annotated[float | None, typer.Option(help="Price of a device-hour.", min=0.0)] = None,
    within: Annotated[str | None, typer.Option(help="Time a run may take, e.g. 7d.")] = None,
    flops: Annotated[float | None, typer.Option(help="FLOPs a run may take.", min=0.0)] = None,
    faster: Annotated[
        list[float] | None, typer.Option(help="Value of a speed-up by this factor; repeat.")
    ] = None,
    loss: Annotated[
        float | None, typer.Option(help="With --faster: relative rise of the error.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="A law by hand: error = alpha m^beta_g.")] = (
        None
    ),
    beta_g: Annotated[float | None, typer.Option(help="Its exponent, below 0.")] = None,
    floor: Annotated[float, typer.Option(help="Its irreducible error.")] = 0.0,
    sigma: Annotated[float | None, typer.Option(help="Best-fit parameters = sigma m^beta_p.")] = (
        None
    ),
    beta_p: Annotated[float | None, typer.Option(help="Their exponent.")] = None,
    flops_per_parameter: Annotated[
        float | None, typer.Option(help="Training FLOPs per parameter and unit; 6 if dense.")
    ] = None,
    have: Annotated[float | None, typer.Option(help="Data at hand, for a law by hand.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    unit: Annotated[str, typer.Option(help="Unit of the data.")] = "samples",
    metric: Annotated[str, typer.Option(help="Name of the error metric.")] = "error",
    paper: Annotated[
        bool, typer.Option("--paper", help="The five domains of Hestness et al. 2019, checked.")
    ] = False,
    columns: Columns,
    level: Level = 0.9,
    as_json: Json = False,
) -> None:
    """What a target error takes: data, model, compute, memory, time; and what compute buys."""
    from steep.cli.answers import Source
    from steep.cli.cost_answers import Law, Where, cost_of
    from steep.present.costs import cost_lines, trade_sentence

    if loss is not None and not faster:
        fail("--loss belongs to --faster: how many times as fast is what loses accuracy?")
    if any(not f > 0 for f in faster or ()) or (loss is not None and not loss >= 0):
        fail("--faster and --loss: positive numbers")
    where = Where(
        machine=machine,
        devices=devices,
        batch=batch,
        precision=precision,
        achieve=achieve,
        price=price,
        within=None if within is None else duration(within, "--within"),
        flops=flops,
        factors=faster or (),
    )
    if paper:
        _paper(where, as_json)
        return
    law = Law(
        alpha=alpha,
        beta_g=beta_g,
        floor=floor,
        sigma=sigma,
        beta_p=beta_p,
        flops_per_parameter=flops_per_parameter,
        data=have,
        epochs=epochs,
        unit=unit,
        metric=metric,
    )
    table = None if source is None else Source(source, **columns)
    answers = cost_of(table, law, target or [], where, level)
    if as_json:
        print_json([asdict(answer) for answer in answers])
        return
    for answer in answers:
        title(answer.name, len(answers))
        for line in cost_lines(answer):
            typer.echo(line)
        for bought in answer.purchases if loss is not None else ():
            typer.echo(trade_sentence(bought, loss or 0.0))


def _paper(where: object, as_json: bool) -> None:
    from steep.cli.cost_answers import follow_up_answers
    from steep.cost.follow_up import claims
    from steep.present.costs import paper_lines

    answers = follow_up_answers(where)  # type: ignore[arg-type]
    if as_json:
        plain = {"claims": [asdict(c) for c in claims()]}
        print_json(plain | {"answers": [asdict(a) for a in answers]})
        return
    for line in paper_lines(claims(), answers):
        typer.echo(line)
