"""Numbers in common notations: '1,000', '1.000', '0,25', '1 000', '4K', '12 %'.

A comma or a point before three digits is either a decimal mark or a thousands separator. The other
numbers of the table show which. If they do not, a size is read as a whole number, and any other
number is refused. A column with both decimal marks is refused as well.

A cell may hold a mean and its spread: '71.2 ± 0.8', '71.2 (0.8)', '71.2 [70.4, 72.0]'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steep.tables.raw import Array

SUFFIXES = {
    "k": 1e3, "K": 1e3, "m": 1e6, "M": 1e6, "g": 1e9, "G": 1e9, "b": 1e9, "B": 1e9, "T": 1e12,
}  # fmt: skip
POINT, COMMA, BOTH = ".", ",", "both"
_EITHER = "either"
_BLANKS = re.compile(r"[-+]?\d{1,3}([ \u00a0\u2009\u202f'\u2019]\d{3})+([.,]\d*)?")
_FORMS = tuple(
    (re.compile(form), mark)
    for form, mark in (
        (r"[1-9]\d{0,2}[.,]\d{3}", _EITHER),
        (r"\d*\.\d*([eE][-+]?\d+)?", POINT),
        (r"\d*,\d+([eE][-+]?\d+)?", COMMA),
        (r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?", POINT),
        (r"[1-9]\d{0,2}(\.\d{3})+(,\d*)?", COMMA),
    )
)
"""Forms of numbers, and the decimal mark that each shows; the first that matches counts."""
_EMPTY = {"", "nan", "<na>", "na", "n/a", "none", "null", "nil", "inf", "-inf", "+inf", "infinity",
          *(dash * n for dash in "-\u2013\u2014\u2212" for n in (1, 2, 3)), "?", "...", "\u2026",
          "tbd", "tba"}  # fmt: skip
_WORDS = {
    "thousand": 1e3, "million": 1e6, "mio": 1e6, "mn": 1e6, "mil": 1e6, "billion": 1e9, "bn": 1e9,
    "mrd": 1e9, "trillion": 1e12,
}  # fmt: skip
_SPREAD = re.compile(
    r"(?P<value>[^±+(\[{}]*?[\d.%])\s*"
    r"(?:(?:±|\+/-|\+-|\\pm)\s*(?P<half>[^()\[\]]+)"
    r"|\(\s*(?:±|\+/-|\+-)?\s*(?P<inside>[\d.,]+(?:[eE][-+]?\d+)?)\s*\)"
    r"|[\[(]\s*(?P<low>[-+\d.]+)\s*(?:[,;]\s*|\s+to\s+|\s*[\u2013-]\s*)(?P<high>[-+\d.]+)\s*[\])])"
    r"\s*(?P<percent>%?)"
)
_MATH = str.maketrans({"$": None, "~": None, "≈": None, "−": "-", "*": None, "†": None, "‡": None})
"""Signs of formulas, roundings and footnotes around a number."""
Z95 = 1.959964
"""Half the width of a 95 % interval, in standard errors."""


class AmbiguousError(ValueError):
    """The text can be read as two different numbers, and nothing shows which is meant."""


@dataclass(frozen=True)
class Writing:
    """How the numbers of one column are written."""

    decimal: str = ""
    """The decimal mark that the table shows: a point, a comma, 'both', or '' if it shows none."""
    own: str = ""
    """The decimal mark that this column alone shows."""
    size: bool = False
    """The numbers are sizes: whole numbers, which may end in k, M, G, T."""
    european: bool = False
    """Semicolons separate the cells, as is common with decimal commas: 1.000 may be 1000."""


def decimal_mark(cells: Iterable[object]) -> str:
    """The decimal mark that these cells show, as in ``Writing.decimal``."""
    return together({_mark(_digits(cell)) for cell in cells if isinstance(cell, str)})


def together(shown: Iterable[str]) -> str:
    """The common decimal mark of several columns or cells, from the mark that each shows."""
    found_marks = {*shown} & {POINT, COMMA, BOTH}
    return BOTH if len(found_marks) > 1 else next(iter(found_marks), "")


def number(cell: Any, how: Writing) -> tuple[float | None, bool]:
    """(number or None for an empty cell, whether it has a percent sign). Raises ValueError for text
    that is not a number."""
    if isinstance(cell, (bool, np.bool_)):
        raise ValueError
    if cell is None or isinstance(cell, (int, float, np.number)):
        empty = cell is None or not math.isfinite(cell)
        return (None if empty else float(cell or 0.0)), False
    text = str(cell).translate(_MATH).strip()
    if text.lower() in _EMPTY:
        return None, False
    percent = text.endswith("%")
    text, times = text.rstrip("% "), 1.0
    if how.size:
        text, times = _without_suffix(text)
        if power := re.fullmatch(r"(?:([\d.]+)\s*[x×·]\s*)?(\d+)\s*\^\s*(\d{1,3})", text):
            return float(power[1] or 1) * float(power[2]) ** int(power[3]), False
        if parts := re.fullmatch(r"(\d+)\s*/\s*([1-9]\d*)", text):
            return int(parts[1]) / int(parts[2]), False
    value = _value(text, how) * times
    if not math.isfinite(value):
        raise ValueError
    return value, percent


def _without_suffix(text: str) -> tuple[str, float]:
    """'4K' and '4 thousand' as ('4', 1000)."""
    if text[-1:] in SUFFIXES:
        return text[:-1].rstrip(), SUFFIXES[text[-1]]
    if parts := re.fullmatch(r"(.*\d)\s*([A-Za-z]+)", text):
        times = _WORDS.get(parts[2].lower().removesuffix("s"))
        if times is not None:
            return parts[1], times
    return text, 1.0


def suffixed(cell: object) -> bool:
    """Whether a cell has a multiplier of its own, such as '4K'."""
    return isinstance(cell, str) and _without_suffix(cell.strip())[1] != 1.0


def with_spread(cell: object) -> tuple[str, str, bool] | None:
    """The texts of a cell's value and spread, and whether the spread is half of an interval whose
    ends were given; None for a cell with a single number."""
    if not isinstance(cell, str) or not any(mark in cell for mark in ("±", "+", "(", "[", "\\pm")):
        return None
    match = _SPREAD.fullmatch(cell.translate(_MATH).strip().replace("+/-", "±"))
    if match is None:
        return None
    percent = match["percent"] or ("%" if (match["half"] or "").rstrip().endswith("%") else "")
    value = match["value"].strip()
    value += percent if not value.endswith("%") else ""
    if match["low"] is not None:
        half = repr((float(match["high"]) - float(match["low"])) / 2)
        return value, half, True
    spread = (match["half"] or match["inside"]).strip()
    return value, spread.rstrip("% ") + ("%" if value.endswith("%") else ""), False


@dataclass(frozen=True)
class Numbers:
    """The cells of one column as numbers (rows,), NaN for empty or invalid ones."""

    values: Array
    percent: Array
    """Cells with a percent sign."""
    bad: Array
    """Rows whose cell is not a number."""
    unclear: Array
    """Rows whose cell could be two different numbers."""


def numbers_of(cells: Array, how: Writing) -> Numbers:
    """Every cell of a column as a number."""
    none = np.empty(0, int)
    if cells.dtype != object:
        finite = np.where(np.isfinite(cells), cells, np.nan)
        return Numbers(finite, np.zeros(len(cells), bool), none, none)
    values, percent = np.full(len(cells), np.nan), np.zeros(len(cells), bool)
    bad, unclear = [], []
    for i, cell in enumerate(cells):
        try:
            value, percent[i] = number(cell, how)
            values[i] = np.nan if value is None else value
        except AmbiguousError:
            unclear.append(i)
        except ValueError:
            bad.append(i)
    return Numbers(values, percent, np.array(bad, int), np.array(unclear, int))


def _value(text: str, how: Writing) -> float:
    if COMMA not in text and how.decimal in ("", POINT) and not how.european:
        try:  # a point can only be the decimal mark here
            return float(text)
        except ValueError:
            pass
    text = _closed(text)
    return float(_plain(text, _meant(text, how)))


def marks(cell: object, how: Writing) -> set[tuple[str, str]]:
    """How the comma and the point of a cell are read: pairs such as (',', 'thousands')."""
    if not isinstance(cell, str) or (COMMA not in cell and how.decimal in ("", POINT)):
        return set()
    text = _digits(cell)
    decimal = _meant(text, how)
    return {(m, "decimal" if m == decimal else "thousands") for m in (COMMA, POINT) if m in text}


def _digits(cell: str) -> str:
    """A cell's number without sign, suffix and percent sign."""
    return _closed(cell.strip().rstrip("% ").rstrip("".join(SUFFIXES)).strip()).lstrip("+-")


def _closed(text: str) -> str:
    """The text without blanks or apostrophes between thousands, which are unambiguous."""
    return re.sub(r"[^\d.,+-]", "", text) if _BLANKS.fullmatch(text) else text


def _mark(digits: str) -> str:
    """The decimal mark that a number shows by itself."""
    if COMMA not in digits and POINT not in digits:
        return ""
    return next((mark for form, mark in _FORMS if form.fullmatch(digits)), "")


def _meant(text: str, how: Writing) -> str:
    """The decimal mark of one number."""
    shown = _mark(text.lstrip("+-"))
    if shown and how.own == BOTH:
        raise AmbiguousError
    if shown != _EITHER:
        return shown
    if how.decimal in (POINT, COMMA):
        return how.decimal
    unclear = not how.size if COMMA in text else how.size and how.european
    if unclear or how.decimal == BOTH:
        raise AmbiguousError
    return POINT


def _plain(text: str, decimal: str) -> str:
    """The text with a decimal point and without thousands separators."""
    if decimal == COMMA:
        return text.replace(POINT, "").replace(COMMA, POINT)
    return text.replace(COMMA, "") if decimal == POINT else text
