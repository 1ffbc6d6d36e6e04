"""The engine's benchmark compares like with like: both ways see the same losses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/engine.py, which imports its neighbours by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("STEEP_MALLOC", "0")  # it cannot be taken back in this process
    import engine

    yield engine
    for name in ("engine", "engine_cases", "plain"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "family", ["rhn", "lstm", "resnet", "transformer", "seq2seq", "deepspeech2", "attention"]
)
def test_both_ways_take_the_same_steps(engine: Any, family: str) -> None:
    case = next(case for case in engine.CASES if case.family == family)
    plain, steep = (engine.one(case, way, 1, 3) for way in ("plain", "engine"))
    assert steep["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    assert steep["engine"] != "plain"
    assert plain["engine"] == "plain"


# ---------------------------------------------------------------- searches


@pytest.fixture
def planners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """benchmarks/planners.py on a made-up grid of the images study: 3 seeds, a known optimum."""
    import worlds
    from steep.records import Trial, settings
    from steep.trainers import replay

    monkeypatch.syspath_prepend(str(FOLDER))
    import planners

    world = worlds.World(worlds.bowl(sigma=60.0), noise=0.02)
    rates, measured = (0.05, 0.15, 0.45, 1.2), []
    for samples in worlds.SAMPLES:
        for size in worlds.SIZES:
            for rate in rates:
                values = settings({"learning_rate": rate})
                place = (0, samples, float(samples), size, values)
                measured += [world.measure(Trial(*place, seed)) for seed in range(3)]
    replay.table(measured).to_csv(tmp_path / "images-grid.csv.gz", index=False)
    monkeypatch.setattr(planners, "DATA", tmp_path)
    yield planners
    for name in ("planners", "peers"):
        sys.modules.pop(name, None)


def test_what_small_shards_say_is_not_taken_to_large_ones(
    planners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the measured grid of characters by Adam high learning rates are as good with little data,
    and 30 % worse with much, where the best one needs ten times the steps: early, it trails."""
    monkeypatch.setattr(planners, "DATA", FOLDER / "data")
    for seed in (103, 104):
        found = planners.on_real("characters by Adam", "frugal", seed, 0.0)
        assert np.mean(found.excess) < 0.02
        assert found.beta_g < 0.05


