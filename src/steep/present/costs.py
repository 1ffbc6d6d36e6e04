"""What a target takes and what compute buys, in sentences and tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from steep.present import numbers
from steep.present.numbers import Scale
from steep.present.sentences import UNTOLD, untold_phrase
from steep.present.table import LEFT, RIGHT, Table
from steep.records import (
    ALREADY_REACHED,
    NOT_REACHABLE,
    Claim,
    CostAnswer,
    CostReport,
    FirstOrder,
    Interval,
    Limit,
    Machine,
    Projection,
    Purchase,
)

TOO_LARGE = "does not fit in memory"
OWN = "here"
"""The name of a study's own machine, of which only what it reached is known."""


def cost_lines(answer: CostAnswer) -> list[str]:
    """What ``steep cost`` prints: what is only guessed, the answer, what is assumed or not known,
    then the tables."""
    how = cost_scale(answer)
    lines = [guess_sentence(answer.guesses)] if answer.guesses else []
    lines += [projection_sentence(p, answer, how) for p in answer.projections]
    lines += [*answer.notes, *(f"Assumed: {text}" for text in answer.assumptions)]
    lines += [text for text in (time_sentence(answer), missing_sentence(answer)) if text]
    tables = [
        projection_table(answer, how) if answer.projections else None,
        purchase_table(answer.purchases, answer.unit, how) if answer.purchases else None,
    ]
    for table in tables:
        if table is not None:
            lines += ["", *table.text().splitlines(), *([table.note] if table.note else [])]
    if answer.limit is not None:
        lines += ["", limit_sentence(answer.limit, answer.unit)]
    if answer.first_order:
        table = first_order_table(answer.first_order)
        lines += ["", *table.text().splitlines(), table.note]
    return lines


def guess_sentence(guesses: Sequence[str]) -> str:
    """What stands for what nobody measured."""
    return f"Assumed, not measured: {'; '.join(guesses)}."


def time_sentence(answer: CostAnswer) -> str:
    """What the time rests on, where that is a study's own trials."""
    times = answer.times
    if times is None:
        return ""
    exponents = [statistics.median(draw[i] for draw in times.draws) for i in (1, 2)]
    grows = f"data^{numbers.number(exponents[0], 2)}"
    if any(draw[2] for draw in times.draws):
        grows += f" parameters^{numbers.number(exponents[1], 2)}"
    return (
        f"Time: one run on this study's machine, extrapolated from its {times.trials} trials on up "
        f"to {numbers.exact(times.largest)} {answer.unit} (it grows as {grows})."
    )


def missing_sentence(answer: CostAnswer) -> str:
    """What cannot be estimated without a measurement, and which option adds it."""
    known = [p for p in answer.projections if p.samples is not None and p.outcome not in UNTOLD]
    if answer.machine is not None or not known:
        return ""
    if all(p.parameters is None for p in known):
        what = "Model size and compute" if answer.times else "Model size, compute and time"
        return (
            f"{what} are not estimated: the models' parameter counts are unknown "
            "(--parameters names their column; a training function returns them)."
        )
    compute = any(p.flops is not None for p in known)
    if answer.times is not None:
        return "" if compute else "Compute is not estimated: no FLOPs were reported."
    if compute:
        return "Time is not estimated: --machine NAME adds it (cpu: here; h100, a100, ...)."
    return (
        "Compute and time are not estimated: neither was measured. --flops-per-parameter and "
        "--epochs add the compute, --machine NAME the time (cpu: this computer; h100, a100, ...)."
    )


def cost_scale(answer: CostAnswer) -> Scale:
    known = [p.target for p in answer.projections]
    known += [] if answer.highest is None else [answer.highest]
    known += [p.error.value for p in answer.purchases if p.error.value is not None]
    return numbers.scale(answer.metric, max(known, default=None))


# ---------------------------------------------------------------- a target


