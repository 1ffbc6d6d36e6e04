"""The whole pipeline on a known truth, and what must hold when it is stopped, repeated, changed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tiny
from steep import Study
from steep.analysis.analyse import Facts, analyse
from steep.contracts.executor import Kind
from steep.contracts.planner import SearchSpace
from steep.plan import clock
from steep.planners import grid
from steep.records import Analysis, Measurement, Status, Trial, settings
from steep.shards import ShardsError, trial_items
from steep.spec.load import SpecError
from steep.store import lease
from steep.store.database import Decision
from steep.store.store import Store
from steep.testing import MemoryHandle
from steep.train import StudyFailed
from steep.trainers import synthetic
from steep.trainers.synthetic import Truth


@pytest.fixture(scope="module")
def registered_by() -> dict[str, int]:
    """How many forecasts were registered when each trial of ``finished`` started."""
    return {}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, registered_by: dict[str, int]) -> Study:
    """One study, run to its end. Tests only read it."""
    study = Study(tiny.spec({"item_noise": 0.2}), tmp_path_factory.mktemp("finished") / "study")

    def observe(event: Any) -> None:
        if event.kind == Kind.STARTED:
            with study.store() as store:
                registered_by[event.trial] = len(store.decisions("forecast"))

    assert study.run(observe=observe).word == "complete"
    return study


def outcomes(study: Study) -> dict[str, tuple[Any, ...]]:
    return {
        m.trial.id: (m.trial, m.status, m.validation_error, m.weights_hash)
        for m in study.measurements()
    }


# ---------------------------------------------------------------- a known truth


def searched(values: dict[str, Any]) -> tuple[Study, list[Measurement]]:
    """Every measurement of a study's search, without a store."""
    study = Study(values, "nowhere")
    train = synthetic.open_trainer(study.loaded, study.domain)
    finished: list[Measurement] = []
    while requests := grid.plan(study.search_space, finished, (), None):
        finished += [
            train(w.trial, trial_items(study.cut, w.trial), MemoryHandle()) for w in requests
        ]
    return study, finished


def analysed(study: Study, measurements: list[Measurement]) -> Analysis:
    sizes = {s: synthetic.cost(study.loaded, study.domain, s) for s in range(1, 200)}
    facts = Facts(
        study.spec, study.cut.shards, "items", "error", ("error",), {}, study.cut.validation_group,
        {s: (c.parameters, c.flops) for s, c in sizes.items() if c},
    )  # fmt: skip
    return analyse(facts, measurements, lambda trial: None)


def test_the_exponents_of_the_truth_are_found() -> None:
    """Intervals of 90 % from eight studies: more than half of them must hold the truth, which
    eight honest ones fail to do once in 2000 times."""
    found_g, found_p = [], []
    for smallest in range(125, 133):  # other trials, hence other noise
        values = tiny.spec(
            {"beta_g": -0.35, "beta_p": 0.6, "seed_noise": 0.01, "sigma": 90.0},
            family={"sizes": [2, 3, 4, 5, 6, 8, 10, 12, 16, 24]},
            shards={"smallest": smallest},
        )
        analysis = analysed(*searched(values))
        beta_g = analysis.curves[0].fit.beta_g
        beta_p = dict(analysis.size_laws)["lowest score"].beta_p
        assert beta_g is not None
        assert beta_p is not None
        assert beta_g.value == pytest.approx(-0.35, abs=0.02)
        assert beta_p.value == pytest.approx(0.6, abs=0.15)
        found_g.append(beta_g.lower <= -0.35 <= beta_g.upper)
        found_p.append(beta_p.lower <= 0.6 <= beta_p.upper)
    assert sum(found_g) > 4, found_g
    assert sum(found_p) > 4, found_p


def test_a_floor_is_seen_by_the_forecast() -> None:
    """Where the truth flattens, ten times the data is not what a straight line says."""
    values = tiny.spec({"floor": 0.25, "seed_noise": 0.003, "beta_g": -0.5})
    study, measurements = searched(values)
    at = {round(a.factor): a for a in analysed(study, measurements).curves[0].forecast.at}
    truth = Truth(synthetic.Options.model_validate(study.spec.trainer.options))
    assert at[10].lower <= truth.composite(40_000) * 1.1
    assert at[10].error > 0.22, "a straight line says 0.17"


