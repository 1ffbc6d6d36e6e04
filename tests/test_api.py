"""The Python API as a user meets it: names, texts as on the command line, reprs, pages."""

from __future__ import annotations

import math
import subprocess
import sys
import wave
from pathlib import Path

import pytest

import steep
from steep.records import Fit

SIZES = [1000.0 * 2**k for k in range(6)]
ERRORS = [3.0 * m**-0.3 for m in SIZES]


@pytest.fixture(scope="module")
def fit() -> Fit:
    return steep.fit(samples=SIZES, error=ERRORS)


def test_dir_shows_the_public_names_only() -> None:
    assert set(dir(steep)) == {*steep.__all__, "__version__"}


def test_sizes_and_errors_read_as_on_the_command_line(fit: Fit) -> None:
    assert list(fit.predict("10x").samples) == [320_000]
    assert list(fit.predict(["2x", "1e6", "2M", 500]).samples) == [64_000, 1e6, 2e6, 500]
    assert fit.samples_for("5%") == fit.samples_for(0.05)
    with pytest.raises(ValueError, match="10x"):
        fit.predict("ten")
    with pytest.raises(ValueError, match="5%"):
        fit.samples_for("five percent")


def test_accuracies_are_fitted_as_their_errors(fit: Fit) -> None:
    told = steep.fit(samples=SIZES, error=[100 * (1 - e) for e in ERRORS], higher_is_better=True)
    assert told.beta_g is not None
    assert fit.beta_g is not None
    assert told.beta_g.value == pytest.approx(fit.beta_g.value, abs=1e-6)
    with pytest.raises(ValueError, match="higher_is_better"):
        steep.fit(points=fit.points, higher_is_better=True)


def test_what_a_target_takes_is_answered_in_its_metric() -> None:
    """In the metric of the question, an open end as inf, and in a sentence."""
    told = steep.fit({"samples": SIZES, "accuracy": [1 - e for e in ERRORS]}, y="accuracy")
    found = told.samples_for("99%")
    assert (found.metric, found.target, found.outcome) == ("accuracy", 0.99, "ok")
    assert repr(found).startswith("<Accuracy 99 % needs ")
    assert repr(found).endswith(" the data)>")
    reached = told.samples_for(0.8)
    assert reached.outcome == "already reached"
    assert "accuracy 80 % is reached at" in repr(reached).lower()
    floor = [0.2 + 5 * m**-0.5 for m in SIZES]
    never = steep.fit(samples=SIZES, error=floor).samples_for(0.1)
    assert (never.target, never.samples, never.upper) == (0.1, math.inf, math.inf)
    assert "10 % is not reachable" in repr(never)
    partly = steep.fit(samples=SIZES[:4], error=[0.5, 0.4, 0.33, 0.29]).samples_for(0.25)
    assert partly.upper == math.inf
    assert "no limit]" in repr(partly)


def test_an_accuracy_is_asked_for_and_answered_as_one(fit: Fit) -> None:
    told = steep.fit({"samples": SIZES, "accuracy": [1 - e for e in ERRORS]}, y="accuracy")
    errors = told.predict(["2x", 320_000], as_error=True)
    frame = told.predict(["2x", 320_000])
    assert list(frame.columns) == ["samples", "accuracy", "lower", "upper"]
    assert frame.accuracy.tolist() == pytest.approx((1 - errors.error).tolist())
    assert frame.lower.tolist() == pytest.approx((1 - errors.upper).tolist())
    assert (frame.lower <= frame.accuracy).all()
    assert list(fit.predict("2x").columns) == ["samples", "error", "lower", "upper"]
    (goal,) = steep.forecast(told, target=0.97).targets
    assert goal == steep.forecast(told, target=["97%"]).targets[0]
    assert goal.target == pytest.approx(0.03)
    assert told.samples_for(0.97) == told.samples_for("97%")
    assert told.samples_for(0.97).samples == goal.samples
    assert goal.samples == pytest.approx((0.03 / 3) ** (1 / -0.3), rel=0.1)
    with pytest.raises(ValueError, match="at most 100 %"):
        steep.forecast(told, target="103%")


def test_a_forecast_takes_one_value_or_several_as_on_the_command_line(fit: Fit) -> None:
    at = steep.forecast(fit, at=["10x", "1,000,000", 500], target="5%").at
    assert [a.samples for a in at] == [320_000, 1e6, 500]
    assert steep.forecast(fit, at="10x").at == steep.forecast(fit, at=320_000).at == at[:1]
    assert steep.forecast(fit).at == ()
    with pytest.raises(ValueError, match="10x"):
        steep.forecast(fit, at="ten")


def test_accuracies_are_compared_with_error_rates(fit: Fit) -> None:
    told = steep.fit({"samples": SIZES, "accuracy": [1 - e for e in ERRORS]}, y="accuracy")
    found = steep.compare({"error": fit, "accuracy": told})
    assert found.metric == "error"
    assert found.pairs[0].verdict == "same exponent"
    loss = steep.fit(samples=SIZES, error=ERRORS, metric="cross_entropy")
    with pytest.raises(ValueError, match="different metrics"):
        steep.compare({"loss": loss, "accuracy": told})