def projection_sentence(found: Projection, answer: CostAnswer, how: Scale) -> str:
    """ "To reach 5 % you need ..." or why nobody can."""
    goal = numbers.target(found.target, how)
    if found.outcome in UNTOLD and found.samples is not None:
        text = untold_phrase(goal, found.outcome, found.samples, found.unreachable, answer.unit)
        if found.outcome == NOT_REACHABLE:
            chance = numbers.share(1 - found.unreachable)
            text += f" (probability that more data gets there: {chance})"
        return f"{text}."
    needed = f"{numbers.counts(found.samples, found.smallest)} {answer.unit}"
    if found.factor is not None:
        needed += f" ({numbers.factor(found.factor)} the data)"
    if found.parameters is not None:
        needed += f", a model of {numbers.counts(found.parameters)} parameters"
    if found.flops is not None:
        needed = " and ".join([needed, numbers.operations(found.flops)])
    took = numbers.ends(found.seconds, numbers.duration)
    reached = found.outcome == ALREADY_REACHED and _all_at_hand(found)
    start = f"{goal} is reached with" if reached else f"To reach {goal} you need"
    if found.outcome == TOO_LARGE and answer.machine is not None:
        has = numbers.memory(answer.machine.memory)
        return (
            f"{start} {needed}. The model does not fit: {numbers.memories(found.memory)} on each "
            f"device, which has {has}. Split over enough of them without overhead, it would "
            f"take {took} on {site(answer)}."
        )
    if found.seconds is None:
        return f"{start} {needed}."
    return f"{start} {needed}: {took} on {site(answer)}."


def _all_at_hand(found: Projection) -> bool:
    """Whether the whole interval of the data that a target needs lies within what is at hand."""
    needed = found.samples
    if needed is None or needed.value is None or needed.upper is None or not found.factor:
        return False
    return needed.upper * found.factor <= needed.value * (1 + 1e-9)


def site(answer: CostAnswer) -> str:
    """The machines of an answer: 8 x NVIDIA H100."""
    if answer.machine is None:
        return "this study's machine"
    one = answer.machine.title
    return one if answer.devices == 1 else f"{answer.devices:,} x {one}"


TIME_IS = {
    "compute": "arithmetic",
    "bandwidth": "memory traffic",
    "link": "the link between devices",
    "launches": "launching operations",
}
"""What sets the time of a step, in words that are not those of data, compute or a floor."""


def projection_table(answer: CostAnswer, how: Scale, title: str = "") -> Table:
    """One row a target."""
    known = [p for p in answer.projections if p.outcome not in UNTOLD]

    def any_has(field: str) -> bool:
        return any(getattr(p, field) is not None for p in known)

    roofline = answer.machine is not None and answer.machine.name != OWN
    # (column, whether anything is known of it, its cell)
    parts: list[tuple[str, bool, Callable[[Projection], str]]] = [
        (answer.unit, True, lambda p: numbers.counts(p.samples, p.smallest)),
        ("parameters", any_has("parameters"), lambda p: numbers.counts(p.parameters)),
        ("compute", any_has("flops"), lambda p: numbers.operations(p.flops)),
        ("memory", any_has("memory"), lambda p: numbers.memories(p.memory)),
        ("time", any_has("seconds"), lambda p: numbers.ends(p.seconds, numbers.duration)),
        ("energy", any_has("joules"), lambda p: numbers.energies(p.joules)),
        ("price", answer.price is not None, lambda p: numbers.counts(p.price)),
        ("its time is", roofline, _time_is),
        ("of the peak", roofline, lambda p: _share(p.utilisation or 0.0)),
    ]
    shown = [part for part in parts if part[1]]
    rows = []
    for p in answer.projections:
        cells = [cell(p) for _, _, cell in shown]
        if p.outcome in UNTOLD:
            cells = [p.outcome] + [numbers.UNKNOWN] * (len(shown) - 1)
        rows.append((numbers.target(p.target, how), *cells))
    align = (LEFT, *(RIGHT for _ in shown))
    names = ("to reach", *(name for name, _, _ in shown))
    return Table(title, names, tuple(rows), align, _site_note(answer))


def _time_is(found: Projection) -> str:
    if found.outcome == TOO_LARGE:
        return "memory: does not fit"
    return TIME_IS.get(found.bound, found.bound)


