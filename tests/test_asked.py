"""Places and targets as people write them."""

from __future__ import annotations

import pytest

from steep.asked import Place, goal_of, place_of
from steep.config import QuestionError


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("10x", (10.0, True)),
        ("2.5X", (2.5, True)),
        ("0.5x", (0.5, True)),
        ("1e6", (1e6, False)),
        ("1E+6", (1e6, False)),
        ("2M", (2e6, False)),
        ("2m", (2e6, False)),
        ("3k", (3e3, False)),
        ("1.5B", (1.5e9, False)),
        ("2G", (2e9, False)),
        ("1T", (1e12, False)),
        (" 500 ", (500.0, False)),
        ("2e3 k", (2e6, False)),
    ],
)
def test_places_as_people_write_them(written: str, place: tuple[float, bool]) -> None:
    assert place_of(written) == Place(pytest.approx(place[0]), place[1])


@pytest.mark.parametrize(
    "written", ["", "x", "ten", "-1", "0", "0x", "1.2.3", "1e999", "nan", "10xx", "5%", "1 000"]
)
def test_what_is_no_place(written: str) -> None:
    with pytest.raises(QuestionError, match="write 10x"):
        place_of(written)


def test_targets_as_people_write_them() -> None:
    assert goal_of("0.05").value == 0.05
    assert goal_of("5%").value == pytest.approx(0.05)
    assert goal_of(" 5 % ").value == pytest.approx(0.05)
    for written in ("", "%", "-0.1", "0", "nan", "inf", "low", "5%%x"):
        with pytest.raises(QuestionError, match="write an error"):
            goal_of(written)


@pytest.mark.parametrize(
    ("metric", "largest", "a_rate"),
    [
        ("error", 0.4, True),
        ("error", 35.6, False),
        ("wer", 1.4, True),
        ("cross_entropy", 0.4, False),
        ("score", 0.4, True),
    ],
)
def test_a_percentage_is_of_a_rate(metric: str, largest: float, a_rate: bool) -> None:
    assert goal_of("0.05").of(metric, largest) == 0.05
    if a_rate:
        assert goal_of("5%").of(metric, largest) == pytest.approx(0.05)
    else:
        with pytest.raises(QuestionError, match=r"'5%': .*loss.*: write a number"):
            goal_of("5%").of(metric, largest)
