"""Numbers as people write them, and what is said of numbers that may be two."""

from __future__ import annotations

import pytest

from steep.tables.amounts import (
    BOTH,
    COMMA,
    POINT,
    AmbiguousError,
    Writing,
    decimal_mark,
    marks,
    number,
    with_spread,
)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0.25", 0.25), (".5", 0.5), ("0,25", 0.25), ("-0,5", -0.5), ("1,5e-3", 1.5e-3),
        ("1,000.5", 1000.5), ("1.000,5", 1000.5), ("1,000,000", 1e6), ("1.000.000", 1e6),
        ("1 000", 1000), ("1\u202f000,5", 1000.5), ("1'000", 1000), ("1e3", 1000), ("0,250", 0.25),
        (7, 7.0), ("NaN", None), ("", None), (None, None), (float("inf"), None),
    ],
)  # fmt: skip
def test_a_number_that_is_clear_by_itself(cell: object, value: float | None) -> None:
    for decimal in ("", POINT, COMMA, BOTH):
        assert number(cell, Writing(decimal)) == (value, False)


@pytest.mark.parametrize("cell", ["abc", "1,00,0", "1.2.3", "0.35±0.01", "1-2", True, "4K"])
def test_what_is_no_number(cell: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        number(cell, Writing())


def test_suffixes_are_those_of_sizes() -> None:
    size = Writing(size=True)
    found = [number(cell, size)[0] for cell in ("4K", "4k", "1m", "1.5M", "2 G", "2B", "1T")]
    assert found == [4e3, 4e3, 1e6, 1.5e6, 2e9, 2e9, 1e12]


def test_words_and_shares_are_sizes() -> None:
    size = Writing(size=True)
    for cell, value in (
        ("10^9", 1e9),
        ("1.5×10^9", 1.5e9),
        ("2^10", 1024),
        ("1.5 million", 1.5e6),
        ("2 thousand", 2e3),
        ("1/8", 0.125),
        ("3 bn", 3e9),
    ):
        assert number(cell, size) == (value, False)
    for cell in ("1/0", "1/2/3", "2 apples"):
        with pytest.raises(ValueError, match=r".*"):
            number(cell, size)


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("71.2 ± 0.8", ("71.2", "0.8", False)),
        ("71.2±0.8%", ("71.2%", "0.8%", False)),
        ("0.71+-0.02", ("0.71", "0.02", False)),
        ("$71.2 \\pm 0.8$", ("71.2", "0.8", False)),
        ("-0.42 (0.1)", ("-0.42", "0.1", False)),
        ("71,2 ± 0,8", ("71,2", "0,8", False)),
        ("0.5 [0.4, 0.6]", ("0.5", "0.09999999999999998", True)),
        ("0.5 (0.25-0.75)", ("0.5", "0.25", True)),
        *((cell, None) for cell in ("0.5", "1e+3", "(0.5)", "12 (5%)", "± 3", "a (b)", 0.5, None)),
    ],
)
def test_a_value_with_its_spread(cell: object, parts: tuple[str, str, bool] | None) -> None:
    assert with_spread(cell) == parts


def test_percent_signs_are_told() -> None:
    assert number("12.5 %", Writing()) == (12.5, True)


@pytest.mark.parametrize(
    ("how", "comma", "point"),
    [
        (Writing(POINT), 1000, 1),
        (Writing(COMMA), 1, 1000),
        (Writing(), None, 1),
        (Writing(size=True), 1000, 1),
        (Writing(size=True, european=True), 1000, None),
        (Writing(BOTH, size=True), None, None),
    ],
)
def test_the_table_tells_a_decimal_mark_from_a_thousands_separator(
    how: Writing, comma: float | None, point: float | None
) -> None:
    for cell, value in (("1,000", comma), ("1.000", point)):
        if value is None:
            with pytest.raises(AmbiguousError):
                number(cell, how)
        else:
            assert number(cell, how) == (value, False)


def test_a_column_has_one_decimal_mark() -> None:
    for cell in ("0.5", "0,5"):
        with pytest.raises(AmbiguousError):
            number(cell, Writing(BOTH, own=BOTH))
    assert number("500", Writing(BOTH, own=BOTH)) == (500, False)


def test_the_mark_that_cells_show() -> None:
    assert decimal_mark(["1,000", "1.000", "7", 0.5]) == ""
    assert decimal_mark(["1,000", "0.5"]) == POINT
    assert decimal_mark(["1.000", "0,5"]) == COMMA
    assert decimal_mark(["0.5", "0,5"]) == BOTH


def test_marks_are_told_by_what_they_do() -> None:
    assert marks("1.000,5", Writing()) == {(".", "thousands"), (",", "decimal")}
    assert marks(0.5, Writing()) == marks("500", Writing()) == set()
