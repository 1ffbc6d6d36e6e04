"""Places and targets as people write them."""

from __future__ import annotations

import pytest

from steep.asked import Place, asked_about, goal_of, place_of
from steep.config import QuestionError
from steep.records import Curve, Fit, Forecast


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


def test_a_percentage_is_asked_of_the_error_rate_of_a_study_that_selects_by_a_loss() -> None:
    fit, forecast = Fit("ok", ()), Forecast("ok")
    made = [("cross_entropy", "validation"), ("cross_entropy", "test"), ("error", "validation")]
    loss, tested, rate = (Curve(*name, fit, forecast) for name in made)
    every = (loss, tested, rate)
    assert asked_about(every, []) is loss
    assert asked_about(every, [goal_of("0.5")]) is loss
    assert asked_about(every, [goal_of("5%")]) is rate
    assert asked_about((rate, loss), [goal_of("5%")]) is rate
    with pytest.raises(QuestionError, match="a loss"):
        asked_about((loss, tested), [goal_of("5%")])
    with pytest.raises(QuestionError, match=r"3.5.*5%|5%.*3.5"):
        asked_about(every, [goal_of("5%"), goal_of("3.5")])
