"""Searches cut anywhere: what is reported then is the best estimate, or withheld, and said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from steep.analysis.analyse import of_other_metric
from steep.analysis.size_laws import size_laws
from steep.contracts.planner import SearchSpace
from steep.fit import fit, points_of
from steep.forecast import forecast
from steep.planners import frugal
from steep.planners.history import seen
from steep.present import numbers, sentences
from steep.present.drawing import Points
from steep.present.sizes import error_by_size
from steep.questions.diagnose import diagnose
from steep.questions.search_summary import examine
from steep.records import (
    AHEAD,
    ONE_SEED,
    UNFINISHED,
    BestFit,
    Fit,
    ForecastPoint,
    Measurement,
    Shard,
    Status,
    Trial,
    settings,
)
from steep.select import median_variance, select
from steep.spec.load import load
from steep.stats.searched import ROUGH, UNSURE, with_size_curves
from steep.trainers import replay

STUDIES = Path(__file__).parents[2] / "studies"
TABLES = Path(__file__).parents[2] / "benchmarks" / "data"
SHARDS = [Shard(0, m, float(m), "images") for m in (100, 200, 400, 800)]


def run(
    samples: int, size: int, seed: int, error: float | None, rate: float = 0.1, status: str = ""
) -> Measurement:
    trial = Trial(0, samples, float(samples), size, settings({"learning_rate": rate}), seed)
    return Measurement(
        trial,
        Status(status or ("complete" if error else "diverged")),
        validation_error=error,
        parameters=100 * size**2,
        parameters_without_embeddings=100 * size**2,
    )


def error_of(samples: int, size: int) -> float:
    """Error falls with data and size, the larger the better, by a lot."""
    return 4.0 * samples**-0.3 * (16 / size) ** 0.4


def unfinished() -> list[Measurement]:
    """As a budget left it: two seeds of small models, one of the large ones that are better."""
    found = []
    for shard in SHARDS[:3]:
        m = shard.items
        for k, luck in enumerate((0.99, 1.01)):
            found += [run(m, size, k, luck * error_of(m, size)) for size in (2, 4)]
        found += [run(m, size, 0, error_of(m, size)) for size in (8, 16)]
    return found


def best(found: Sequence[Measurement]) -> tuple[BestFit, ...]:
    return with_size_curves(select(found, SHARDS, seeds=2), found)


def test_the_best_fit_of_an_unfinished_search_is_the_best_model_not_the_one_with_more_seeds() -> (
    None
):
    for b in best(unfinished()):
        assert b.best.size == 16
        assert b.best.score == pytest.approx(error_of(int(b.samples), 16))
        assert "incomplete" in b.flags


def test_what_is_diagnosed_of_it_follows_the_same_estimate() -> None:
    found = [*unfinished(), *(run(m, 16, 0, 1.3 * error_of(m, 16), 0.3) for m in (100, 200, 400))]
    kinds = {f.kind for f in diagnose(best_fits=best(found), measurements=found)}
    assert "unfinished" in kinds
    assert "plateau" not in kinds, "small models with two seeds are worse, not as good"
    assert "edge" not in kinds, "that no larger one was tried is for the search to mend"
    edges = [g for g in examine(best(found), found).grids if g.name == "learning_rate"]
    assert {g.value for g in edges} == {0.1}


@pytest.mark.parametrize(("status", "error"), [("diverged", None), ("stopped", 2.0)])
def test_a_value_tried_in_vain_beyond_the_best_is_no_edge(status: str, error: float | None) -> None:
    """Higher rates diverged or were stopped, on this shard or on the next: they were tried."""
    low = [run(m, 16, 0, 1.3 * error_of(m, 16), 0.03) for m in (100, 200, 400)]
    found = [*unfinished(), *low]
    assert {g.value for g in examine(best(found), found).grids} == {0.1}
    beyond = [run(m, 16, 0, error, 0.3, status) for m in (100, 400)]
    assert examine(best([*found, *beyond]), [*found, *beyond]).grids == ()


def test_the_star_of_error_against_size_is_on_the_best_fit() -> None:
    found = best(unfinished())
    drawing = error_by_size(found, numbers.scale("cross_entropy", 1.0))
    assert drawing is not None
    (star,) = (p for p in drawing.layers if isinstance(p, Points) and p.marker == "star")
    assert star.y == tuple(min(c.score for c in b.candidates) for b in found)
    assert star.legend == "best fit"


def test_a_shard_of_which_too_little_is_known_is_withheld() -> None:
    """One model of many, with nothing to compare: kept and flagged, in no law, with a sentence."""
    found = [*unfinished(), run(800, 2, 0, error_of(800, 2))]
    last = best(found)[-1]
    assert last.samples == 800
    assert last.withheld
    assert "withheld" in last.flags
    assert last.size_curve is not None
    assert last.size_curve.leftover > UNSURE
    assert [p.used for p in points_of(best(found))] == [True, True, True, False]
    assert dict(size_laws([last]))["smallest adequate"].outcome == "not measured"
    said = [
        f for f in diagnose(best_fits=best(found), measurements=found) if f.kind == "unfinished"
    ]
    assert [f.severity for f in said] == ["serious", "warning"]
    assert said[0].where == "800 images"


def test_a_held_out_point_is_withheld_while_the_largest_searched_shard_is() -> None:
    """With small budgets its model was predicted from a shard where hardly anything was tried, was
    far too small, and forecasts excluded the truth."""
    held = Shard(0, 1600, 1600.0, "images", held_out=True)

    def last(found: list[Measurement]) -> BestFit:
        found = [*found, run(1600, 2, 0, error_of(1600, 2)), run(1600, 2, 1, error_of(1600, 2))]
        return with_size_curves(select(found, [*SHARDS, held], seeds=2), found)[-1]

    open_ = last([*unfinished(), run(800, 2, 0, error_of(800, 2))])
    assert (open_.held_out, open_.withheld) == (True, "its search is not finished")
    assert not points_of([open_])[0].used
    enough = [run(800, size, k, error_of(800, size)) for size in (8, 16) for k in (0, 1)]
    assert not last([*unfinished(), *enough]).withheld


def test_where_too_few_would_be_left_a_rough_point_is_better_than_none() -> None:
    """Kept out beside three others, taken beside two, with what its model may lose in its error;
    one of which hardly anything is known is kept out even then."""
    found = [*unfinished(), run(800, 8, 0, error_of(800, 8))]
    last = best(found)[-1]
    assert last.size_curve is not None
    assert UNSURE < last.size_curve.leftover < ROUGH
    assert last.withheld
    fewer = [m for m in found if m.trial.samples != 200]
    rough = best(fewer)[-1]
    assert rough.size_curve is not None
    assert not rough.withheld
    assert "rough" in rough.flags
    points = points_of(best(fewer))
    assert [p.used for p in points] == [True, True, True]
    assert (points[-1].se_log or 0.0) > rough.size_curve.leftover > UNSURE
    truth = error_of(800, 16)
    assert abs(math.log(points[-1].error / truth)) < 2.6 * (points[-1].se_log or 0.0)
    rated = [replace(b, metrics=settings({"error": b.best.score / 3})) for b in best(fewer)]
    others = of_other_metric(points, rated, "error")
    assert [p.se_log for p in others] == [p.se_log for p in points]
    assert others[0].error == pytest.approx(points[0].error / 3)
    whole = [replace(b, metrics=settings({"error": 0.1})) for b in best(unfinished())]
    assert all(p.se_log is None for p in of_other_metric(points_of(whole), whole, "error"))
    bad = [*(m for m in unfinished() if m.trial.samples != 200), run(800, 2, 0, error_of(800, 2))]
    assert best(bad)[-1].withheld


def test_a_shard_whose_best_model_is_behind_a_stopped_trial_is_withheld() -> None:
    """480 images: 1.28 with size 2 was a point of the fit although size 8, stopped early, had 1.19
    already."""
    whole = [run(m, 8, k, error_of(m, 8)) for m in (100, 200, 400, 800) for k in (0, 1)]
    small = [run(m, 4, k, error_of(m, 4)) for m in (100, 200, 400, 800) for k in (0, 1)]
    ahead = run(800, 16, 0, error_of(800, 12), status="stopped")
    found = [*whole, *small, ahead]
    last = best(found)[-1]
    assert last.withheld == AHEAD
    (said,) = [f for f in diagnose(best_fits=best(found), measurements=found)
               if f.kind == "unfinished"]  # fmt: skip
    assert said.where == "800 images"
    assert said.evidence.startswith("A trial that was stopped had a lower error already")
    # of two others it is a point, as far off as it may be
    few = [m for m in found if m.trial.samples > 200]
    rough = best(few)[-1]
    assert rough.size_curve is not None
    assert (rough.withheld, "rough" in rough.flags) == ("", True)
    assert rough.size_curve.score_se > math.log(error_of(800, 8) / error_of(800, 12))


def test_where_one_seed_is_all_that_is_wanted_it_is_the_seed_that_does_not_say() -> None:
    """A search that has come to its end is not called unfinished: nothing is left to run."""
    found = [*unfinished(), run(800, 2, 0, error_of(800, 2))]
    requests = with_size_curves(select(found, SHARDS, seeds=1), found)
    (last,) = [b for b in requests if b.withheld]
    assert (last.samples, last.withheld) == (800, ONE_SEED)
    (said,) = [f for f in diagnose(best_fits=requests, measurements=found) if f.kind == "one seed"]
    assert said.evidence.startswith("Each model was trained once: a better model may yet take more")
    assert said.next_step.startswith("search.seeds: 2 or more")
    assert not any(f.kind == "unfinished" for f in diagnose(best_fits=requests, measurements=found))


LADDER = (2, 4, 8, 16)


def searched(found: Sequence[Measurement], seeds: int = 2) -> tuple[BestFit, ...]:
    return with_size_curves(select(found, SHARDS, seeds=seeds), found, ladder=LADDER)


def test_a_shard_whose_only_size_has_all_its_seeds_is_withheld_while_larger_ones_are_untried() -> (
    None
):
    """Smaller shards show what a larger model gains: two seeds are not the end of its search."""
    found = [run(m, size, k, (0.99, 1.01)[k] * error_of(m, size))
             for m in (100, 200, 400) for size in LADDER for k in (0, 1)]  # fmt: skip
    found += [run(800, 2, k, error_of(800, 2)) for k in (0, 1)]
    *others, last = searched(found)
    assert not any(b.withheld for b in others)
    assert last.withheld == UNFINISHED
    (said,) = [f for f in diagnose(best_fits=searched(found), measurements=found)
               if f.kind == "unfinished"]  # fmt: skip
    assert said.where == "800 images"
    finished = [*found, *(run(800, z, k, error_of(800, z)) for z in (4, 8, 16) for k in (0, 1))]
    assert not any(b.withheld for b in searched(finished))


def test_what_larger_models_may_gain_that_no_shard_has_tried_is_in_the_points_error() -> None:
    """Of a ladder to 16 nothing above 4 was trained: models of 8 are a quarter better."""
    found = [run(m, size, 0, error_of(m, size)) for m in (100, 200, 400, 800) for size in (2, 4)]
    for point in points_of(searched(found)):
        m = int(point.samples)
        off = point.log_best - math.log(error_of(m, 8))
        assert point.regret > 0.05
        assert point.se_log is not None, "without repeated seeds too"
        assert 0 < off < 1.645 * point.se_log


def test_where_no_shard_compares_sizes_all_are_withheld() -> None:
    """One size on each, not the same: nothing says what other sizes would do."""
    found = [run(m, size, 0, error_of(m, size)) for m, size in ((100, 2), (200, 2), (400, 4))]
    assert [b.withheld for b in searched(found)] == [UNFINISHED] * 3


def test_one_fixed_model_has_nothing_to_search_and_is_never_withheld() -> None:
    found = [run(m, 4, 0, error_of(m, 4)) for m in (100, 200, 400, 800)]
    assert not any(b.withheld for b in with_size_curves(select(found, SHARDS, seeds=2), found, 1))
    alone = with_size_curves(select(found, SHARDS, seeds=2), found, 12)
    assert all(b.withheld for b in alone), "one of twelve candidates"


def test_the_headline_says_that_the_search_is_unfinished(made_study: object) -> None:
    analysis = made_study.analysis  # type: ignore[attr-defined]
    assert sentences.unfinished_sentence(analysis) == ""
    first, second, _, *rest = analysis.best_fits
    few = replace(first, flags=("incomplete",))
    open_ = replace(second, flags=("incomplete", "withheld"), withheld="its search is not finished")
    said = sentences.unfinished_sentence(replace(analysis, best_fits=(few, open_, *rest)))
    assert said == (
        "The search is unfinished: 1 of 6 shards has fewer seeds than requested; at 250 images too "
        "few trials ended to choose the best model: in the fit as an upper bound; no model has "
        "finished training on 500 images."
    )
    lines = sentences.study_lines(replace(analysis, best_fits=(few, open_, *rest)))
    assert lines[1] == said
    once = replace(second, flags=("withheld",), withheld=ONE_SEED)
    made = replace(analysis, best_fits=(first, once, *analysis.best_fits[2:]))
    assert sentences.unfinished_sentence(made) == (
        "At 250 images one seed is too few to choose the best model: in the fit as an upper bound."
    )


# ---------------------------------------------------------------- the log of a real search, cut


@cache
def table(name: str) -> dict[tuple[float, int, float], tuple[Measurement, ...]]:
    """The trials of a measured grid, one a seed, by (samples, size, rate)."""
    path = TABLES / f"{name}.csv.gz"
    found: dict[tuple[float, int, float], list[Measurement]] = {}
    for measured in (
        m for ms in replay.read(path, path.stat().st_mtime).configs.values() for m in ms
    ):
        from steep.testing import MemoryHandle

        whole = replay.replayed(measured, measured.trial, MemoryHandle())
        found.setdefault(place(measured.trial), []).append(whole)
    return {at: tuple(sorted(ms, key=lambda m: m.trial.seed)) for at, ms in found.items()}


def place(trial: Trial) -> tuple[float, int, float]:
    return trial.samples, trial.size, float(trial.hyperparameter("learning_rate") or 0)


def log_of(name: str, seeds: int, shuffling: int) -> tuple[list[Measurement], list[Shard]]:
    """What a search of the table brings, in order, with the seeds of every cell shuffled."""
    random = np.random.default_rng(shuffling)
    cells = {at: [ms[k] for k in random.permutation(len(ms))] for at, ms in table(name).items()}
    spec = load(STUDIES / f"{name}.yaml").spec
    changed = {"planner": "frugal", "seeds": seeds, "confirm": 0}
    spec = spec.model_copy(update={"search": spec.search.model_copy(update=changed)})
    shards = [Shard(0, round(m), m, "units") for m in sorted({at[0] for at in cells})]
    known: dict[Trial, Measurement] = {}
    events = []
    while requests := frugal.plan(SearchSpace(spec, tuple(shards)), list(known.values()), (), None):
        for request in requests:
            whole = replace(cells[place(request.trial)][request.trial.seed], trial=request.trial)
            known[request.trial] = seen(whole, request.up_to_steps)
            events.append(known[request.trial])
    return events, shards


def answers(
    events: Sequence[Measurement], shards: Sequence[Shard], seeds: int
) -> tuple[tuple[BestFit, ...], Fit, tuple[ForecastPoint, ...]]:
    found = list({m.trial: m for m in events}.values())
    fits = with_size_curves(select(found, shards, seeds=seeds), found)
    law = fit(points=points_of(fits), intervals=False)
    places = [4 * shards[-1].samples, 10 * shards[-1].samples]
    return fits, law, forecast(law, at=places, level=0.9).at if law.outcome == "ok" else ()


@pytest.mark.parametrize(
    ("name", "seeds", "shuffling"),
    [
        ("images-grid", 2, 1),
        pytest.param("images-grid", 2, 2, marks=pytest.mark.slow),
        pytest.param("characters-grid", 2, 1, marks=pytest.mark.slow),
        pytest.param("characters-rhn10-adam", 1, 1, marks=pytest.mark.slow),
    ],
)
def test_a_search_cut_anywhere_reports_what_it_will_report_in_the_end(
    name: str, seeds: int, shuffling: int
) -> None:
    """At every trial: no best fit is worse than the best finished trial of its shard by more than
    the interval of such a trial and its own. At a few: the law and its forecasts, where there are
    any, hold what the finished search says."""
    events, shards = log_of(name, seeds, shuffling)
    for k in range(1, len(events) + 1):
        found = list({m.trial: m for m in events[:k]}.values())
        for b in select(found, shards, seeds=seeds):
            ended = [m for m in found if m.trial.samples == b.samples and m.status == "complete"]
            lowest = min(m.validation_error or math.inf for m in ended)
            own = 0.0 if b.seed_se is None else b.seed_se / b.best.score
            one = own / math.sqrt(median_variance(len(b.best.seeds)))
            assert math.log(b.best.score / lowest) <= 1e-9 + 2.6 * math.hypot(own, one)
    _, whole, told = answers(events, shards, seeds)
    assert whole.beta_g is not None
    held = []
    for k in np.linspace(0.3, 0.95, 6) * len(events):
        _, law, at = answers(events[: int(k)], shards, seeds)
        if law.beta_g is not None:
            g = law.beta_g
            held.append((g.lower or -9.0) <= (whole.beta_g.value or 0.0) <= (g.upper or 9.0))
            held += [a.lower <= b.error <= a.upper for a, b in zip(at, told, strict=True)]
    assert len(held) >= 6
    assert np.mean(held) >= 0.85