def test_the_best_size_follows_the_truth(finished: Study) -> None:
    truth = Truth(synthetic.Options.model_validate(finished.spec.trainer.options))
    for best_fit in finished.analyse().best_fits:
        if best_fit.edge or best_fit.held_out:
            continue
        requests = truth.parameters(best_fit.samples)
        assert requests / 4 < best_fit.best.parameters < requests * 4


# ---------------------------------------------------------------- one whole run


def test_the_plan_bounds_what_is_run(finished: Study) -> None:
    planned = Study(finished.loaded, "elsewhere").plan()
    measurements = finished.measurements()
    low, high = len(planned.trials), planned.most_trials
    assert low <= len(measurements) - planned.held_out_trials <= high
    assert planned.flops is not None
    spent = sum(m.flops or 0 for m in measurements)
    assert planned.flops.low <= spent <= planned.flops.high
    assert not Path("elsewhere").exists(), "a plan writes nothing"


def test_a_run_of_a_world_where_bigger_is_better_stays_within_the_plan() -> None:
    values = tiny.spec({"beta_p": 0.9, "sigma": 100.0, "seed_noise": 0.001})
    study, measurements = searched(values)
    planned = study.plan()
    assert len(planned.trials) < len(measurements) <= planned.most_trials


def test_the_forecast_was_registered_before_the_held_out_shard_was_trained(
    finished: Study, registered_by: dict[str, int]
) -> None:
    trials = {m.trial.id: m.trial.samples for m in finished.measurements()}
    assert set(registered_by) == set(trials)
    assert {registered_by[i] for i, samples in trials.items() if samples < 8000} == {0}
    assert {registered_by[i] for i, samples in trials.items() if samples == 8000} == {1}
    with finished.store() as store:
        (decision,) = store.decisions("forecast")
    payload = json.loads(decision.payload["confrontation"])
    assert payload["error"] is None, "registered with the truth already in it"


def test_the_held_out_shard_confronts_the_forecast(finished: Study) -> None:
    (met,) = finished.analyse().confrontations
    truth = Truth(synthetic.Options.model_validate(finished.spec.trainer.options))
    assert met.samples == 8000
    assert met.error == pytest.approx(truth.composite(8000), rel=0.2)
    assert met.inside is (met.forecast.lower <= met.error <= met.forecast.upper)
    held = [m for m in finished.measurements() if m.trial.samples == 8000]
    assert {m.trial.size for m in held} == {met.size}
    assert {m.trial.seed for m in held} == {0, 1}
    fit = finished.analyse().curves[0].fit
    (point,) = [p for p in fit.points if p.samples == 8000]
    assert (point.used, point.held_out) == (True, True), "measured, and so a point of the fit"


def test_the_study_knows_how_much_there_is_to_train_on(finished: Study) -> None:
    """Of which the largest shard is nearly all here: nothing beyond it is worth a forecast."""
    there = float(finished.items.size[finished.cut.orders[0]].sum())
    with finished.store() as store:
        assert store.decisions("facts")[-1].payload["training_samples"] == there
    assert there == len(finished.items.size) - len(finished.cut.validation) - len(finished.cut.test)
    assert there not in [a.samples for a in finished.analyse().curves[0].forecast.at]


def test_running_again_does_nothing(finished: Study) -> None:
    before = outcomes(finished)
    outcome = Study(finished.loaded, finished.folder).run()
    assert (outcome.word, outcome.ran) == ("complete", 0)
    assert outcomes(finished) == before
    with finished.store() as store:
        assert len(store.decisions("forecast")) == 1
        assert len(store.decisions("facts")) == 1


COLUMNS = """study domain family shard samples unit parameters parameters_without_embeddings seed
    learning_rate validation_error validation_error_se validation_loss test_error train_error steps
    evaluations flops seconds engine status"""


