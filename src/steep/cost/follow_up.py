"""The follow-up's tables, computed again: what follows from its own constants, beside what it
prints.

Hestness, Ardalani, Diamos: Beyond Human-Level Accuracy, PPoPP 2019 (arXiv:1909.01736) projects five
domains to target errors. Its constants and results are in ``data/follow_up.yaml``; everything here
is made from the constants alone, so that a result that does not follow from them shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steep import data
from steep.base.spelling import no_such
from steep.cost.first_order import scaling_by_hand, steps_by_hand
from steep.records import Claim, Scaling
from steep.spec.load import QuestionError

ROUNDING = 0.03
"""Relative difference that rounded constants explain."""
DAY = 86_400.0


def _data() -> Mapping[str, Any]:
    found: Mapping[str, Any] = data.values("follow_up.yaml")
    return found


def domains() -> list[str]:
    return list(_data()["domains"])


def domain_scaling(name: str) -> Scaling:
    """A domain's printed laws, at its present data and subbatch. Raises QuestionError."""
    if name not in domains():
        raise QuestionError(no_such("domain", name, domains()))
    known = _data()["domains"][name]
    first, second, third = (known[f"table_{i}"] for i in (1, 2, 3))
    return scaling_by_hand(
        first["alpha"],
        first["beta_g"],
        sigma=1e6 * first["sigma"],
        beta_p=first["beta_p"],
        steps=steps_by_hand(
            second["gamma"],
            units=known.get("unrolled", 1),
            lambda_=second["lambda"],
            mu=second["mu"],
            delta=second["delta"],
            batch=third["subbatch"],
        ),
        samples=first["samples"],
        name=known["title"],
        unit=known["unit"],
        metric=known["metric"],
    )


def target_of(name: str) -> float:
    """The error that the follow-up sets as a domain's target."""
    return float(_data()["domains"][name]["table_1"]["target"])


def claims() -> tuple[Claim, ...]:
    """Every figure of Tables 1 to 3 that follows from others, printed and computed."""
    return tuple(claim for name in domains() for claim in _claims(_data()["domains"][name]))


def _claims(known: Mapping[str, Any]) -> Iterator[Claim]:
    remarks = known.get("remarks", {})

    def claim(table: int, key: str, what: str, printed: float, computed: float) -> Claim:
        off = abs(computed / printed - 1)
        agrees = off <= ROUNDING or abs(computed - printed) <= _last_digit(printed)
        remark = remarks.get(key, "")
        return Claim(table, known["title"], what, printed, computed, agrees, remark)

    first, second, third = (known[f"table_{i}"] for i in (1, 2, 3))
    b, p = third["subbatch"], third["parameters"]
    factor = (first["now"] / first["target"]) ** (-1 / first["beta_g"])
    now = first["alpha"] * first["samples"] ** first["beta_g"]
    size = 1e6 * first["sigma"] * third["samples"] ** first["beta_p"]
    yield claim(1, "now", f"error now, {known['error']}", first["now"], now)
    yield claim(1, "data", "data, times", first["data"], factor)
    grown = first["data"] ** first["beta_p"]
    yield claim(1, "model", "parameters, times", first["model"], grown)
    x, y = second["lambda"] / second["gamma"], second["mu"] / second["gamma"]
    yield claim(2, "x", "FLOP/B: x", second["x"], x)
    yield claim(2, "y", "FLOP/B: y", second["y"], y)
    counted = known.get("counted", {})
    for key in ("gamma", "lambda", "mu", "delta"):
        if key in counted:
            yield claim(2, key, f"{key}, counted by steep", second[key], counted[key])
    flops, moved = second["gamma"] * b * p, second["lambda"] * p + second["mu"] * b * p**0.5
    seconds = 1e12 * third["tflop"] / _data()["achievable_flops"]
    yield claim(3, "samples", known["unit"], third["samples"], first["samples"] * factor)
    yield claim(3, "parameters", "parameters", p, size)
    yield claim(3, "tflop", "TFLOP a step", third["tflop"], flops / 1e12)
    yield claim(3, "tbyte", "TB a step", third["tbyte"], moved / 1e12)
    yield claim(3, "gbyte", "GB of memory", third["gbyte"], second["delta"] * p / 1e9)
    yield claim(3, "seconds", "seconds a step", third["seconds"], seconds)
    if "unrolled" in known:
        steps = third["samples"] / (b * known["unrolled"])
        days = steps * third["seconds"] / DAY
        yield claim(3, "days", "days an epoch", third["days"], days)


def _last_digit(printed: float) -> float:
    """Half a unit of the last digit of a figure, as it is printed."""
    mantissa, _, power = f"{printed:g}".partition("e")
    return float(0.5 * 10 ** (int(power or 0) - len(mantissa.partition(".")[2])))
