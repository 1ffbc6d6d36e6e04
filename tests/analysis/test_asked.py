"""Places and targets as people write them."""

from __future__ import annotations

import pytest

from steep.analysis.asked import Place, asked_about, goal_of, place_of
from steep.records import Analysis, Curve, Fit, Forecast
from steep.spec.load import QuestionError


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
        ("1,000,000", (1e6, False)),
        ("12,500", (12_500.0, False)),
        ("1 000", (1e3, False)),
        ("1,000x", (1e3, True)),
    ],
)
def test_places_as_people_write_them(written: str, place: tuple[float, bool]) -> None:
    assert place_of(written) == Place(pytest.approx(place[0]), place[1])


@pytest.mark.parametrize(
    "written", ["", "x", "ten", "-1", "0", "0x", "1.2.3", "1e999", "nan", "10xx", "5%", "3 4"]
)
def test_what_is_no_place(written: str) -> None:
    with pytest.raises(QuestionError, match="write 10x"):
        place_of(written)


def test_targets_as_people_write_them() -> None:
    assert goal_of("0.05").value == 0.05
    assert goal_of("5%").value == pytest.approx(0.05)
    assert goal_of(" 5 % ").value == pytest.approx(0.05)
    for written in ("", "%", "-0.1", "0", "nan", "inf", "low", "5%%x"):
        with pytest.raises(QuestionError, match="write a value"):
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
        with pytest.raises(QuestionError, match=r"'5%': .*loss.*: write "):
            goal_of("5%").of(metric, largest)


def test_a_percentage_is_asked_of_the_error_rate_of_a_study_that_selects_by_a_loss() -> None:
    fit, forecast = Fit("ok", ()), Forecast("ok")
    made = [("cross_entropy", "validation"), ("cross_entropy", "test"), ("error", "validation")]
    loss, tested, rate = (Curve(*name, fit, forecast) for name in made)
    every = said("words", loss, tested, rate)
    assert asked_about(every, []) is loss
    assert asked_about(every, [goal_of("0.5")]) is loss
    assert asked_about(every, [goal_of("5%")]) is rate
    assert asked_about(said("words", rate, loss), [goal_of("5%")]) is rate
    assert asked_about(said("words", rate, loss), [goal_of("2 nats")]) is loss
    with pytest.raises(QuestionError, match="a loss"):
        asked_about(said("words", loss, tested), [goal_of("5%")])
    with pytest.raises(QuestionError, match=r"3.5.*5%|5%.*3.5"):
        asked_about(every, [goal_of("5%"), goal_of("3.5")])


def said(domain: str, *curves: Curve) -> Analysis:
    return Analysis("s", domain, "", "", "items", curves[0].metric, (), (), (), curves, ())


def test_images_answer_with_their_error_rate_whatever_selects() -> None:
    fit, forecast = Fit("ok", ()), Forecast("ok")
    made = [("cross_entropy", "validation"), ("cross_entropy", "test"), ("error", "validation")]
    loss, tested, rate = (Curve(*name, fit, forecast) for name in made)
    images = said("images", loss, tested, rate)
    assert images.headline is rate
    assert asked_about(images, []) is rate
    assert asked_about(images, [goal_of("0.05"), goal_of("3%")]) is rate
    assert asked_about(images, [goal_of("0.05 nats")]) is loss
    with pytest.raises(QuestionError, match="error and cross_entropy are two questions"):
        asked_about(images, [goal_of("5%"), goal_of("0.2 nats")])
    assert said("words", loss, tested, rate).headline is loss
    assert said("images", loss).headline is loss


@pytest.mark.parametrize(
    ("written", "metric", "error"),
    [
        ("95%", "1 - accuracy", 0.05),
        ("0.95", "1 - accuracy", 0.05),
        ("99.5 %", "1 - accuracy", 0.005),
        ("0.8", "1 - f1", 0.2),
        ("80%", "1 - f1", 0.2),
        ("30", "1 - bleu / 100", 0.7),
        ("30%", "1 - bleu / 100", 0.7),
        ("0.9", "1 - r2", 0.1),
    ],
)
def test_targets_of_scores_are_read_as_scores(written: str, metric: str, error: float) -> None:
    assert goal_of(written).of(metric, 0.7) == pytest.approx(error)


@pytest.mark.parametrize(
    ("written", "metric", "words"),
    [
        ("105%", "1 - accuracy", "accuracy is at most 100 %"),
        ("95", "1 - accuracy", "at most 100 %; did you mean 95%"),
        ("100%", "1 - accuracy", "no amount of data makes accuracy perfect"),
        ("101", "1 - bleu / 100", "bleu is at most 100"),
        ("0.5 nats", "1 - accuracy", "accuracy has no unit"),
        ("105%", "error", "an error rate is at most 100 %"),
        ("5", "error", "at most 100 %; did you mean 5%"),
        ("0.5 nats", "error", "error has no unit"),
    ],
)
def test_targets_that_no_metric_can_have(written: str, metric: str, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        goal_of(written).of(metric, 0.7)