def test_the_results_are_files_that_others_can_read(finished: Study) -> None:
    folder = finished.folder / "results"
    trials = pd.read_csv(folder / "trials.csv")
    requests = COLUMNS.split()
    assert [c for c in trials.columns if c in requests] == requests
    assert len(trials) == len(finished.measurements()) == len(finished.results())
    assert set(trials["status"]) == {"complete"}
    best = pd.read_csv(folder / "best_fit.csv")
    assert best["samples"].tolist() == [125, 250, 500, 1000, 2000, 4000, 8000]
    assert best["held_out"].tolist() == [False] * 6 + [True]
    forecasts = pd.read_csv(folder / "forecasts.csv")
    assert {"samples", "error", "lower", "upper", "outcome"} <= set(forecasts.columns)
    fits = json.loads((folder / "fits.json").read_text())
    assert fits["confrontations"][0]["samples"] == 8000
    assert "<html" in (finished.folder / "report.html").read_text()


def test_the_best_fits_are_a_learning_curve_that_fit_reads(finished: Study) -> None:
    from steep.cli.answers import Source, fits_of

    (found,) = fits_of(Source(str(finished.folder / "results" / "best_fit.csv")))
    assert found.fit.outcome == "ok"
    assert found.fit.beta_g is not None
    assert found.fit.beta_g.value == pytest.approx(-0.3, abs=0.05)


def test_a_finished_study_opens_by_its_folder(finished: Study) -> None:
    again = Study.open(finished.folder)
    assert again.spec == finished.spec
    assert again.analyse(at=[123456.0], targets=[0.1]).curves[0].forecast.targets[0].target == 0.1
    asked = again.analyse(at=[123456.0]).curves[0].forecast.at
    assert 123456.0 in [a.samples for a in asked]


# ---------------------------------------------------------------- sizes that are no round multiples


def test_held_out_shards_of_any_size_are_forecast_and_trained(tmp_path: Path) -> None:
    values = tiny.spec(
        shards={"smallest": 250, "largest": 5300, "held_out": 2}, family={"sizes": [2, 4, 8]}
    )
    study = Study(values, tmp_path / "study")
    study.run()
    met = study.analyse().confrontations
    assert [c.samples for c in met] == [2000, 5300]
    assert all(c.error is not None for c in met)


def test_a_held_out_shard_of_which_nothing_can_be_forecast_is_measured_all_the_same(
    tmp_path: Path,
) -> None:
    """Two fitted shards bear no law; with the third there is one."""
    values = tiny.spec(shards={"smallest": 500, "largest": 2000, "held_out": 1})
    study = Study(values, tmp_path / "study")
    assert study.run().word == "complete"
    found = study.analyse()
    assert not found.confrontations
    held = [m for m in study.measurements() if m.trial.samples == 2000]
    best = next(b for b in found.best_fits if b.samples == 1000).best
    assert {m.trial.size for m in held} == {best.size}
    assert len(held) == study.spec.search.seeds
    assert [p.samples for p in found.curves[0].fit.used] == [500, 1000, 2000]
    assert study.run().ran == 0


# ---------------------------------------------------------------- stopped, resumed