def test_reprs_are_short_and_say_what_is_in_it(fit: Fit) -> None:
    forecast = steep.forecast(fit, at=[320_000], target=[0.05])
    comparison = steep.compare({"a": fit, "b": fit})
    for value, word in ((fit, "beta_g"), (forecast, "10x the data"), (comparison, "same exponent")):
        assert word in repr(value)
        assert len(repr(value)) < 300
        assert "<" in value._repr_html_()
    assert "<svg" in fit._repr_html_()
    assert "var(" not in fit._repr_html_()  # a notebook has no style sheet of ours
    assert repr(steep.fit(samples=[1, 2], error=[0.5, 0.4])).startswith("<Fit: too few points")


def test_a_fit_has_a_page(fit: Fit, tmp_path: Path) -> None:
    page = steep.report(fit, path=tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == page
    assert "<h2>Back-test" in page
    both = steep.report({"one": fit, "two": fit})
    assert "<h2>one" in both
    assert "<h2>two" in both
    with pytest.raises(ValueError, match="not of int"):
        steep.report(3)  # type: ignore[arg-type]


PARQUET = "import steep; steep.read('a.parquet')"
PLOT = "import steep; steep.fit(samples=[1,2,4,8], error=[.5,.4,.3,.2]).plot()"
MAIN = "import sys; from steep.cli.app import main; sys.argv = ['steep', *{0!r}.split()]; main()"
NEEDS = {
    "a plot": ("matplotlib", MAIN.format("fit t.csv --png a.png"), "plots"),
    "a figure in Python": ("matplotlib", PLOT, "plots"),
    "Parquet": ("pyarrow", MAIN.format("fit a.parquet"), "parquet"),
    "Parquet in Python": ("pyarrow", PARQUET, "parquet"),
    "torch to plan": ("torch", MAIN.format("plan spec.yaml"), "train"),
    "torch to run": ("torch", MAIN.format("run spec.yaml"), "train"),
    "torch in Python": ("torch", "import steep; steep.Study('spec.yaml').run()", "train"),
    "optuna": ("optuna", MAIN.format("plan optuna.yaml"), "optuna"),
    "optuna in Python": ("optuna", "import steep; steep.Study('optuna.yaml').run()", "optuna"),
    "audio": ("soundfile", MAIN.format("plan speech.yaml"), "speech"),
    "pictures in Python": ("PIL", "import steep; steep.Study('pictures.yaml').plan()", "train"),
    "audio in Python": ("soundfile", "import steep; steep.Study('speech.yaml').plan()", "speech"),
    "pictures": ("PIL", MAIN.format("plan pictures.yaml"), "train"),
}
ENGINE = "{family: {name: resnet, sizes: [2]}, shards: {smallest: 20}, split: {validation: 20}, "
SYNTHETIC = "{domain: {name: external, items: 900}, family: {sizes: [2, 4]}, shards: {smallest: 99}"


@pytest.mark.parametrize("case", NEEDS)
def test_a_missing_extra_is_one_sentence(case: str, tmp_path: Path) -> None:
    package, code, extra = NEEDS[case]
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "t.csv").write_text("samples,error\n1,.5\n2,.4\n4,.3\n8,.2\n")
    for label in ("a", "b"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(60):
            image.new("L", (8, 8), i).save(tmp_path / "pictures" / label / f"{i}.png")
    for i in range(99):
        with wave.open(str(tmp_path / f"a{i}.wav"), "wb") as clip:
            clip.setparams((1, 2, 8000, 0, "NONE", ""))
            clip.writeframes(bytes(16000))
    clips = [f'{{"audio": "a{i}.wav", "text": "one"}}\n' for i in range(99)]
    (tmp_path / "m.jsonl").write_text("".join(clips))
    data = Path(steep.__file__).parent / "data" / "fashion_mnist_14x14"
    bundled = f"domain: {{name: images, train: {data}/train-images-idx3-ubyte.gz}}"
    for name, text in {
        "spec": f"{ENGINE} study: s, {bundled}}}",
        "pictures": f"{ENGINE} study: p, domain: {{name: images, train: pictures}}}}",
        "speech": f"{ENGINE.replace('resnet', 'deepspeech2')} study: a, "
        "domain: {name: speech, train: m.jsonl}}",
        "optuna": f"{SYNTHETIC}, split: {{validation: 99}}, study: o, "
        "trainer: {name: synthetic}, "
        "search: {planner: optuna, hyperparameters: {learning_rate: [0.1, 0.2]}}}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    hidden = f"import sys; sys.modules[{package!r}] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == (1 if "Python" in case else 2), done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"{package}: pip install 'steep[{extra}]'" in last
    if "Python" not in case:
        assert "Traceback" not in done.stderr
