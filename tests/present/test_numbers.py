"""Numbers look as a reader expects: digits that the interval supports, units, suffixes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.present import numbers
from steep.present.ticks import log_ticks
from steep.records import Interval

RATE = numbers.scale("error")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.000123, "0.000123"), (0.5, "0.500"), (8.123, "8.12"), (0.9996, "1.00"),
     (12345, "12,300"),
     (1.5e7, "1.50e7"), (None, numbers.UNKNOWN), (float("nan"), numbers.UNKNOWN)],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(812, "812"), (8000, "8k"), (8123, "8.12k"), (999_600, "1M"), (1.3e6, "1.3M"), (2e9, "2B"),
     (0.5, "0.5"), (math.inf, numbers.OPEN)],
)  # fmt: skip
def test_counts_have_suffixes(value, text):
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("found", "how", "text"),
    [
        ((0.0812, 0.072, 0.094), RATE, "8.1 % [7.2, 9.4]"),
        ((0.1181, 0.1154, 0.1211), RATE, "11.8 % [11.5, 12.1]"),
        ((1.3213, 1.2862, 1.3561), numbers.scale("cross_entropy"), "1.32 nats [1.29, 1.36]"),
        ((-0.3123, -0.3401, -0.2848), numbers.PLAIN, "-0.312 [-0.340, -0.285]"),
        ((0.1712, 0.17115, 0.17125), RATE, "17.120 % [17.115, 17.125]"),
        ((0.0, 0.0, 0.0189), numbers.PLAIN, "0 [0, 0.019]"),
        ((3.0, 0.001, 900.0), numbers.PLAIN, "3 [0.001, 900]"),
        ((0.1, 0.05, None), RATE, f"10 % [5, {numbers.OPEN}]"),
        ((5.59e281, 4.57e281, 6.64e281), numbers.PLAIN, "5.6e281 [4.6e281, 6.6e281]"),
        ((1.2345e8, 1.2344e8, 1.2346e8), numbers.PLAIN, "1.2345e8 [1.2344e8, 1.2346e8]"),
        ((1.2e-4, 0.0, 2.0e14), numbers.PLAIN, "1.2e-4 [0, 2.0e14]"),
        ((0.38, 2.2e-14, 0.82), numbers.PERCENT, "38 % [2.2e-12, 82]"),
        ((5.0, 1e-8, 3e9), numbers.PLAIN, "5 [1.0e-8, 3.0e9]"),
        ((5.0, 3e-5, 900.0), numbers.PLAIN, "5 [0.00003, 900]"),
        ((-0.003, -3.0, 0.0), numbers.PLAIN, "0.0 [-3.0, 0]"),
    ],
)
def test_an_interval_decides_the_decimals(found, how, text):
    assert numbers.estimate(*found, how) == text


def test_span_and_counted_intervals():
    assert numbers.span(0.072, 0.094, RATE) == "[7.2, 9.4] %"
    assert numbers.counts(Interval(120_000, 80_000, None)) == "120k [80k, no limit]"
    assert numbers.counts(Interval(1300, None, 1900), 1000) == "1.3k [below 1k, 1.9k]"
    # one unit within an interval, whatever it spans
    assert numbers.operations(Interval(6.5e30, 3.5e30, 7.3e31)) == "6.5e30 FLOPs [3.5e30, 7.3e31]"
    assert numbers.operations(Interval(6.5e21, 3e12, None)) == "6.5e21 FLOPs [3.0e12, no limit]"
    assert numbers.flops(6.5e30) == "6.5e30 FLOPs"
    assert numbers.memories(Interval(1.2e9, 8e8, 3.1e9)) == "1.2 GB [0.8, 3.1]"
    assert numbers.energies(Interval(3.6e6, 1.8e6, None)) == "1 kWh [0.5, no limit]"
    assert numbers.operations(Interval(2.3e7, 5.7e5, 9.7e8)) == "23M FLOPs [570k, 970M]"
    assert numbers.operations(Interval(1.2e15, 8e14, 3.14e15)) == "1.2 PFLOPs [0.8, 3.1]"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((1.28, 1.08, 1.52), "1.3x [1.1, 1.5]"),
        ((1.05, 0.97, 1.13), "1.05x [0.97, 1.13]"),
        ((1.3, 1.25, 1.35), "1.30x [1.25, 1.35]"),
        ((3.2e6, 2.2e6, 4.7e6), "3.2e6x [2.2e6, 4.7e6]"),
        ((2.0, 1.4, None), f"2.0x [1.4, {numbers.OPEN}]"),
    ],
)
def test_factors_are_told_apart_from_their_ends(found, text):
    assert numbers.times(Interval(*found)) == text


@given(st.floats(1e-3, 1e4), st.floats(1e-3, 0.9), st.floats(1e-3, 10))
def test_the_ends_of_an_interval_stay_apart_and_ordered(value, below, above):
    text = numbers.span(value * (1 - below), value * (1 + above)).strip("[]")
    low, high = (float(part.replace(",", "")) for part in text.split(", "))
    assert low < high


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.42 s"), (12.3, "12 s"), (200, "3 min 20 s"), (1500, "25 min"),
     (7500, "2 h 05 min"), (4 * 86400, "4 d 0 h"), (None, numbers.UNKNOWN)],
)  # fmt: skip
def test_durations(seconds, text):
    assert numbers.duration(seconds) == text


def test_memory_flops_factors_and_shares():
    assert numbers.memory(1.23e9) == "1.2 GB"
    assert numbers.memory(512) == "510 B"
    assert numbers.energy(3600 * 9.33) == "9.3 Wh"
    assert numbers.energy(3.6e6) == "1 kWh"
    assert numbers.energy(36) == "10 mWh"
    assert numbers.flops(3.4e15) == "3.4 PFLOPs"
    assert numbers.factor(9.99) == "10x"
    assert numbers.factor(2.5) == "2.5x"
    assert numbers.factor(1000.0) == "1,000x"
    assert numbers.factor(59_009.2) == "59,000x"
    assert numbers.factor(6.25e29) == "6.2e29x"
    assert numbers.exact(8e20) == "8.000e20"
    assert numbers.count(3.2e21) == "3.20e21"
    assert numbers.share(0.004) == "<1 %"
    assert numbers.share(0.38) == "38 %"


def test_metrics_have_their_units():
    assert numbers.scale("cross_entropy").title == "cross-entropy (nats)"
    assert numbers.scale("bits_per_character").unit == "bits"
    assert RATE.title == "error rate (%)"
    assert numbers.scale("rmse").title == "rmse"


def test_an_error_above_one_is_no_rate():
    assert numbers.measured(12.5, numbers.scale("error", 12.5)) == "12.5"
    assert numbers.measured(1.4, numbers.scale("wer", 1.4)) == "140 %"


@given(st.floats(1e-9, 1e9), st.floats(1.02, 1e9))
def test_ticks_lie_within_and_are_few(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert all(low * 0.999 <= t <= low * ratio * 1.001 for t in ticks)


def test_an_accuracy_is_shown_as_one() -> None:
    how = numbers.scale("1 - accuracy")
    assert numbers.measured(0.039, how) == "96.1 %"
    assert numbers.measured(0.0048, how) == "99.52 %"  # the digits of its error
    assert numbers.estimate(0.039, 0.03, 0.05, how) == "96.1 % [95.0, 97.0]"
    assert numbers.span(0.03, 0.05, how) == "[95.0, 97.0] %"
    assert numbers.target(0.05, how) == "accuracy 95 %"
    assert numbers.target(0.0005, how) == "accuracy 99.95 %"
    assert numbers.standing(0.05, how) == "accuracy 95.0 %"
    assert numbers.measured(0.01, how.spread, 2) == "1.0 %"
    assert how.title == "1 - accuracy (%)"
    assert numbers.measured(0.7, numbers.scale("1 - bleu / 100")) == "30.0"
    assert numbers.measured(0.7, numbers.scale("1 - bleu")) == "0.300"
    assert numbers.estimate(0.1, 0.05, 0.2, numbers.scale("1 - r2")) == "0.900 [0.800, 0.950]"
    assert numbers.measured(0.039, numbers.scale("1 - f1 / 100")) == "96.1 %"
    assert numbers.scale("1 - some_score").label == "some score"