SHORT = {"family": {"sizes": [2, 4, 8]}, "shards": {"smallest": 500, "held_out": 1}}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A shorter study, run to its end. Tests only read it."""
    study = Study(tiny.spec(**SHORT), tmp_path_factory.mktemp("short") / "study")
    study.run()
    return study


def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, short: Study) -> None:
    """The driver dies of an exception, as abruptly as an exception can."""

    class Killed(BaseException):
        pass

    seen = []

    def observe(event: Any) -> None:
        seen.append(event)
        if sum(e.kind == Kind.RESULT for e in seen) == 17:
            raise Killed

    stopped = Study(tiny.spec(**SHORT), tmp_path / "stopped")
    with pytest.raises(Killed):
        stopped.run(observe=observe)
    assert len(stopped.measurements()) < len(short.measurements())
    Study(tiny.spec(**SHORT), tmp_path / "stopped").run()
    assert outcomes(stopped) == outcomes(short)
    one, other = (pd.read_csv(s.folder / "results" / "best_fit.csv") for s in (stopped, short))
    pd.testing.assert_frame_equal(one, other)


def test_killed_while_the_folder_was_made(tmp_path: Path) -> None:
    study = Study(tiny.spec(**SHORT), tmp_path / "study")
    study.run(seconds=0)
    for path in (tmp_path / "study" / "shards").iterdir():
        path.unlink()
    again = Study(tiny.spec(**SHORT), tmp_path / "study")
    assert again.run().word == "complete"


def test_a_budget_of_nothing_trains_nothing_and_still_reports(tmp_path: Path) -> None:
    study = Study(tiny.spec(**SHORT), tmp_path / "study")
    outcome = study.run(seconds=0)
    assert outcome.word == "budget"
    assert study.measurements() == []
    assert (tmp_path / "study" / "report.html").exists()
    assert study.analyse().curves[0].fit.outcome == "too few points"
    assert study.analyse().confrontations == ()
    assert study.run(budget=1.0).word == "budget"
    assert study.run().word == "complete"


def test_the_specs_budget_is_of_all_runs_together(tmp_path: Path, short: Study) -> None:
    """The time of all runs counts, whatever they trained; of one that was killed, or goes on, until
    the last sign of life. A call's own budget goes in its place."""
    values = tiny.spec(**SHORT) | {"run": {"budget": "1m"}}
    study = Study(values, tmp_path / "study")

    def store(*told: tuple[float, str, float], beat: float = 0.0, ended: float = 0.0) -> Any:
        """Decisions (at, kind, seconds); the last beat on the clock, which began at 1000."""
        boots = {"run": {"boot": lease.boot_id(), "clock": 0.0}}
        decisions = []
        for at, kind, seconds in told:
            payload: dict[str, Any] = {"seconds": 0.0, "clock": seconds}
            if kind == "run":
                payload = boots["run"] | {"clock": at - 1000}
            if kind == "other boot":
                kind, payload = "run", {"boot": "x", "clock": 7.0}
            decisions.append(Decision(at, kind, payload))
        trials = {"t": SimpleNamespace(finished=ended)}
        return SimpleNamespace(
            decisions=lambda: decisions, trials=lambda: trials, last_beat=lambda since: beat
        )

    def left(*told: tuple[float, str, float], **signs: float) -> float | None:
        return clock.time_left(study, store(*told, **signs))

    assert clock.time_left(study, None) == left() == 60
    assert left((1000, "run", 0), (1025, "ran", 25)) == 35
    assert left((1000, "run", 0), (1025, "ran", 25), (2000, "run", 0), (2010, "ran", 10)) == 25
    assert left((1000, "run", 0), beat=12) == 48  # goes on, or was killed
    assert left((1000, "run", 0), beat=12, ended=1017.0) == 43
    assert left((1000, "run", 0), (1008, "run", 0), (1010, "ran", 2), beat=12) == 50
    assert left((1000, "other boot", 0), beat=999, ended=1030.0) == 30
    assert left((1000, "run", 0), (1090, "ran", 90)) == 0
    assert clock.time_left(short, store((1000, "run", 0), (1025, "ran", 25))) is None
    values["run"]["budget"] = "0.001s"
    study = Study(values, tmp_path / "study")
    assert study.run().word == "budget"
    assert study.measurements() == []
    assert study.run(seconds=600).word == "complete"
    assert study.run().word == "complete"


def test_a_study_where_everything_diverges_still_reports(tmp_path: Path) -> None:
    study = Study(tiny.spec({"diverges_above": 0.01}, **SHORT), tmp_path / "study")
    study.run()
    assert {m.status for m in study.measurements()} == {Status.DIVERGED}
    assert study.analyse().best_fits == ()
    assert (study.folder / "results" / "trials.csv").exists()
    json.loads((study.folder / "results" / "fits.json").read_text())


# ---------------------------------------------------------------- changed under way


@pytest.fixture
def begun(tmp_path: Path, short: Study) -> Study:
    """A copy of the short study, to be spoilt."""
    shutil.copytree(short.folder, tmp_path / "study")
    return Study(tiny.spec(**SHORT), tmp_path / "study")