@pytest.mark.parametrize("name", ["images", "characters", "characters by Adam"])
def test_the_grid_costs_itself_and_has_no_excess_over_itself(
    planners: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also where its study confirms its best fits with seeds that the table does not have."""
    if name != "images":
        monkeypatch.setattr(planners, "DATA", FOLDER / "data")
    found = planners.on_real(name, "grid", 0, 0.0)
    assert found.cost == pytest.approx(1.0)
    assert max(map(abs, found.excess)) == 0.0
    assert max(found.over_best) > 0.0


def test_a_search_is_judged_by_seeds_that_it_has_not_seen(
    planners: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = planners.resampled(planners.real("images"), np.random.default_rng(0))
    asked: set[int] = set()
    measure = planners.Table.measure

    def watched(table: Any, want: Any) -> Any:
        asked.add(want.trial.seed)
        return measure(table, want)

    monkeypatch.setattr(planners.Table, "measure", watched)
    found = planners.searched(whole, "frugal", planners.SEEDS["images"], 0.0, 0)
    assert asked == {0, 1}
    assert len(next(iter(whole.trials.values()))) == 3
    cost = sum(m.flops for m in found)
    assert cost == pytest.approx(planners.peers.cost(found))
    assert cost < 0.2 * whole.cost(2)


@pytest.mark.parametrize("peer", ["random", "successive halving"])
@pytest.mark.parametrize("confirmed", ["", ", confirmed"])
def test_peers_spend_what_they_may(planners: Any, peer: str, confirmed: str) -> None:
    table = planners.real("images")
    budget = 0.1 * table.cost(2)
    found = planners.searched(table, peer + confirmed, 2, budget, 3)
    assert 0.4 * budget < planners.peers.cost(found) <= budget
    assert {m.trial.samples for m in found} == {float(s.samples) for s in table.shards}
    repeats = [m.trial for m in found if m.trial.seed == 1]
    assert len(repeats) == (len(table.shards) if confirmed else 0)
    chosen = {planners.chosen(b) for b in planners.best_fits(table, found)}
    assert {planners.place(trial) for trial in repeats} <= chosen


def test_the_truth_of_a_synthetic_table_is_its_law(planners: Any) -> None:
    """Without noise the best cells of a drawn table lie on its power law exactly."""
    surface, noise, _ = planners.smoothed("images")
    assert noise == pytest.approx(0.02, rel=0.25)
    assert min(surface.values()) == 0.0
    truth = planners.truth_of("images", np.random.default_rng(1), 2)
    lowest: dict[float, float] = {}
    for place, ms in truth.table.trials.items():
        clean = planners.mean_error(ms)
        if truth.excess[place] == 0.0:
            lowest[place[0]] = clean
    samples = sorted(lowest)
    errors = [lowest[m] for m in samples]
    slope = np.polyfit(np.log(samples), np.log(errors), 1)[0]
    assert slope == pytest.approx(truth.beta_g, abs=0.03)
    for place, ms in truth.table.trials.items():
        for m in ms:
            assert min(e.validation_error for e in m.curve) == pytest.approx(m.validation_error)
        assert len(ms) == 2, place


# ---------------------------------------------------------------- curves


def test_a_deep_curve_is_the_lowest_rate_of_the_middle_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import deep_curves

    study = tmp_path / "made-up"
    study.mkdir()
    seeds = {0.1: (0.5, 0.4, 0.9), 0.2: (0.45, 0.46, 0.3)}  # medians 0.5 and 0.45
    lines = [
        f"{permutation},{m},8,{rate},{error / (m * (permutation + 1))}"
        for permutation in (0, 1)
        for m in (1, 2, 4, 8, 17)
        for rate, errors in seeds.items()
        for error in errors
    ]
    header = "permutation,samples,size,learning_rate,validation_error"
    (study / "trials.csv").write_text("\n".join([header, *lines]))
    curves = deep_curves.single_models(study)
    assert list(curves["curve"].unique()) == ["made-up, size 8"]
    assert list(curves["error"]) == pytest.approx([0.45 / m for m in (1, 2, 4, 8, 17)])
    assert len(deep_curves.fitted(curves, 2)) == 5
    assert deep_curves.fitted(curves, 4).empty
    for name in ("deep_curves", "lcdb"):
        sys.modules.pop(name, None)


# ---------------------------------------------------------------- forecasts


@pytest.fixture
def forecasts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import forecasts

    yield forecasts
    for name in ("forecasts", "deep_curves", "lcdb"):
        sys.modules.pop(name, None)


def test_a_forecast_is_scored_by_hand(forecasts: Any) -> None:
    """Two places: one 0.1 too high inside its interval, one 0.2 above the upper end of its own."""
    places = np.array([8.0, 16.0])
    task = forecasts.Task("s", "c", "g", np.ones(3), np.ones(3), places, np.exp([0.0, 0.5]))
    found = forecasts.scored(task, np.array([[-0.1, 0.1, 0.3], [-0.1, 0.0, 0.3]]))
    assert found["error"] == pytest.approx((0.1 + 0.5) / 2)
    assert found["bias"] == pytest.approx((0.1 - 0.5) / 2)
    assert (found["holds"], found["below"]) == (0.5, 0.5)
    assert found["width"] == pytest.approx(0.4)
    assert found["interval score"] == pytest.approx(0.4 + 20 * 0.2 / 2)


def test_lines_of_the_forecast_table_on_a_power_law(forecasts: Any) -> None:
    m, at = 100 * 2.0 ** np.arange(6), np.array([12800.0])
    task = forecasts.Task("s", "c", "g", np.repeat(m, 2), np.repeat(m, 2) ** -0.3, at, at**-0.3)
    assert forecasts.slope_continued(task)[0, 1] == pytest.approx(-0.3 * np.log(12800))
    damped = -0.3 * (np.log(3200) + 0.7 * np.log(4))
    assert forecasts.damped_line(task)[0, 1] == pytest.approx(damped)


def test_every_source_of_the_forecast_table_hides_what_it_scores(forecasts: Any) -> None:
    seen: dict[str, int] = {}
    for task in forecasts.all_tasks():
        seen[task.source] = seen.get(task.source, 0) + 1
        reach = float(task.at.min() / task.samples.max())
        told = task.source.rpartition(" ")[2].rstrip("x")
        assert reach >= (0.97 * float(told) if told.isdigit() else 1.0)
    assert {name: seen[name] for name in ("alab", "sft 2x", "lcdb 4x", "rows 8x")} == {
        "alab": 45,
        "sft 2x": 14,
        "lcdb 4x": 160,
        "rows 8x": 60,
    }
