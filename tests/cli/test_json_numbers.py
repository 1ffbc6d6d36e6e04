"""Every number that a question prints about a study is in its JSON, with the same value and unit.

Numbers of the text are read back with their units (12.2 %, 26k, 3.4 TFLOPs [3.4, 19], 4 min 41 s)
and looked up among the JSON's numbers, to half a digit of what is printed. Prose that JSON holds as
it is printed (notes, evidence) is left out; the sentences of a comparison are not: who reads JSON
needs their numbers as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steep.cli.app import app

RESULTS = Path(__file__).parents[2] / "studies" / "results"
LETTERS = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
TIME = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?) (d|h|min|s)\b(?: (\d+) (h|min|s)\b)?")
NUMBER = re.compile(
    r"(?<![\w.,-])(?P<value>-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)(?P<letter>[kMBT])?"
    r"(?:x\b)?(?: (?:(?P<percent>%)|(?P<prefix>[KMGTPE]?)(?:FLOPs|B)\b))?"
)
PROSE = {"notes", "evidence", "where", "next_step", "reason", "supports", "caveat", "assumptions",
         "warnings", "title", "source", "kind", "text", "beta_g_reason", "name", "curve", "first",
         "second", "study", "names", "law", "metric"}  # fmt: skip


def numbers_of(value: Any) -> Iterator[float]:
    """All numbers of a JSON value, and how long its lists are."""
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers_of(each)
    elif isinstance(value, list):
        yield float(len(value))
        for each in value:
            yield from numbers_of(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def prose_of(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from prose_of(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from prose_of(each, key)
    elif isinstance(value, str) and key in PROSE:
        yield value


def half_a_digit(text: str) -> float:
    """Half a unit of the last digit shown; zeros at the end of a whole number may be none."""
    mantissa, _, exponent = text.replace(",", "").partition("e")
    if "." in mantissa:
        unit = 10.0 ** -len(mantissa.partition(".")[2])
    else:
        unit = 10.0 ** (len(mantissa) - len(mantissa.rstrip("0"))) if float(mantissa) else 1.0
    return 0.505 * unit * 10.0 ** int(exponent or 0)


def printed(line: str) -> Iterator[tuple[str, float, float]]:
    """(as printed, value in plain units, half a digit) of each number of a line."""
    for found in TIME.finditer(line):
        value = float(found[1].replace(",", "")) * SECONDS[found[2]]
        last, unit = found[1], SECONDS[found[2]]
        if found[3]:
            value, last, unit = value + float(found[3]) * SECONDS[found[4]], "1", SECONDS[found[4]]
        yield found[0], value, half_a_digit(last) * unit
    line = TIME.sub("", line)
    unit = 1.0
    inside = 0
    for found in re.finditer(rf"\[|\]|{NUMBER.pattern}", line):
        if found[0] in "[]":
            inside = 1 if found[0] == "[" else 0
            continue
        own = 1.0
        if found["percent"]:
            own = 0.01
        elif found["prefix"] is not None:
            own = PREFIXES[found["prefix"]]
        if not inside:
            unit = own
        scale = (unit if inside else own) * LETTERS.get(found["letter"] or "", 1.0)
        value = float(found["value"].replace(",", "")) * scale
        yield found[0].strip(), value, half_a_digit(found["value"]) * scale


def asked(*question: str) -> tuple[str, Any]:
    text, plain = (CliRunner().invoke(app, [*question, *more]) for more in ((), ("--json",)))
    return text.stdout, json.loads(plain.stdout)


def missing(text: str, plain: Any) -> list[tuple[str, str]]:
    """The numbers of a text that its JSON lacks, with their lines."""
    known = sorted({abs(v) for v in numbers_of(plain)})
    for prose in sorted(set(prose_of(plain)), key=len, reverse=True):
        if len(prose) > 3:
            text = text.replace(prose, "").replace(prose.rstrip("."), "")
    return [
        (shown, line)
        for line in text.splitlines()
        for shown, value, half in printed(line)
        if not any(abs(abs(value) - v) <= half + 1e-9 * v for v in known)
    ]


RATE, LOSS = "images-grid", "characters-sgd"
QUESTIONS = ["fit", "forecast --at 10x --target 0.9", "cost", "status", "diagnose"]
PAIRS = [("fashion-demo", "images-grid"), ("words-lstm2", "words-rhn5")]


@pytest.mark.parametrize("study", [RATE, LOSS])
@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_question_prints_is_in_its_json(question: str, study: str) -> None:
    command, *options = question.split()
    assert missing(*asked(command, str(RESULTS / study), *options)) == []


@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_comparison_prints_is_in_its_json(pair: tuple[str, str]) -> None:
    assert missing(*asked("compare", *(str(RESULTS / name) for name in pair))) == []


def test_units_and_digits_are_read_back() -> None:
    line = "8.5 % [7.0, 10.1], 26k, 3.4 TFLOPs [0.21, 31], 1.9 MB, 4 min 41 s, 1 h 25 min, 2.5x"
    values = [value for _, value, _ in printed(line)]
    wanted = [281, 5100, 0.085, 0.07, 0.101, 26_000, 3.4e12, 0.21e12, 31e12, 1.9e6, 2.5]
    assert values == pytest.approx(wanted)
    assert missing("12.2 % of 4,000 images", {"error": 0.1219, "n": 4000}) == []
    assert missing("12.2 %", {"error": 0.123}) == missing("12.2 %", {"error": 12.2}) != []