def test_another_spec_is_refused_with_the_difference(begun: Study) -> None:
    before = {p: p.read_bytes() for p in begun.folder.rglob("*") if p.suffix in (".yaml", ".npy")}
    other = Study(tiny.spec({"a": 5.0}, **SHORT), begun.folder)
    with pytest.raises(SpecError) as caught:
        other.run()
    assert "trainer.a: was None, now 5.0" in str(caught.value)
    assert str(begun.folder) in str(caught.value)
    with pytest.raises(SpecError, match=r"trainer\.a"):
        other.run(extend=True)
    more = Study(tiny.spec(**(SHORT | {"search": {"seeds": 3}})), begun.folder)
    with pytest.raises(SpecError, match=r"search\.seeds: was 2, now 3(.|\n)*|--extend"):
        more.run()
    assert {p: p.read_bytes() for p in before} == before
    run = Study(tiny.spec(**(SHORT | {"run": {"lease": 33.0}})), begun.folder).run()
    assert run.ran == 0, "how it runs is not what it is"


@pytest.mark.parametrize(
    ("section", "keys", "is_new"),
    [
        ("family", {"sizes": [2, 4, 6, 8]}, lambda t: t.size == 6 or t.samples == 8000),
        ("shards", {"smallest": 500, "held_out": 1, "permutations": 2}, lambda t: t.permutation),
    ],
)
def test_extending_adds_trials_and_touches_none(
    begun: Study, section: str, keys: dict[str, Any], is_new: Any
) -> None:
    before = outcomes(begun)
    values = tiny.spec(**(SHORT | {section: keys}))
    more = Study(values, begun.folder)
    _ = more.search_space  # as the command line does, for its progress bar
    outcome = more.run(extend=True)
    after = outcomes(more)
    assert outcome.word == "complete"
    assert outcome.ran == len(after) - len(before) > 0
    assert {k: v for k, v in after.items() if k in before} == before
    assert all(is_new(v[0]) for k, v in after.items() if k not in before)
    assert Study.open(begun.folder).spec == more.spec
    assert Study(values, begun.folder).run().ran == 0


def test_appended_data_extends_the_curve(begun: Study) -> None:
    before = outcomes(begun)
    old = begun.analyse().confrontations
    values = tiny.spec(
        family={"sizes": [2, 4, 8]},
        domain={"items": 20_000},
        shards={"smallest": 500, "largest": 16_000, "held_out": 1},
    )
    more = Study(values, begun.folder)
    _ = more.search_space
    assert more.run(extend=True).word == "complete"
    after = outcomes(more)
    assert {k: v for k, v in after.items() if k in before} == before
    analysis = more.analyse()
    assert [b.samples for b in analysis.best_fits] == [500, 1000, 2000, 4000, 8000, 16_000]
    first, second = analysis.confrontations
    assert (first.samples, first.forecast) == (8000, old[0].forecast), "what was said stays said"
    assert first.error is not None
    assert (second.samples, second.error is not None) == (16_000, True)


def labelled(tmp_path: Path, labels: np.ndarray) -> dict[str, Any]:
    np.save(tmp_path / "y.npy", labels)
    return tiny.spec(domain={"items": 9000, "labels": str(tmp_path / "y.npy")}, **SHORT)


def test_changed_data_is_refused_and_named(tmp_path: Path) -> None:
    values = labelled(tmp_path, np.arange(9000) % 3)
    Study(values, tmp_path / "study").run(seconds=0)
    labelled(tmp_path, np.arange(9000) % 4)
    with pytest.raises(SpecError, match=r"y\.npy.*: changed since the study began"):
        Study(values, tmp_path / "study").run()


def test_data_and_spec_may_move_between_runs(tmp_path: Path) -> None:
    """The folder that relative paths start from is gone: a begun study goes on from the new one,
    and so do its workers, which read it in the study."""
    values = tiny.spec(domain={"items": 9000, "labels": "y.npy"}, **SHORT)
    values["run"] = {"executor": "local", "workers": 1}
    homes = [tmp_path / name for name in ("old", "new")]
    homes[0].mkdir()
    np.save(homes[0] / "y.npy", np.arange(9000) % 3)
    (homes[0] / "spec.yaml").write_text(json.dumps(values))
    study = Study(homes[0] / "spec.yaml", tmp_path / "study")
    planned = study.plan().flops
    assert planned is not None
    assert study.run(budget=planned.low / 4).word == "budget"
    before = outcomes(study)
    homes[0].rename(homes[1])
    moved = Study(homes[1] / "spec.yaml", tmp_path / "study")
    assert moved.run().word == "complete"
    after = outcomes(moved)
    assert len(after) > len(before) > 0
    assert before.items() <= after.items()


