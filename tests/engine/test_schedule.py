"""The grid of evaluations: properties over all stop rules and epoch lengths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from steep.engine.schedule import evaluation_steps, without_improvement
from steep.spec.sections import Stop

STOPS = st.builds(
    Stop,
    evaluations=st.integers(1, 25),
    patience=st.integers(1, 9),
    ratio=st.floats(1.01, 4),
    first=st.none() | st.integers(1, 500),
    max_steps=st.none() | st.integers(1, 10_000),
)


@given(STOPS, st.integers(1, 100_000))
def test_grid(stop: Stop, steps_per_epoch: int) -> None:
    steps = evaluation_steps(stop, steps_per_epoch)
    assert all(isinstance(step, int) and step >= 1 for step in steps)
    assert list(steps) == sorted(set(steps))
    if stop.max_steps is None:
        assert len(steps) == 2 * stop.evaluations
    else:
        assert steps[-1] <= stop.max_steps
        assert 1 <= len(steps) <= 2 * stop.evaluations


@given(st.integers(1, 10_000))
def test_grid_is_geometric_from_its_first_step(steps_per_epoch: int) -> None:
    steps = evaluation_steps(Stop(ratio=2.0), steps_per_epoch)
    assert steps[0] == round(8 * steps_per_epoch**0.5)
    assert all(abs(late / early - 2) < 0.2 for early, late in pairwise(steps))


def test_a_lower_cap_is_itself_evaluated() -> None:
    assert evaluation_steps(Stop(first=10, ratio=2.0, max_steps=50), 1) == (10, 20, 40, 50)
    assert evaluation_steps(Stop(first=10, ratio=2.0, max_steps=40), 1) == (10, 20, 40)
    assert evaluation_steps(Stop(first=10, max_steps=4), 1) == (4,)


def test_creeping_counts_until_something_is_learnt() -> None:
    """A deep recurrent model by SGD stays at the unigram's 3.07 nats for some hundred steps before
    it learns; ending it there had made whole sizes of a study worthless."""
    stuck = [3.188, 3.124, 3.099, 3.085, 3.080, 3.076, 3.0745, 3.0727, 3.0726]
    asking = Stop(improvement=0.01)
    assert without_improvement(asking, stuck) == 5
    assert without_improvement(asking, stuck, 3.07) == 0
    assert without_improvement(asking, [*stuck, 3.08, 3.0726], 3.07) == 2
    learns = [*stuck, 2.72, 2.71, 2.70, 2.5]
    since = [without_improvement(asking, learns[:n], 3.07) for n in range(9, 14)]
    assert since == [0, 0, 1, 2, 0]
    never = [without_improvement(Stop(), learns[:n], 3.07) for n in range(1, 14)]
    assert never == [0] * 13


def test_creeping_down_is_no_improvement() -> None:
    """2 % in all, never 1 % at once from the last that counted, until it has added up to it."""
    errors = [0.500, 0.498, 0.496, 0.494]
    plain, asking = Stop(), Stop(improvement=0.01)
    assert [without_improvement(plain, errors[:n]) for n in range(5)] == [0, 0, 0, 0, 0]
    assert [without_improvement(asking, errors[:n]) for n in range(5)] == [0, 0, 1, 2, 0]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=30))
def test_by_default_patience_counts_from_the_first_lowest(errors: list[float]) -> None:
    assert without_improvement(Stop(), errors) == len(errors) - 1 - errors.index(min(errors))
