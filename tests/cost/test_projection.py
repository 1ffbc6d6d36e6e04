"""What a target takes, against answers known beforehand: power laws, rooflines, certain floors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import steep
from steep.cost.first_order import first_orders, scaling_by_hand, steps_by_hand
from steep.cost.machines import machine
from steep.cost.projection import TOO_LARGE, cost, cost_curves, trial_seconds
from steep.cost.roofline import Steps
from steep.cost.scaling import scaling, steps_from_flops
from steep.present import numbers
from steep.present.costs import cost_lines, elsewhere_table
from steep.records import (
    ALREADY_MET,
    BEYOND_REACH,
    NOT_REACHABLE,
    PERHAPS_NOT,
    CostReport,
    Interval,
    Machine,
    Projection,
    Scaling,
    SizeLaw,
    StepCost,
    TrialTimes,
)

PLAIN = Machine("plain", "a plain machine", "fp32", flops=1e12)
"""One TFLOP/s, and nothing else takes time."""


def by_hand(
    alpha: float = 10.0, beta_g: float = -0.25, floor: float = 0.0, beta_p: float = 0.5
) -> Scaling:
    """Best-fit size 100 m^beta_p, six FLOPs a parameter and sample, a million samples at hand."""
    steps = steps_by_hand(6.0, delta=16.0)
    return scaling_by_hand(
        alpha, beta_g, sigma=100.0, beta_p=beta_p, steps=steps, floor=floor, samples=1e6
    )


def value(found: Interval | None) -> float:
    assert found is not None
    assert found.value is not None
    return found.value


# ---------------------------------------------------------------- a target


def test_a_power_law_inverted() -> None:
    """error = 10 m^-1/4: 0.1 needs 10^8, a model of 100 * 10^4, 6 * 10^6 * 10^8 FLOPs: 600 s."""
    answer = cost(by_hand(), [0.1], machine=PLAIN)
    (found,) = answer.projections
    assert found.outcome == "ok"
    assert value(found.samples) == pytest.approx(1e8, rel=1e-3)
    assert found.factor == pytest.approx(100, rel=1e-3)
    assert value(found.parameters) == pytest.approx(1e6, rel=1e-3)
    assert value(found.flops) == pytest.approx(6e14, rel=2e-3)
    assert value(found.seconds) == pytest.approx(600, rel=2e-3)
    assert value(found.memory) == pytest.approx(16e6, rel=1e-3)
    assert (found.bound, found.joules, found.price) == ("compute", None, None)
    assert found.utilisation == pytest.approx(1.0)
    assert (found.samples.lower, found.samples.upper) == (None, None)  # a law by hand is exact


def test_targets_out_of_reach_and_behind() -> None:
    floored = cost(by_hand(floor=0.05), [0.05, 0.5], machine=PLAIN).projections
    assert floored[0].outcome == NOT_REACHABLE
    assert floored[0].seconds is None
    assert floored[1].outcome == "already reached"  # 0.366 at a million samples
    assert cost(by_hand(), [0.0099], machine=PLAIN).projections[0].outcome == BEYOND_REACH
    # 10 m^-1/4 = 0.01 at 1e12, a million times the data at hand
    assert cost(by_hand(), [0.0101], machine=PLAIN).projections[0].outcome == "ok"


def test_what_draws_never_reach_has_no_upper_end() -> None:
    """One draw in five has a floor above the target: a 90 % interval is open, a 50 % one is not."""
    clean, floored = by_hand(), by_hand(floor=0.2)
    grid = np.array(clean.log_samples)
    curves = [clean.log_error[0]] * 4 + [
        tuple(np.interp(grid, floored.log_samples, floored.log_error[0]).tolist())
    ]
    mixed = replace(clean, log_error=tuple(curves))
    (found,) = cost(mixed, [0.1], machine=PLAIN).projections
    assert found.unreachable == pytest.approx(0.2)
    assert found.outcome == "ok"
    assert value(found.samples) == pytest.approx(1e8, rel=1e-3)
    assert found.samples is not None
    assert found.samples.upper is None
    assert found.seconds is not None
    assert found.seconds.upper is None
    (narrow,) = cost(replace(mixed, level=0.5), [0.1], machine=PLAIN).projections
    assert narrow.samples is not None
    assert narrow.samples.upper == pytest.approx(1e8, rel=1e-3)
    assert narrow.unreachable == pytest.approx(0.2)


def test_out_of_reach_is_said_at_the_level_of_the_interval() -> None:
    """Of five draws three have a floor above the target: perhaps not at 90 %, not at 60 %."""
    clean, floored = by_hand(), by_hand(floor=0.2)
    grid = np.array(clean.log_samples)
    floor = np.interp(grid, floored.log_samples, floored.log_error[0])
    mixed = replace(clean, log_error=(*clean.log_error * 2, *(tuple(floor.tolist()),) * 3))
    perhaps = cost(mixed, [0.1], machine=PLAIN)
    (found,) = perhaps.projections
    assert (found.outcome, found.unreachable) == (PERHAPS_NOT, pytest.approx(0.6))
    assert found.samples is not None
    assert found.samples.lower == pytest.approx(1e8, rel=1e-3)
    expected = (
        "10 % is probably out of reach for this family (probability 60 %); otherwise it takes at "
        "least 100M samples."
    )
    assert cost_lines(perhaps)[0] == expected
    (not_at,) = cost(replace(mixed, level=0.6), [0.1], machine=PLAIN).projections
    assert not_at.outcome == NOT_REACHABLE


def test_what_the_smallest_size_meets_already_costs_that_at_the_most() -> None:
    """10 m^-1/4 is 0.562 at 100,000 samples, the smallest measured: 0.6 was met somewhere below."""
    answer = cost(replace(by_hand(), first=1e5), [0.6, 0.5], machine=PLAIN)
    met, reached = answer.projections
    assert (met.outcome, met.smallest) == (ALREADY_MET, 1e5)
    assert met.samples == Interval(1e5, None, 1e5)
    assert met.seconds is None
    assert reached.outcome == "already reached"
    assert cost_lines(answer)[0] == "60 % is already met at the smallest size, 100,000 samples."


def test_the_spread_of_the_size_law_is_carried() -> None:
    """beta_p 0.4 or 0.6 from the million at hand on: at 100 times the data, 6.3 or 15.8 times."""
    two = by_hand()
    at = math.log(1e6)
    start = math.log(1e5)
    law = replace(two, size_center=at, size_draws=((start, 0.4), (start, 0.6)),
                  log_error=two.log_error * 2)  # fmt: skip
    (found,) = cost(law, [0.1], machine=PLAIN).projections
    assert found.parameters is not None
    assert found.parameters.lower == pytest.approx(1e5 * 100**0.4, rel=1e-2)
    assert found.parameters.upper == pytest.approx(1e5 * 100**0.6, rel=1e-2)
    assert found.flops is not None
    assert found.flops.upper / found.flops.lower == pytest.approx(100**0.2, rel=1e-2)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_interval_holds_its_share_of_the_draws(level: float) -> None:
    """Of 400 sizes that lie evenly over a factor of e; FLOPs and seconds go with them."""
    straight = ((0.0, math.log(1e24)), (math.log(10), math.log(1e-5)))  # of 10 m^-1/4, in logs
    law = replace(
        by_hand(),
        size_draws=tuple((math.log(1e6) + k / 400, 0.0) for k in range(400)),
        log_samples=straight[0],
        log_error=(straight[1],) * 400,
        level=level,
    )
    answer = cost(law, [0.1], machine=PLAIN)
    for found, once in (
        (answer.projections[0].parameters, 1e6),
        (answer.projections[0].flops, 6e14),
        (answer.projections[0].seconds, 600.0),
        (answer.purchases[0].parameters, 1e6),
    ):
        assert found is not None
        shares = [
            math.log((end or math.nan) / once) for end in (found.lower, found.value, found.upper)
        ]
        assert shares == pytest.approx([0.5 - level / 2, 0.5, 0.5 + level / 2], abs=0.004)


def test_compute_without_a_machine_counts_every_pass() -> None:
    """Three passes over 10^8 samples with 10^6 parameters, six FLOPs each."""
    three = replace(by_hand(), epochs=3.0)
    (found,) = cost(three, [0.1]).projections
    assert value(found.flops) == pytest.approx(3 * 6e14, rel=2e-3)
    assert (found.seconds, found.memory) == (None, None)
    (timed,) = cost(three, [0.1], machine=PLAIN).projections
    assert value(timed.flops) == pytest.approx(3 * 6e14, rel=2e-3)
    assert value(timed.seconds) == pytest.approx(3 * 600, rel=2e-3)


def test_no_model_is_smaller_than_todays() -> None:
    shrinking = replace(by_hand(), size_draws=((math.log(1e6), -0.3),), smallest=5e4)
    (found,) = cost(shrinking, [0.1], machine=PLAIN).projections
    assert value(found.parameters) == pytest.approx(5e4)


def test_bad_questions_are_refused() -> None:
    law = by_hand()
    for bad in (
        {"target": [0.0]},
        {"target": [-1.0]},
        {"target": [0.1], "devices": 0},
        {"target": [0.1], "batch": -3.0},
        {"target": [0.1], "devices": 2},  # a machine without links
    ):
        with pytest.raises(ValueError, match=r"positive|alone"):
            cost(law, bad.pop("target"), machine=PLAIN, **bad)  # type: ignore[arg-type]
    for law_numbers in ((0.0, -0.2), (1.0, 0.1)):
        with pytest.raises(ValueError, match="beta_g"):
            by_hand(*law_numbers)
    with pytest.raises(ValueError, match="size law"):
        by_hand(beta_p=-1.0)


# ---------------------------------------------------------------- machines

STEP = StepCost(
    size=1,
    parameters=1_000_000,
    parameters_without_embeddings=1_000_000,
    units=1.0,
    batch=100.0,
    flops=6e6,
    pointwise=0.0,
    bytes=2e6,
    step_bytes=4e7,
    activations=1e6,
    memory=1e7,
    weights=1.6e7,
    operations=1000.0,
)


def of_one_size(machine: Machine, **asked: float) -> Projection:
    """10^8 samples through a model of 10^6 parameters in batches of 100: a million steps."""
    law = replace(by_hand(beta_p=0.0), size_draws=((math.log(1e6), 0.0),), steps=(STEP,))
    (found,) = cost(law, [0.1], machine=machine, **asked).projections  # type: ignore[arg-type]
    return found


def test_the_roofline_by_hand() -> None:
    """A step: 6e8 FLOPs, 2.4e8 bytes. At 1 TFLOP/s 0.6 ms; at 0.1 TB/s 2.4 ms."""
    assert value(of_one_size(PLAIN).seconds) == pytest.approx(600, rel=2e-3)
    slow = of_one_size(replace(PLAIN, bandwidth=1e11))
    assert value(slow.seconds) == pytest.approx(2400, rel=2e-3)
    assert slow.bound == "bandwidth"
    assert slow.utilisation == pytest.approx(0.25, rel=1e-2)
    shares = replace(PLAIN, bandwidth=1e11, flops_share=0.1, bandwidth_share=0.5)
    assert value(of_one_size(shares).seconds) == pytest.approx(6000, rel=2e-3)  # 6 ms of compute
    half = of_one_size(replace(PLAIN, bandwidth=1e11, precision="bf16"))
    assert value(half.seconds) == pytest.approx(1200, rel=2e-3)
    eager = of_one_size(replace(PLAIN, launch=1e-5))  # 1000 operations of 10 us
    assert value(eager.seconds) == pytest.approx(10_000, rel=2e-3)
    assert eager.bound == "launches"


def test_energy_and_price() -> None:
    found = of_one_size(replace(PLAIN, watts=300.0), price=2.0)
    assert value(found.joules) == pytest.approx(300 * 600, rel=2e-3)
    assert value(found.price) == pytest.approx(2.0 * 600 / 3600, rel=2e-3)


def test_devices_share_the_batch_and_the_ring() -> None:
    """Four of them: a quarter of the FLOPs each, and 2 * 3/4 * 4e6 bytes over a link of 1 GB/s."""
    found = of_one_size(replace(PLAIN, link=1e9, watts=1.0), devices=4)
    step = 6e8 / 4 / 1e12 + 1.5 * 4e6 / 1e9
    assert value(found.seconds) == pytest.approx(1e6 * step, rel=2e-3)
    assert found.bound == "link"
    assert value(found.joules) == pytest.approx(4e6 * step, rel=2e-3)


def test_memory_limits() -> None:
    """10 MB and 1 MB a sample: 100 samples need 110 MB. In 60 MB, two passes of 50 each, each of
    which moves the weights again; in 16.5 MB no sample more than six; in 10 MB nothing."""
    assert value(of_one_size(PLAIN).memory) == pytest.approx(1.1e8)
    moving = replace(PLAIN, bandwidth=1e9)
    two = of_one_size(replace(moving, memory=6e7))
    assert value(two.memory) == pytest.approx(6e7)
    assert two.at_once == pytest.approx(50)
    assert value(two.seconds) == pytest.approx(1e6 * (2e8 + 2 * 4e7) / 1e9, rel=2e-3)
    assert of_one_size(replace(moving, memory=1.65e7)).at_once == pytest.approx(6.5)
    none = of_one_size(replace(moving, memory=1e7))
    assert none.outcome == TOO_LARGE
    assert none.fits == 0.0
    assert value(none.seconds) == pytest.approx(value(of_one_size(moving).seconds))


def test_costs_between_counted_models() -> None:
    """Power laws in the parameters are met exactly, between and beyond the counted ones."""
    rows = [
        replace(STEP, parameters=p, flops=6.0 * p, weights=16.0 * p) for p in (10**3, 10**5, 10**6)
    ]
    law = replace(by_hand(beta_p=0.0), steps=tuple(rows))
    for p in (3e2, 2e4, 5e8):
        one = replace(law, size_draws=((math.log(p), 0.0),))
        found = cost(one, [0.1], machine=PLAIN).projections[0]
        assert value(found.flops) == pytest.approx(6 * p * 1e8, rel=2e-3)


def test_between_counted_models_lines_in_logs_and_beyond_them_the_last_ones() -> None:
    """FLOPs of 10^4, 10^5 and 10^7 at 10^3, 10^4 and 10^5 parameters: slopes of one and two."""
    counts = ((10**3, 1e4), (10**4, 1e5), (10**5, 1e7))
    steps = Steps([replace(STEP, parameters=p, flops=f) for p, f in counts])
    at = np.array([1e2, 10**3.5, 1e4, 10**4.5, 1e6])
    assert np.log10(steps.at("flops", at)) == pytest.approx([3.0, 4.5, 5.0, 6.0, 9.0])
    one = Steps([replace(STEP, parameters=10**3, flops=1e4)])
    assert one.at("flops", np.array([1e2, 1e4])) == pytest.approx([1e3, 1e5])


# ---------------------------------------------------------------- the frontier


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0, 100.0])
def test_what_compute_buys_of_power_laws(factor: float) -> None:
    """error ~ C^(beta_g / (1 + beta_p)), data ~ C^(1 / (1 + beta_p))."""
    bought = cost(by_hand(), machine=PLAIN, factors=[factor]).purchases[0]
    ratio = factor ** (-0.25 / 1.5)
    assert value(bought.ratio) == pytest.approx(ratio, rel=1e-3)
    assert value(bought.samples) == pytest.approx(1e6 * factor ** (1 / 1.5), rel=1e-3)
    assert value(bought.parameters) == pytest.approx(1e5 * factor ** (0.5 / 1.5), rel=1e-3)
    assert value(bought.loss) == pytest.approx(1 / ratio - 1, rel=1e-2)
    assert value(bought.flops) == pytest.approx(factor * 6e11, rel=1e-3)


def test_floor_data_or_compute() -> None:
    """At a million samples 10 m^-1/4 is 0.316. A floor of 1 leaves a quarter of the slope."""
    free = cost(by_hand(), machine=PLAIN).limit
    assert free is not None
    assert free.word == "data"
    assert value(free.slope) == pytest.approx(-0.25, rel=1e-3)
    bound = cost(by_hand(), machine=PLAIN, budget=1e11).limit
    assert bound is not None
    assert bound.word == "compute"  # 6e11 for all of the data
    assert cost(by_hand(), machine=PLAIN, budget=1e12).limit.word == "data"  # type: ignore[union-attr]
    floored = cost(by_hand(floor=1.0), machine=PLAIN, budget=1e11).limit
    assert floored is not None
    assert floored.word == "floor"


def test_a_trials_time_is_the_plane_through_the_logs_of_the_trials() -> None:
    """Ten seconds at 100 samples and 1,000 parameters, as the root of data and as the size: at four
    times the data and twice the size 40; at a quarter of the data 5."""
    times = TrialTimes((math.log(100), math.log(1000)), ((math.log(10), 0.5, 1.0),), 9, 100.0)
    found = trial_seconds(times, np.array([400.0, 25.0]), np.array([2000.0, 1000.0]))
    assert found == pytest.approx([40.0, 5.0])
    assert trial_seconds(times, np.array([400.0]), None) == pytest.approx([20.0])


def test_time_along_a_curve_counts_every_pass() -> None:
    (curve,) = cost_curves(replace(by_hand(), epochs=3.0), [PLAIN], [1.0])
    assert curve.seconds == (pytest.approx(3 * 0.6, rel=1e-2),)


def test_curves_end_where_memory_does() -> None:
    small = replace(PLAIN, memory=16 * 2e5)  # parameters 1e5, 2.2e5 at ten times the compute
    (curve,) = cost_curves(by_hand(), [small], [1.0, 10.0])
    assert curve.seconds == (pytest.approx(0.6, rel=1e-2), None)


# ---------------------------------------------------------------- where a scaling comes from


def test_a_fit_and_an_unmeasured_size_law() -> None:
    m = [1000 * 2**i for i in range(8)]
    fit = steep.fit(samples=m, error=[5 * x**-0.3 for x in m])
    unknown = SizeLaw("not measured", "plateaus")
    made = scaling(fit, unknown, parameters=1e4)
    assert made.samples == m[-1]
    assert any("plateaus" in text and "between 0.5 and 1" in text for text in made.assumptions)
    assert any("6 FLOPs per parameter" in text for text in made.guesses)
    assert "one pass over the data" in made.guesses
    target = 5 * (10 * m[-1]) ** -0.3
    found = cost(made, [target], machine=PLAIN).projections[0]
    assert found.parameters is not None
    assert found.samples is not None
    assert found.samples.lower < 10 * m[-1] < found.samples.upper
    assert 1e4 * 10**0.5 * 0.8 < found.parameters.lower < found.parameters.upper
    sizeless = scaling(fit, unknown)
    alone = cost(sizeless, [target]).projections[0]
    assert (alone.samples, alone.parameters) == (found.samples, None)
    with pytest.raises(ValueError, match="size of the best model"):
        cost(sizeless, [target], machine=PLAIN)
    fixed = scaling(fit, unknown, parameters=1e4, fixed=True)
    assert cost(fixed, [target]).projections[0].parameters.value == pytest.approx(1e4)
    with pytest.raises(ValueError, match="too few"):
        scaling(steep.fit(samples=[1, 2], error=[0.5, 0.4]), parameters=1.0)


def test_steps_of_which_only_flops_are_known() -> None:
    rows = steps_from_flops({4: (1000, 5e4), 8: (4000, 3e5), 16: (4000, 3e5)})
    assert [(r.parameters, r.flops, r.weights) for r in rows] == [
        (1000, 5e4, 16e3),
        (4000, 3e5, 64e3),
    ]


def test_first_order_constants_come_back() -> None:
    rows = [
        replace(r, size=i + 1)
        for i, r in enumerate(steps_by_hand(481, units=80, lambda_=1755, mu=30784, delta=11.94))
    ]
    small, large = first_orders(rows)
    for found in (small, large):
        got = [v.value for v in (found.gamma, found.lambda_, found.mu, found.delta)]
        assert got == pytest.approx([481, 1755, 30784, 11.94])
        assert found.exponent == pytest.approx(1.0)
    assert (small.largest, large.smallest) == (1e6, 1e9)


def test_machines_that_are_as_fast_share_a_row_and_why_is_said() -> None:
    """A small model on a small batch: launching its operations takes all of the time."""
    plain = steps_by_hand(6.0, lambda_=1e-9, mu=1e-9, delta=16.0, batch=64)
    steps = [replace(s, size=i + 1, operations=1e4) for i, s in enumerate(plain)]
    made = scaling_by_hand(
        10, -0.25, sigma=100, beta_p=0.5, steps=steps, samples=1e4, metric="error"
    )
    answers = [cost(made, [0.5], machine=machine(name)) for name in ("v100", "h100")]
    assert {p.bound for a in answers for p in a.projections} == {"launches"}
    table = elsewhere_table(CostReport(answers[0], tuple(answers)), numbers.PERCENT)
    assert len(table.rows) == 1
    assert " or " in table.rows[0][0]
    assert "launching operations limits all" in table.note
    shown = "\n".join(cost_lines(answers[1]))
    assert "launching operations" in shown
    assert "limited by" not in shown
    assert "64 samples a step" in shown
    quick = replace(made, steps=tuple(replace(s, operations=0.0) for s in steps))
    answers = [cost(quick, [0.5], machine=machine(name)) for name in ("v100", "h100")]
    assert len(elsewhere_table(CostReport(answers[0], tuple(answers)), numbers.PERCENT).rows) == 2