def test_data_that_shrank_is_refused(begun: Study) -> None:
    values = tiny.spec(domain={"items": 8900}, **SHORT)
    with pytest.raises((SpecError, ShardsError)):
        Study(values, begun.folder).run(extend=True)
    assert Study(tiny.spec(**SHORT), begun.folder).run().ran == 0, "the study is unharmed"


def test_a_tampered_shard_is_refused(begun: Study) -> None:
    path = begun.folder / "shards" / "order_0.npy"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardsError, match=r"order_0\.npy: altered"):
        Study(tiny.spec(**SHORT), begun.folder).run()


def test_a_study_whose_data_is_gone_can_still_be_asked(tmp_path: Path) -> None:
    values = labelled(tmp_path, np.arange(9000) % 3)
    Study(values, tmp_path / "study").run()
    (tmp_path / "y.npy").unlink()
    moved = (tmp_path / "study").rename(tmp_path / "moved")
    study = Study.open(moved)
    assert study.analyse().curves[0].fit.outcome == "ok"
    (moved / "report.html").unlink()
    assert study.report().exists()
    assert len(study.results()) > 20


# ---------------------------------------------------------------- draws of the data


def test_permutations_measure_what_the_draw_adds(tmp_path: Path) -> None:
    values = tiny.spec(
        {"draw_noise": 0.05, "seed_noise": 0.001},
        family={"sizes": [4, 8, 16]},
        shards={"smallest": 500, "held_out": 0, "permutations": 3},
        search={"seeds": 1, "extend": 0},
    )
    study = Study(values, tmp_path / "study")
    assert study.run().word == "complete"
    best = study.analyse().best_fits
    assert sorted({b.permutation for b in best}) == [0, 1, 2]
    logs: dict[float, list[float]] = {}
    for b in best:
        logs.setdefault(b.samples, []).append(math.log(b.best.score))
    spread = {m: float(np.std(v, ddof=1)) for m, v in logs.items()}
    assert spread[500] > 0.01, "three draws of 500 items differ by far more than the seeds"
    (point,) = [p for p in study.analyse().curves[0].fit.points if p.samples == 500]
    assert point.replicates == 3
    assert point.error == pytest.approx(math.exp(np.mean(logs[500])))


# ---------------------------------------------------------------- a user's own function


def own(shard: Any, size: int, seed: int, rate: float) -> dict[str, Any]:
    error = 2.0 * len(shard.train) ** -0.4 * (1 + 0.05 * abs(math.log(size / 4)) + rate)
    wrong = np.random.default_rng(seed).random(len(shard.validation)) < error
    return {"validation_error": error * (1 + 0.01 * seed), "parameters": size * 10, "items": wrong}


OWN = {
    "study": "own",
    "domain": {"name": "external", "items": 3000, "metric": "mistakes"},
    "family": {"sizes": [2, 4, 8]},
    "shards": {"smallest": 100, "largest": 1600, "held_out": 1},
    "split": {"validation": 200},
    "search": {"hyperparameters": {"rate": [0.1, 0.2]}},
}


def test_a_plain_callable_is_a_trainer(tmp_path: Path) -> None:
    study = Study(OWN, tmp_path / "study", trainer=own)
    assert study.plan().flops is None
    assert study.run().word == "complete"
    analysis = study.analyse()
    assert {b.best.size for b in analysis.best_fits if not b.held_out} == {4}
    # the lower rate is better, so that lower ones than those given are tried, too
    assert all(float(dict(b.best.hyperparameters)["rate"]) <= 0.1 for b in analysis.best_fits)
    beta_g = analysis.curves[0].fit.beta_g
    assert beta_g is not None
    assert beta_g.value == pytest.approx(-0.4, abs=0.02)
    assert analysis.metric == "mistakes"
    with study.store() as store:
        kept = store.items(study.measurements()[0].trial.id)
    assert kept is not None
    assert set(kept) == {"count", "mistakes"}
    assert study.run().ran == 0
    reopened = Study.open(study.folder)
    assert reopened.analyse().curves[0].fit.outcome == "ok"
    assert Study.open(study.folder, trainer=own).run().ran == 0
    with pytest.raises(SpecError, match="none is named: give it in Python"):
        reopened.run()