def elsewhere_table(found: CostReport, how: Scale) -> Table:
    """The time of each target on one device of other kinds."""
    goals = [p.target for p in found.answer.projections]
    columns = ("one of", *(f"to reach {numbers.target(g, how)}" for g in goals), "at")
    rows: dict[tuple[str, ...], list[Machine]] = {}
    for a in found.elsewhere:
        if a.machine is not None:
            rows.setdefault(tuple(_elsewhere(p) for p in a.projections), []).append(a.machine)
    launching = {p.bound for a in found.elsewhere for p in a.projections if p.bound} == {"launches"}
    text = tuple(
        (" or ".join(m.title for m in machines), *cells, "; ".join(map(_rate, machines)))
        for cells, machines in rows.items()
    )
    align = (LEFT, *(RIGHT for _ in goals), LEFT)
    note = (
        "Roofline estimates with this study's batch size and operations launched one by one: small "
        "models on small batches do not keep an accelerator busy."
    )
    if launching:
        note += (
            " Here launching operations limits all of them: larger batches would help, a faster "
            "accelerator would not."
        )
    return Table("On other machines", columns, text, align, note)


def _rate(machine: Machine) -> str:
    rate = f"{numbers.flops(machine.flops)}/s ({machine.precision})"
    return f"{_share(machine.flops_share)} of {rate}"


def _elsewhere(found: Projection) -> str:
    if found.outcome in UNTOLD:
        return found.outcome.removesuffix(" with this model family")
    if found.outcome == TOO_LARGE:
        return f"does not fit ({numbers.memories(found.memory)})"
    return numbers.ends(found.seconds, numbers.duration)


def _site_note(answer: CostAnswer) -> str:
    ends = [v for p in answer.projections if p.samples for v in (p.samples.lower, p.samples.upper)]
    brackets = f"Brackets: {numbers.level(answer.level)} intervals."
    measured = brackets if any(v is not None for v in ends) else ""
    m = answer.machine
    if m is None:
        return measured
    note = f"One training run on {site(answer)} ({m.precision}: {_rates(m)})"
    if m.source.startswith("measured") or m.name == OWN:
        note += f", {m.source}"
    if answer.batch is not None:
        note += f"; {numbers.count(answer.batch)} {answer.unit} a step"
    return f"{note}. {measured}".strip()


def _rates(m: Machine) -> str:
    shares = f"{_share(m.flops_share)} of {numbers.flops(m.flops)}/s"
    if m.bandwidth is not None:
        shares += f", {_share(m.bandwidth_share)} of {numbers.memory(m.bandwidth)}/s"
    return shares


def _share(value: float) -> str:
    return numbers.share(value) if value >= 0.005 else f"{numbers.number(100 * value, 2)} %"


# ---------------------------------------------------------------- what compute buys


def purchase_table(purchases: Sequence[Purchase], unit: str, how: Scale, title: str = "") -> Table:
    """Multiples of today's compute, split best; or: what a speed-up is worth."""
    columns = ("compute", unit, "parameters", how.label or "error", "error times", "break-even")
    rows = tuple(
        (
            numbers.factor(p.factor),
            numbers.counts(p.samples),
            numbers.counts(p.parameters),
            numbers.interval(p.error, how),
            numbers.interval(p.ratio),
            numbers.interval(p.loss, numbers.PERCENT),
        )
        for p in purchases
    )
    note = (
        "Times the compute of today's best run, split between data and model as in its best fits. "
        "Break-even: how much a speed-up of this factor may raise "
        "the error before it stops paying off."
    )
    return Table(title, columns, rows, (RIGHT,) * 6, note)


def trade_sentence(found: Purchase, loss: float) -> str:
    """Whether a faster but less accurate method is worth it."""
    times, cost = numbers.factor(found.factor), numbers.target(loss, numbers.PERCENT)
    even = numbers.interval(found.loss, numbers.PERCENT)
    low, high, value = found.loss.lower, found.loss.upper, found.loss.value or 0.0
    if (low if low is not None else value) > loss:
        verdict = "worth it"
    elif (high if high is not None else value) < loss:
        verdict = "not worth it"
    else:
        verdict = "too close to call"
    return f"{times} as fast at {cost} more error is {verdict}: it breaks even at {even}."


