"""What was read wrongly without a word: now right, said, or asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from steep import forecast as forecast_fit
from steep.cli.answers import Source, fits_of, forecasts_of
from steep.cli.app import app
from steep.cli.comparisons import comparison_of
from steep.fit import fit
from steep.present.sentences import slope_sentence
from steep.spec.load import QuestionError
from steep.tables.read import TableError, read

SIZES = [1000, 2000, 4000, 8000, 16000]
ERRORS = [0.4, 0.32, 0.256, 0.2048, 0.16384]


def write(path: Path, **columns: Any) -> str:
    pd.DataFrame(columns).to_csv(path / "t.csv", index=False)
    return str(path / "t.csv")


def steep(*options: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(options))
    said = (
        str(ended.exception)
        if ended.exception and not isinstance(ended.exception, SystemExit)
        else ""
    )
    return ended.exit_code, ended.stdout, ended.stderr + said


# ---------------------------------------------------------------- 1: pooling


def grid(noise: float = 0.0) -> pd.DataFrame:
    """Two data sets x two methods x two repeats, with slopes of their own."""
    laws = {("a", "tree"): -0.1, ("a", "net"): -0.2, ("b", "tree"): -0.3, ("b", "net"): -0.4}
    rows = [
        {"dataset": d, "method": m, "n": n, "rep": r, "error": 2 * n**slope * (1 + 0.01 * r)}
        for (d, m), slope in laws.items() for n in SIZES for r in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_rows_of_several_curves_are_not_averaged(tmp_path: Path) -> None:
    frame = grid()
    with pytest.raises(TableError, match="--by dataset,method separates them"):
        read(frame)
    with pytest.raises(TableError, match=r"'method' \(tree, net\).*--by dataset,method"):
        read(frame, by="dataset")
    with pytest.raises(ValueError, match="different curves"):
        fit(frame, x="n")
    for by in ("dataset,method", ("dataset", "method")):
        curves = read(frame, by=by).curves
        assert [c.name for c in curves] == ["a, tree", "a, net", "b, tree", "b, net"]
        slopes = [
            np.polyfit(np.log(c.columns["samples"]), np.log(c.columns["error"]), 1)[0]
            for c in curves
        ]
        assert slopes == pytest.approx([-0.1, -0.2, -0.3, -0.4])
    (pooled,) = read(frame, all_rows=True).curves
    assert len(pooled.columns["error"]) == 40
    assert any(
        n.startswith("Rows that differ in 'dataset' (a, b) and 'method' (tree, net) are pooled")
        for n in pooled.notes
    )


@pytest.mark.parametrize(
    ("column", "asked"),
    [
        ({"arch": ["x", "y"] * 5}, True),
        ({"noise_level": [0.0, 0.1] * 5}, True),
        ({"comparison": ["x", "y"] * 4 + ["x", "x"]}, True),
        ({"seed": [0, 1] * 5}, False),
        ({"fold": [1, 2] * 5}, False),
        ({"run": list("abcdefghij")}, False),
        ({"split": [0, 1] * 5}, False),
        ({"val_acc_at_5": [0.1, 0.2] * 5}, False),
        ({"seconds": [3, 4] * 5}, False),
        ({"host": ["x", "y"] * 5}, False),
        ({"wd_note": [f"text {i}" for i in range(10)]}, False),
    ],
)
def test_which_columns_tell_curves_apart(column: dict[str, list[Any]], asked: bool) -> None:
    table = {"n": np.repeat(SIZES, 2).tolist(), "error": np.repeat(ERRORS, 2).tolist(), **column}
    if asked:
        with pytest.raises(TableError, match=f"--by {next(iter(column))}"):
            read(table)
    else:
        assert len(read(table).curves[0].columns["error"]) == 10


def test_runs_for_a_joint_fit_are_of_one_family() -> None:
    table = {
        "tokens": [1e6, 1e7] * 4, "params": [1e3, 1e3, 1e4, 1e4] * 2,
        "loss": [3.0, 2.5, 2.8, 2.2] * 2,
    }  # fmt: skip
    for column, asked in (
        ({"arch": ["a"] * 4 + ["b"] * 4}, True),
        ({"chips": [1] * 4 + [8] * 4}, False),
    ):
        if asked:
            with pytest.raises(TableError, match="--by arch"):
                read({**table, **column}, every_size=True)
        else:
            (curve,) = read({**table, **column}, every_size=True).curves
            assert len(curve.columns["error"]) == 8
            assert "Rows differ in 'chips' (1, 8), too, and are taken together." in curve.notes


def test_curves_at_sizes_of_their_own_are_not_one(tmp_path: Path) -> None:
    table = {"n": [1, 2, 4, 8, 3, 5, 7, 9], "error": [0.5] * 8, "kind": ["a"] * 4 + ["b"] * 4}
    with pytest.raises(TableError, match="--by kind"):
        read(table)
    stages = {
        "n": [1, 2, 4, 8],
        "error": [0.5, 0.4, 0.3, 0.2],
        "stage": ["early"] * 2 + ["late"] * 2,
    }
    assert len(read(stages).curves) == 1


# ---------------------------------------------------------------- 2: units and scales


@pytest.mark.parametrize(
    ("name", "values", "unit"),
    [
        ("log10_tokens", np.log10(SIZES), "tokens"),
        ("log10(n)", np.log10(SIZES), "samples"),
        ("ln_samples", np.log(SIZES), "samples"),
        ("log2(images)", np.log2(SIZES), "images"),
        ("tokens_B", np.array(SIZES) / 1e9, "tokens"),
        ("n_train (k)", np.array(SIZES) / 1e3, "samples"),
        ("words_millions", np.array(SIZES) / 1e6, "words"),
        ("samples [M]", np.array(SIZES) / 1e6, "samples"),
        ("data_mb", np.array(SIZES) / 1e6, "bytes"),
    ],
)
def test_a_scale_in_the_name_is_applied_and_said(name: str, values: Any, unit: str) -> None:
    (curve,) = read({name: values, "error": ERRORS}).curves
    assert curve.columns["samples"] == pytest.approx(SIZES)
    assert curve.unit == unit
    assert any(
        note.startswith(f"Column {name!r} ") and ("logarithms" in note or "multiplied" in note)
        for note in curve.notes
    )
    (plain,) = read({name: values, "error": ERRORS}, x_scale="plain").curves
    assert plain.columns["samples"] == pytest.approx(list(values))


def test_model_sizes_have_scales_too() -> None:
    table = {"params_M": [1, 2, 4, 8, 16], "tokens_B": [n / 1e9 for n in SIZES], "loss": ERRORS}
    (curve,) = read(table).curves
    assert curve.columns["parameters"] == pytest.approx([1e6, 2e6, 4e6, 8e6, 16e6])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fraction", [0.05, 0.1, 0.2, 0.4, 0.8]),
        ("train_size", [0.05, 0.1, 0.2, 0.4, 0.8]),
        ("data_pct", [5, 10, 20, 40, 80]),
        ("% of training data", [5, 10, 20, 40, 80]),
        ("n", ["5%", "10%", "20%", "40 %", "80%"]),
        ("fraction", ["1/20", "1/10", "1/5", "2/5", "4/5"]),
    ],
)
def test_shares_are_multiples_of_the_data_set(name: str, values: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path, **{name: values, "error": ERRORS})
    (found,) = forecasts_of(Source(path), ["2x"], [])
    assert found.fit.unit == "times the data set"
    assert [p.samples for p in found.fit.points] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])
    assert found.forecast.at[0].samples == pytest.approx(1.6)
    assert found.forecast.at[0].error == pytest.approx(0.8 * ERRORS[-1], rel=0.05)


def test_logarithms_of_errors_and_perplexities() -> None:
    for name, values in (
        ("log10_loss", np.log10(ERRORS)), ("ln_error", np.log(ERRORS)),
        ("perplexity", np.exp(ERRORS)),
        ("val ppl", np.exp(ERRORS)),
    ):  # fmt: skip
        assert read({"n": SIZES, name: values}).curves[0].columns["error"] == pytest.approx(ERRORS)
    with pytest.raises(TableError, match="--y-scale log10 or ln"):
        read({"n": SIZES, "log_error": ERRORS})
    with pytest.raises(TableError, match="negative logarithms"):
        read({"n": SIZES, "-log10(error)": [1, 2, 3, 4, 5]})
    with pytest.raises(TableError, match="--y-scale log10 or ln"):
        read({"n": SIZES, "log_loss": np.log(ERRORS)})
    (curve,) = read({"n": SIZES, "log_loss": ERRORS}).curves
    assert curve.columns["error"] == ERRORS, "a loss of that name"
    assert any("not for a logarithm" in note for note in curve.notes)


def test_standard_errors_follow_their_errors_to_another_scale() -> None:
    """d log10 e = de / (e ln 10), and a perplexity's relative error is its logarithm's absolute
    one."""
    se = [0.01 * e for e in ERRORS]
    for name, values, given in (
        ("log10_error", np.log10(ERRORS), [0.01 / np.log(10)] * 5),
        ("ppl", np.exp(ERRORS), [s * np.exp(e) for s, e in zip(se, ERRORS, strict=True)]),
    ):
        (curve,) = read({"n": SIZES, name: values, "se": given}).curves
        assert curve.columns["se"] == pytest.approx(se)


# ---------------------------------------------------------------- 3: histories


def history(rows: int, step: bool = True, **more: Any) -> dict[str, Any]:
    tokens = np.arange(1, rows + 1) * 1e6
    table = {"_step": np.arange(rows) * 10} if step else {}
    return {**table, "total_tokens": tokens, "loss": 3 + 5 * tokens**-0.2, **more}


def test_the_history_of_a_run_is_no_learning_curve() -> None:
    for table in (history(30), history(6), history(30, run=["a"] * 30)):
        with pytest.raises(TableError, match="the history of one training run"):
            read(table)
    (curve,) = read(history(30), all_rows=True).curves
    assert len(curve.columns["samples"]) == 30
    assert curve.warnings[0].startswith("Perhaps not a learning curve")
    runs = history(30, run=[f"run{i}" for i in range(30)])
    assert not read(runs).curves[0].warnings, "each row is a run of its own"
    for x in ("epoch", "global_step", "Step"):
        with pytest.raises(TableError, match="history of one training run"):
            read({x: range(1, 21), "loss": np.linspace(3, 1, 20)}, x=x)


def test_what_may_be_a_history_is_said_before_the_answer(tmp_path: Path) -> None:
    path = write(tmp_path, Step=SIZES, loss=ERRORS)
    for question in ("fit", "forecast"):
        code, out, _ = steep(question, path, "--x", "Step")
        assert code == 0
        assert out.startswith("Perhaps not a learning curve: 'Step' counts steps")
    equal = {"samples": np.arange(1, 31) * 100, "error": np.linspace(0.9, 0.4, 30)}
    assert "30 equal steps" in read(equal).curves[0].warnings[0]


# ---------------------------------------------------------------- 4: accuracies by other names


def test_what_rises_by_the_name_of_an_accuracy_is_one() -> None:
    accuracies = [1 - e for e in ERRORS]
    for name in (
        "mean_roc_auc",
        "las",
        "score",
        "mAP",
        "test recall@5",
        "avg_precision",
        "mean IoU",
    ):
        (curve,) = read({"n": SIZES, name: accuracies}).curves
        assert curve.columns["error"] == pytest.approx(ERRORS), name
        assert curve.metric.startswith("1 - ")
    for name in ("score", "map", "las"):
        assert read({"n": SIZES, name: ERRORS}).curves[0].columns["error"] == ERRORS, "it falls"
    with pytest.raises(TableError, match=r"it rises with the size.*--higher-is-better"):
        read({"n": SIZES, "outcome": accuracies})


def test_r2_below_zero_is_an_error_above_1() -> None:
    r2 = [-0.42, 0.1, 0.41, 0.58, 0.7]
    for name in ("Test R2", "r2_score", "R^2", "val_r_squared"):
        (curve,) = read({"n": SIZES, name: r2}).curves
        assert curve.columns["error"] == pytest.approx([1.42, 0.9, 0.59, 0.42, 0.3]), name
        assert curve.metric == "1 - r2"
    assert read({"n": SIZES, "skill": r2}, y="skill", higher_is_better=True).curves


# ---------------------------------------------------------------- 5: spreads


def test_a_standard_deviation_is_no_standard_error() -> None:
    for name in ("std_error", "error_std", "sd", "STD", "test_stdev"):
        table = {"n": SIZES, "test_error": ERRORS, name: [0.03] * 5}
        (curve,) = read(table, y="test_error").curves
        assert "se" not in curve.columns or name == "std_error", (
            "that one is a standard error's name"
        )
        (curve,) = read(table, y="test_error", sd=name, runs=9).curves
        assert curve.columns["se"] == pytest.approx([0.01] * 5)
        (curve,) = read(table, y="test_error", se=name).curves
        assert bool(curve.warnings) == (name != "std_error")
    table = {"n": SIZES, "error": ERRORS, "sd": [0.03] * 5, "k": [1, 4, 9, 16, 25]}
    (curve,) = read(table, sd="sd", runs="k").curves
    assert curve.columns["se"] == pytest.approx([0.03 / k for k in (1, 2, 3, 4, 5)])
    with pytest.raises(TableError, match="--sd sd: of how many runs"):
        read(table, sd="sd")
    with pytest.raises(TableError, match="--runs belongs to --sd"):
        read(table, runs=3)


def test_confidence_bounds_are_standard_errors() -> None:
    low, high = ([e * f for e in ERRORS] for f in (0.9, 1.1))
    for names, z in ((("lower", "upper"), 1.959964), (("ci90_low", "ci90_high"), 1.644854)):
        table = {"n": SIZES, "error": ERRORS, names[0]: low, names[1]: high}
        for how in ({}, {"ci": names}, {"ci": ",".join(names)}):
            (curve,) = read(table, **how).curves  # type: ignore[arg-type]
            assert curve.columns["se"] == pytest.approx([0.1 * e / z for e in ERRORS])
    with pytest.raises(TableError, match="upper bound lies below"):
        read(table, ci=(names[1], names[0]))


def test_a_spread_of_zero_is_a_gap() -> None:
    table = {"n": SIZES, "error": ERRORS, "se": [0.01 * e for e in ERRORS[:4]] + [0.0]}
    (curve,) = read(table).curves
    assert curve.columns["se"] == pytest.approx([0.01 * e for e in ERRORS])
    assert any(
        "A spread of zero in 'se' is that of one run, a gap (row 5)" in n for n in curve.notes
    )


def test_a_mean_and_its_spread_in_one_cell() -> None:
    for form in ("{} ± {}", "{}±{}", "{} +/- {}", "{} ({})", "${} \\pm {}$"):
        cells = [form.format(e, 0.02) for e in ERRORS]
        (curve,) = read({"n": SIZES, "error": cells}).curves
        assert curve.columns["error"] == ERRORS
        assert curve.columns["se"] == pytest.approx([0.02] * 5)
        (curve,) = read({"n": SIZES, "error": cells}, sd="error", runs=4).curves
        assert curve.columns["se"] == pytest.approx([0.01] * 5)
    cells = [f"{e} [{e - 0.0196:.6f}, {e + 0.0196:.6f}]" for e in ERRORS]
    (curve,) = read({"n": SIZES, "error": cells}).curves
    assert curve.columns["se"] == pytest.approx([0.01] * 5, rel=1e-3)
    (curve,) = read({"n": SIZES, "acc": [f"{100 * (1 - e)} ± 2" for e in ERRORS]}).curves
    assert curve.columns["se"] == pytest.approx([0.02] * 5)


# ---------------------------------------------------------------- 6: options


def test_a_repeated_option_never_wins_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path, n=SIZES, a_loss=ERRORS, b_loss=[1.5 * e for e in ERRORS])
    for options in (
        ("--x", "n", "--x", "m"),
        ("--se", "a", "--se", "b"),
        ("--level", "0.8", "--level", "0.9"),
    ):
        code, _, err = steep("fit", path, "--y", "a_loss", *options)
        assert code == 2
        assert f"{options[0]} was given 2 times" in err
    code, out, _ = steep("compare", path, path, "--y", "a_loss", "--y", "b_loss")
    assert code == 0
    assert "b_loss needs" in out
    found = comparison_of([Source(path, y=("a_loss", "b_loss"))])
    assert found.curves == ("a_loss", "b_loss")
    assert found.pairs[0].multiplier.value == pytest.approx(1.5 ** (1 / np.log2(0.8)), rel=1e-3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "told",
    [
        {"x": "n"},
        {"y": ("e",)},
        {"by": "m"},
        {"se": "s"},
        {"sd": "s"},
        {"x_scale": "k"},
        {"parameters": "p"},
        {"higher_is_better": True},
        {"all_rows": True},
        {"robust": True},
        {"validation_items": 5},
    ],
)
def test_a_study_refuses_the_options_of_a_table(told: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study: s\n")
    with pytest.raises(QuestionError, match="for tables only"):
        fits_of(Source(str(tmp_path), **told))


def test_below_the_smallest_size_is_an_extrapolation() -> None:
    made = fit(samples=SIZES, error=ERRORS)
    below = forecast_fit(made, at=[100])
    assert below.caveat.startswith("A requested size lies below the smallest one measured")
    assert below.caveat in below.notes
    inside = forecast_fit(made, at=[1000, 32000])
    assert not any("below the smallest" in note for note in (inside.caveat, *inside.notes))


# ---------------------------------------------------------------- 8: what the headline says


def test_twice_the_data_is_told_from_the_largest_size_on() -> None:
    """error = 0.3 + 600 m^-0.5: from 256M samples on, twice the data takes 3.3 % off the error, and
    the steep beginning is named as such."""
    m = 5e5 * 2.0 ** np.arange(10)
    law = 0.3 + 600 * m**-0.5
    made = fit(samples=m, error=law)
    truth = 1 - (0.3 + 600 * (2 * m[-1]) ** -0.5) / law[-1]
    assert made.doubling is not None
    assert made.doubling.lower < truth < made.doubling.upper  # type: ignore[operator]
    assert made.doubling.value == pytest.approx(truth, abs=0.01)
    told = slope_sentence(made)
    assert "from 256M samples on, twice the data takes" in told
    assert made.beta_g is None or " points)" in told
    power = fit(samples=SIZES, error=ERRORS)
    assert power.doubling.value == pytest.approx(0.2, abs=0.005)  # type: ignore[union-attr]
    assert "points)" not in slope_sentence(power), "the exponent is that of all points"


def test_a_table_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    path = write(tmp_path, samples=[100, 100], error=[0.0, 0.1])
    for question in ("read", "fit", "forecast", "diagnose"):
        code, out, said = steep(question, path)
        assert (code, out) == (1, "")  # without main(): the error itself
        assert "no row is left to make a curve of: Zero errors have no logarithm" in said


@pytest.mark.parametrize(("size", "word"), [(2e-293, "below 1e-30"), (2e293, "above 1e30")])
def test_a_size_that_none_is_gets_no_forecast(tmp_path: Path, size: float, word: str) -> None:
    path = write(tmp_path, samples=[size, 2.0, 1.0], error=[0.001, 0.001, 0.001])
    code, out, said = steep("forecast", path)
    assert (code, out) == (1, "")
    assert f"no training set has a size {word}" in said