def test_a_percentage_or_a_negative_error_fails_at_the_first_try(tmp_path: Path) -> None:
    for number, words in ((95.0, "is it a percentage"), (-0.1, "cannot be negative")):
        values = OWN | {"domain": {"name": "external", "items": 3000}}
        study = Study(values, tmp_path / str(number), trainer=lambda *_, n=number, **__: n)
        with pytest.raises(StudyFailed, match=words) as failed:
            study.run()
        assert "Traceback" not in str(failed.value)
        with study.store() as store:
            tried = [row for row in store.rows() if row.attempts]
        assert tried
        assert all((row.status, row.attempts) == ("failed", 1) for row in tried)
        assert all(words in (row.reason or "") for row in tried)
        assert not study.analyse().best_fits


def test_a_callable_that_cannot_be_called_is_told_before_any_work(tmp_path: Path) -> None:
    def forgetful(shard: Any, size: int, seed: int) -> float:
        return 0.1

    with pytest.raises(SpecError, match="unexpected keyword argument 'rate'"):
        Study(OWN, tmp_path / "study", trainer=forgetful).run()
    values = OWN | {"search": {"hyperparameters": {"seed": [1, 2]}}}
    with pytest.raises(SpecError, match="seed cannot be a hyperparameter"):
        Study(values, tmp_path / "study", trainer=own).run()
    assert not (tmp_path / "study").exists()


FILE = """\
def train(shard, size, seed):
    return 2.0 * len(shard.train) ** -0.4 * (1 + 0.01 * seed + abs(size - 4) / 100)
"""


def test_a_function_in_a_file_runs_in_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "study.yaml").write_text(
        "study: mine\ndomain:\n  name: external\n  items: 1000\nfamily:\n  sizes: [4, 8]\n"
        "shards:\n  smallest: 100\n  largest: 400\nsplit:\n  validation: 50\n"
        "search:\n  seeds: 1\n  extend: 0\ntrainer:\n  name: function\n"
        "  function: mine.py:train\nrun:\n  executor: local\n  workers: 1\n"
    )
    study = Study(tmp_path / "study.yaml", tmp_path / "study")
    assert study.run().word == "complete"
    by_size = {m.trial.size: m.validation_error for m in study.measurements()}
    assert by_size[4] < by_size[8]
    broken = (tmp_path / "study.yaml").read_text().replace("mine.py", "none.py")
    (tmp_path / "broken.yaml").write_text(broken)
    with pytest.raises(SpecError, match=r"trainer.function \(line 17\): .*no file"):
        Study(tmp_path / "broken.yaml", tmp_path / "other").run()


@pytest.mark.slow
def test_the_digits_example_runs(tmp_path: Path) -> None:
    spec = Path(__file__).parent.parent / "examples" / "digits.yaml"
    study = Study(spec, tmp_path / "digits")
    assert study.run().word == "complete"
    beta_g = study.analyse().curves[0].fit.beta_g
    assert beta_g is not None
    assert -1 < beta_g.value < -0.1


# ---------------------------------------------------------------- small things


def test_trials_of_the_dry_run_are_those_of_the_run(finished: Study) -> None:
    planned = set(Study(finished.loaded, "elsewhere").plan().trials)
    ran = {m.trial for m in finished.measurements()}
    fitted = {t for t in planned if t.samples < 8000 and t.size in finished.spec.family.sizes}
    assert fitted <= ran


def test_the_problem_holds_no_held_out_shard(finished: Study) -> None:
    search_space: SearchSpace = finished.search_space
    assert max(s.samples for s in search_space.shards) == 4000
    assert settings({"learning_rate": 0.1}) == search_space.recipe


def test_a_read_only_look_writes_nothing(finished: Study) -> None:
    def seen() -> dict[str, bytes]:
        return {
            str(p): p.read_bytes() for p in finished.folder.rglob("*")
            if p.is_file() and "sqlite-" not in p.name
        }  # fmt: skip

    before = seen()
    finished.analyse()
    finished.results()
    with Store.open(finished.folder, read_only=True) as store:
        assert isinstance(store.rows()[0].trial, Trial)
    assert seen() == before