def limit_sentence(found: Limit, unit: str) -> str:
    """Whether data, compute or a floor holds the error."""
    data = f"{numbers.count(found.samples)} {unit}"
    run = f"one best-fit run on {data} takes {numbers.operations(found.flops)}"
    slope, steep = numbers.interval(found.slope), numbers.interval(found.steepest)
    if found.word == "floor":
        return (
            f"Floor-limited: the slope is {slope} here, less than half of the steepest ({steep}): "
            "more data and compute buy little."
        )
    if found.word == "compute":
        have = numbers.flops(found.budget)
        return f"Compute-limited: {run}, more than the {have} at hand."
    more = f"more data{', with a model to match,' if found.grows else ''} lowers the error"
    if found.flops is None:
        return f"Data-limited: at {data} the curve still falls (slope {slope}): {more}."
    text = "" if found.budget is None else f", within the {numbers.flops(found.budget)} at hand"
    return f"Data-limited: {run}{text}, and the curve still falls (slope {slope}): {more}."


# ---------------------------------------------------------------- constants


def first_order_table(found: Sequence[FirstOrder], title: str = "") -> Table:
    """gamma, lambda, mu and delta, each with the range it was taken from."""
    columns = ("models", "gamma", "lambda", "mu", "delta", "FLOPs ~ p^")
    rows = tuple(
        (
            f"{numbers.count(f.smallest)} to {numbers.count(f.largest)}",
            *(_constant(v) for v in (f.gamma, f.lambda_, f.mu, f.delta)),
            numbers.number(f.exponent),
        )
        for f in found
    )
    note = (
        f"First-order models per sample of {numbers.number(found[0].units)} units: FLOPs gamma p, "
        "bytes lambda p + mu b sqrt(p) a step of b samples, memory delta p bytes; in brackets the "
        "range over the models counted."
    )
    return Table(title, columns, rows, (LEFT,) + (RIGHT,) * 5, note)


def _constant(found: Interval) -> str:
    low, value, high = (numbers.number(v) for v in (found.lower, found.value, found.upper))
    return value if low == high else f"{value} [{low}, {high}]"


# ---------------------------------------------------------------- the follow-up


def claim_table(claims: Sequence[Claim], table: int) -> Table:
    """One of the follow-up's tables: printed and computed, a star where they differ."""
    rows = []
    last = ""
    for c in claims:
        if c.table == table:
            domain, last = ("" if c.domain == last else c.domain), c.domain
            rows.append((domain, c.what, _figure(c.printed), _figure(c.computed), _star(c)))
    columns = ("domain", "figure", "printed", "computed", "")
    return Table("", columns, tuple(rows), (LEFT, LEFT, RIGHT, RIGHT, LEFT))


def _star(claim: Claim) -> str:
    return "" if claim.agrees else "*"


def _figure(value: float) -> str:
    """A figure of the paper to four digits, large ones with a suffix (1.234M)."""
    return numbers.count(value, 4) if value >= 1e5 else numbers.short(value, 4)


PAPER_TITLES = {
    1: "Table 1: learning curves and model sizes",
    2: "Table 2: a training step, asymptotically; the printed constants against each other, and "
    "against steep's own counts of its own families",
    3: "Table 3: at the target error",
}


def paper_lines(claims: Sequence[Claim], answers: Sequence[CostAnswer]) -> list[str]:
    """What ``steep cost --paper`` prints."""
    wrong = sum(not c.agrees for c in claims)
    lines = [
        f"Hestness, Ardalani, Diamos, PPoPP 2019: {len(claims)} figures of Tables 1 to 3, printed "
        f"and computed from the paper's own constants; {wrong} differ by more than rounding.",
    ]
    for number, title in PAPER_TITLES.items():
        lines += ["", title, *claim_table(claims, number).text().splitlines()]
        lines += [
            f"  * {c.domain}, {c.what}: {c.remark}."
            for c in claims
            if c.table == number and not c.agrees
        ]
    lines += ["", "The five targets, from the printed laws (Table 1) and constants (Table 2):"]
    lines += [
        f"  {a.name}: {projection_sentence(p, a, cost_scale(a))}"
        for a in answers
        for p in a.projections
    ]
    return lines
