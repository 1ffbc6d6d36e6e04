"""Tables as strangers have them: what is read, what is said, what is refused and where."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from steep.base.extras import MissingExtra
from steep.fit import fit
from steep.tables.read import Table, TableCurve, TableError, read

SIZES = [100, 200, 400, 800, 1600]
ERRORS = [0.5, 0.4, 0.32, 0.26, 0.2]


def written(tmp_path: Path, text: str, name: str = "results.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def only(table: Table) -> TableCurve:
    assert len(table.curves) == 1
    return table.curves[0]


def csv(header: str, values: list[object] | None = None, sizes: list[object] | None = None) -> str:
    pairs = zip(sizes or SIZES, values or ERRORS, strict=True)
    return "\n".join([header, *(f"{m},{e}" for m, e in pairs)]) + "\n"


def problems(tmp_path: Path, text: str, name: str = "results.csv", **how: object) -> list[str]:
    with pytest.raises(TableError) as found:
        read(written(tmp_path, text, name), **how)  # type: ignore[arg-type]
    return list(found.value.problems)


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "  "])
def test_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = [f"{m}{delimiter}{e}" for m, e in zip(SIZES, ERRORS, strict=True)]
    text = "\n".join([f"samples{delimiter}error", *rows])
    curve = only(read(written(tmp_path, text)))
    assert curve.columns == {"samples": SIZES, "error": ERRORS}


def test_every_kind_of_source_gives_the_same_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [{"samples": m, "error": e} for m, e in zip(SIZES, ERRORS, strict=True)]
    frame = pd.DataFrame(records)
    lines = "\n".join(json.dumps(r) for r in records)
    study = tmp_path / "study" / "results"
    study.mkdir(parents=True)
    (study / "best_fit.csv").write_text(csv("samples,error"))
    frame.to_parquet(tmp_path / "a.parquet")
    sources = [
        frame,
        written(tmp_path, csv("samples,error")),
        written(tmp_path, "\ufeff" + csv("samples,error").replace("\n", "\r\n"), "windows.csv"),
        written(tmp_path, lines, "a.jsonl"),
        written(tmp_path, lines, "sniffed.txt"),
        written(tmp_path, json.dumps(records), "a.json"),
        written(tmp_path, json.dumps({"runs": records}, indent=2), "b.json"),
        written(tmp_path, json.dumps({"samples": SIZES, "error": ERRORS}, indent=2), "c.txt"),
        {"samples": np.array(SIZES), "error": ERRORS},
        tmp_path / "study",
        tmp_path / "a.parquet",
    ]
    found = [only(read(source)).columns for source in sources]
    stdin = io.TextIOWrapper(io.BytesIO(csv("samples,error").encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    found.append(only(read("-")).columns)
    assert all(columns == {"samples": SIZES, "error": ERRORS} for columns in found)


def test_a_curve_goes_into_fit_as_it_is(tmp_path: Path) -> None:
    text = "tokens,val_loss,se,params\n" + "".join(
        f"{m},{3 * m**-0.3},{0.01},{m * 10}\n" for m in SIZES
    )
    curve = only(read(written(tmp_path, text)))
    found = fit(curve)
    assert fit(curve.frame).points == found.points
    assert found.outcome == "ok"
    assert (found.unit, found.metric) == ("tokens", "loss")
    assert found.noise.given
    assert found.points[0].parameters == pytest.approx(1000)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("size,error", "Column 'size' is taken for the training-set sizes."),
        ("data,loss", "Column 'data' is taken for the training-set sizes."),
        ("a,b", "Column 'a' grows, and is taken for the sizes; 'b' for errors."),
        ("b,a", "Column 'b' grows, and is taken for the sizes; 'a' for errors."),
        ("n,score", "'score' is taken for an error."),
        ("foo,err", "Column 'foo' grows, and is taken for the sizes; 'err' for errors."),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_two_columns_need_no_names(header: str, said: str, turned: bool, tmp_path: Path) -> None:
    rows = [header, *(f"{1000 * 2**k},{0.3 * 0.8**k:.4f}" for k in range(6))]
    if turned:
        rows = [",".join(reversed(row.split(","))) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    (curve,) = read(tmp_path / "t.csv").curves
    assert curve.columns["samples"] == [1000 * 2**k for k in range(6)]
    assert curve.columns["error"][0] == 0.3
    assert said in curve.notes


def test_accuracies_by_n_need_no_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n,acc\n1000,69\n2000,75\n4000,80\n")
    (curve,) = read(tmp_path / "t.csv").curves
    assert curve.columns["error"] == pytest.approx([0.31, 0.25, 0.2])


@pytest.mark.parametrize(
    "rows",
    [
        "a,b\n1000,1\n2000,2\n4000,3\n",  # both grow
        "a,b\n4000,0.2\n1000,0.3\n2000,0.25\n",  # neither does
        "a,b\n0.2,4000\n0.25,2000\n0.3,1000\n",  # what grows is no count
        "a,b,c\n1000,0.3,1\n2000,0.2,1\n",  # three columns
        "epoch,accuracy\n1,0.5\n2,0.6\n",  # a training run
    ],
)
def test_columns_that_do_not_tell_are_asked_for(rows: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(TableError, match="--x"):
        read(tmp_path / "t.csv")


def test_parquet_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(MissingExtra, match=r"needs pyarrow: pip install 'steep\[parquet\]'"):
        read(path)


def test_repeated_sizes_stay_replicates(tmp_path: Path) -> None:
    text = csv("samples,error", ERRORS * 2, SIZES * 2)
    curve = only(read(written(tmp_path, text)))
    assert len(curve.columns["samples"]) == 10
    assert {p.replicates for p in fit(curve).points} == {2}


def test_columns_without_a_header_and_names_in_a_comment(tmp_path: Path) -> None:
    bare = csv("", None).strip()
    found = read(written(tmp_path, bare))
    assert only(found).columns["error"] == ERRORS
    assert "There is no header" in found.notes[0]
    commented = only(read(written(tmp_path, "# written by a script\n# n, err\n" + bare)))
    assert commented.columns["samples"] == SIZES


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("n", "err"),
        ("train_size", "val_loss"),
        ("Training set size", "Validation error"),
        ("params.train_size", "metrics.val_error"),
        ("config/num_samples", "summary/eval_loss"),
        ("n_tokens", "test/loss"),
    ],
)
def test_common_spellings_are_guessed_and_said(tmp_path: Path, x: str, y: str) -> None:
    found = read(written(tmp_path, csv(f"{x},{y}")))
    assert only(found).columns == {"samples": SIZES, "error": ERRORS}
    assert f"Column {x!r} is taken for the training-set sizes." in found.notes
    assert f"Column {y!r} is taken for the errors." in found.notes


def test_an_ambiguous_table_asks(tmp_path: Path) -> None:
    text = "n,m,val_loss,val_acc\n1,2,3,4\n"
    found = problems(tmp_path, text)
    assert found == [
        "the training-set sizes could be 'n' or 'm': choose with --x",
        "the errors could be 'val_loss' or 'val_acc': choose with --y",
    ]


def test_a_training_curve_is_not_taken_for_a_learning_curve(tmp_path: Path) -> None:
    """Scalars of TensorBoard and charts of W&B: errors by step, which is asked for or refused."""
    scalars = "Wall time,Step,Value\n1.5,10,0.3\n1.6,20,0.2\n"
    chart = "Step,run-a - val/error,run-a - val/error__MIN\n10,0.3,0.3\n20,0.2,0.2\n"
    for text in (scalars, chart):
        (said,) = problems(tmp_path, text)
        assert "'Step' is taken for the steps of one training run" in said
        assert said.endswith("say --x Step")
        curve = only(read(written(tmp_path, text), x="Step"))
        assert curve.columns == {"samples": [10, 20], "error": [0.3, 0.2]}


def test_a_chart_over_training_set_sizes_needs_no_names(tmp_path: Path) -> None:
    text = "train/n,big - val/acc,big - val/acc__MAX\n10,70,70\n20,80,80\n"
    curve = only(read(written(tmp_path, text)))
    assert curve.columns == {"samples": [10, 20], "error": pytest.approx([0.3, 0.2])}
    assert "the errors could be" in problems(tmp_path, text.replace("acc__MAX", "loss"))[0]
    assert only(read({"n": [10], "1 - accuracy": [0.3]}, y="1 - accuracy")).columns["error"] == [
        0.3
    ]


def test_any_column_can_be_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "samples,error,metrics.mine\n1,2,3\n2,2,2\n")
    assert only(read(path, y="metrics.mine")).columns["error"] == [3, 2]
    assert "'mine' is column 'metrics.mine'." in read(path, y="mine").notes
    with pytest.raises(TableError, match=r"no column 'metrics\.min'; did you mean 'metrics\.mine'"):
        read(path, y="metrics.min")
    with pytest.raises(TableError, match=r"no column 'nope'\. The columns are samples, error"):
        read(path, y="nope")


def test_own_names_go_before_other_spellings(tmp_path: Path) -> None:
    text = "samples,n,validation_error,test_error\n10,1,0.5,0.6\n"
    curve = only(read(written(tmp_path, text)))
    assert curve.columns == {"samples": [10], "error": [0.5]}


# ---------------------------------------------------------------- what numbers mean


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("accuracy", [0.5, 0.6, 0.68, 0.74, 0.8], "is an accuracy as a fraction"),
        ("val_acc", [50, 60, 68, 74, 80], "is an accuracy in percent (values lie above 1)"),
        ("acc", ["50%", "60 %", "68%", "74%", "80%"], "is an accuracy in percent (it says so)"),
        ("error", ["50%", "40%", "32%", "26%", "20%"], "is in percent (it says so)"),
        ("error (%)", [50, 40, 32, 26, 20], "is in percent (it says so)"),
        ("err_pct", [50, 40, 32, 26, 20], "is in percent (it says so)"),
        ("WER", [50, 40, 32, 26, 20], "is in percent (most values lie above 1)"),
        ("error", ERRORS, "is taken as a fraction"),
    ],
)
def test_percent_fraction_and_accuracy(
    tmp_path: Path, name: str, values: list[object], said: str
) -> None:
    found = read(written(tmp_path, csv(f"samples,{name}", values)))
    assert only(found).columns["error"] == pytest.approx(ERRORS)
    assert any(said in note for note in found.notes), found.notes


def test_higher_is_better(tmp_path: Path) -> None:
    path = written(tmp_path, csv("samples,score", [0.5, 0.6, 0.68, 0.74, 0.8]))
    curve = only(read(path, y="score", higher_is_better=True))
    assert curve.columns["error"] == pytest.approx(ERRORS)
    assert curve.metric == "1 - score"


def test_a_loss_stays_what_it_is(tmp_path: Path) -> None:
    losses = [4.0, 3.5, 3.1, 2.8, 2.5]
    found = read(written(tmp_path, csv("samples,error", losses)))
    assert only(found).columns["error"] == losses
    assert any("taken as a loss" in note for note in found.notes)


def test_a_loss_is_told_by_what_is_shown(tmp_path: Path) -> None:
    """An untrained model's error above 1 is in no point of the curve."""
    text = "samples,epoch,error\n100,1,1.1\n100,2,0.5\n200,1,0.9\n200,2,0.4\n"
    curve = only(read(written(tmp_path, text)))
    assert "Column 'error' is taken as a fraction." in curve.notes
    loss = only(read(written(tmp_path, text.replace("0.5", "1.05"))))
    assert any("taken as a loss" in note for note in loss.notes)


def test_percent_and_fraction_in_one_column_are_an_error(tmp_path: Path) -> None:
    signed = problems(tmp_path, csv("samples,error", ["50%", "40%", 0.32, 0.26, "20%"]))
    assert signed == [
        "column 'error': some values carry a percent sign and some do not (lines 4, 5)"
    ]
    one = problems(tmp_path, csv("samples,error", ["50%", "40%", 0.32, "26%", "20%"]))
    assert one[0].endswith("(line 4)")
    bare = problems(tmp_path, csv("samples,acc", [50, 60, 0.68, 74, 80]))
    assert "fractions and percentages" in bare[0]
    assert read(written(tmp_path, csv("samples,acc", [0.5, 2, 8, 20, 40]))).curves


def test_an_accuracy_above_its_scale_is_refused(tmp_path: Path) -> None:
    for scores in ([300, 310, 320, 330, 340], [-3.0, -2.5, -2.2, -2.0, -1.9]):
        text = csv("samples,score", list(scores))
        found = problems(tmp_path, text, y="score", higher_is_better=True)
        assert "only values from 0 to 1" in found[0]


WRITTEN = [
    ("samples;error\n100;0,5\n200;0,4\n", [100, 200], "Commas are read as decimal commas."),
    ("samples\terror\n1,000\t0.5\n16,000\t0.4\n", [1000, 16000], "Commas are read as thousands"),
    ("samples;error\n1.000;0,5\n16.000;0,4\n", [1000, 16000], "Points are read as thousands"),
    ("samples;error\n1,000;0.5\n10,000;0.4\n", [1000, 10000], "Commas are read as thousands"),
    ("samples;error\n1 000;0,5\n10 000;0,4\n", [1000, 10000], "Commas are read as decimal"),
    ('samples,error\n"1,000",0.5\n"2,000",0.4\n', [1000, 2000], "Commas are read as thousands"),
    ('samples,error\n100,"0,5"\n200,"0,4"\n', [100, 200], "Commas are read as decimal commas."),
    ("samples;error\n1.5k;0,5\n3k;0,4\n", [1500, 3000], "Commas are read as decimal commas."),
    ("samples,error\n20k,0.5\n4K,0.4\n", [20e3, 4e3], ""),
    ("samples,error\n3M,0.5\n1m,0.4\n", [3e6, 1e6], ""),
    ("samples,error\n1e3,0.5\n1.000,0.4\n", [1000, 1], ""),
    ('[{"samples": "1,000", "error": 0.5}, {"samples": "2,000", "error": 0.4}]', [1000, 2000],
     "Commas are read as thousands"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sizes", "said"), WRITTEN)
def test_numbers_as_people_write_them(
    tmp_path: Path, text: str, sizes: list[float], said: str
) -> None:
    found = read(written(tmp_path, text))
    assert only(found).columns == {"samples": sizes, "error": [0.5, 0.4]}
    assert any(note.startswith(said) for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "samples;error\n1000;1,250\n2000;1,100\n",
        "samples;error\n1.000;50%\n2.000;40%\n",
        "samples;error\n1.000;0,5\n2.000;0.4\n",
    ],
)
def test_what_may_be_a_thousand_times_itself_is_refused(tmp_path: Path, text: str) -> None:
    (said,) = problems(tmp_path, text)[:1]
    assert re.search(r"a thousands separator|decimal points in one column", said)
    assert said.endswith("(lines 2, 3); write all numbers like 1234.5")


def test_units_come_from_names_and_columns(tmp_path: Path) -> None:
    assert only(read(written(tmp_path, csv("train_tokens,val_loss")))).unit == "tokens"
    text = "samples,error,unit,metric\n1,0.5,words,cross_entropy\n2,0.4,words,cross_entropy\n"
    curve = only(read(written(tmp_path, text)))
    assert (curve.unit, curve.metric) == ("words", "cross_entropy")


# ---------------------------------------------------------------- bad rows


def test_bad_cells_are_named_by_line_and_column_all_at_once(tmp_path: Path) -> None:
    text = "samples,error,se\n100,abc,0.1\nmany,0.4,0.1\n\n400,-0.3,0.1\n-5,0.3,0.1\n500,0.3,-1\n"
    text += "2e30,0.3,0.1\n800,1e308,0.1\n"
    assert problems(tmp_path, text) == [
        "line 2, column 'error': 'abc' is not a number",
        "line 3, column 'samples': 'many' is not a number",
        "line 5, column 'error': an error cannot be negative",
        "line 6, column 'samples': a size must be positive",
        "line 7, column 'se': a standard error cannot be negative",
        "line 8, column 'samples': no training set has a size above 1e30",
        "line 9, column 'error': no error lies above 1e30",
    ]


def test_lines_count_quoted_line_breaks(tmp_path: Path) -> None:
    text = 'samples,error,comment\n100,0.5,"two\nlines"\n200,oops,x\n'
    assert problems(tmp_path, text) == ["line 4, column 'error': 'oops' is not a number"]


def test_rows_of_another_length_are_named(tmp_path: Path) -> None:
    text = "samples,error\n100,0.5\n200\n300,0.4,7\n"
    assert problems(tmp_path, text) == [
        "line 3 has 1 cell where the header has 2",
        "line 4 has 3 cells where the header has 2",
    ]


def test_bad_json_is_named(tmp_path: Path) -> None:
    lines = '{"samples": 1, "error": 2}\n{"samples": 1,, "error": 2}\n[1]\n'
    found = problems(tmp_path, lines, "a.jsonl")
    assert found[0].startswith("line 2, column 15: not JSON")
    assert found[1] == "line 3 is no object"
    assert "line 2, column" in problems(tmp_path, '[{"samples": 1},\n{]', "a.json")[0]
    assert "no list of objects" in problems(tmp_path, "[1, 2]", "a.json")[0]
    typed = problems(tmp_path, '[{"samples": 1, "error": true}]', "a.json")
    assert typed == ["row 1, column 'error': True is not a number"]


def test_empty_and_infinite_rows_are_left_out_and_said(tmp_path: Path) -> None:
    text = "samples,error\n100,0.5\n200,\n300,nan\n400,inf\n,0.4\n600,0.3\n"
    found = read(written(tmp_path, text))
    assert only(found).columns["samples"] == [100, 600]
    assert "Rows without a size or an error are left out (lines 3, 4, 5, 6)." in found.notes


def test_a_zero_error_is_left_out_or_half_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "samples,accuracy\n100,0.5\n200,1.0\n")
    found = read(path)
    assert only(found).columns["samples"] == [100]
    assert any(note.startswith("Zero errors have no logarithm") for note in found.notes)
    known = only(read(path, validation_items=1000))
    assert known.columns["error"] == pytest.approx([0.5, 0.0005])


def test_a_zero_among_replicates_takes_its_size_along(tmp_path: Path) -> None:
    """The others alone would be too high."""
    text = "curve,samples,error\na,100,0.5\na,200,0.1\na,200,0\nb,200,0.1\n"
    found = read(written(tmp_path, text))
    assert [c.columns["samples"] for c in found.curves] == [[100], [200]]
    assert any("with the other rows of their sizes" in note for note in found.notes)


def test_errors_beyond_all_measure_are_refused(tmp_path: Path) -> None:
    text = "samples,error\n100,1e308\n200,1e-320\n400,0.5\n"
    assert problems(tmp_path, text) == ["line 2, column 'error': no error lies above 1e30"]
    assert only(read({"samples": [1, 2], "error": [1e-14, 1e-320]})).columns["error"] == [1e-14]


def test_held_out_and_unfinished_rows_are_left_out(tmp_path: Path) -> None:
    text = "samples,error,held_out,status\n100,0.5,False,complete\n200,0.4,True,complete\n"
    found = read(written(tmp_path, text + "300,0.3,False,diverged\n400,0.2,False,finished\n"))
    assert only(found).columns["samples"] == [100, 400]
    assert "Held-out rows are left out (line 3)." in found.notes
    assert "Trials that did not complete are left out (line 4)." in found.notes


def test_a_studys_best_fits_say_which_rows_its_fit_used(tmp_path: Path) -> None:
    """A held-out shard that is measured is a point, one that is not waits; a capped one is not."""
    text = "samples,error,held_out,used\n100,0.5,False,True\n200,0.4,False,False\n"
    found = read(written(tmp_path, text + "400,0.3,True,True\n800,0.2,True,False\n"))
    assert only(found).columns["samples"] == [100, 400]
    assert "Held-out rows are left out (line 5)." in found.notes
    assert "Rows that the study's fit did not use are left out (line 3)." in found.notes


def test_the_state_of_a_run_is_known_from_that_of_a_country(tmp_path: Path) -> None:
    text = "Name,State,n_train,val_error\na,finished,100,0.5\nb,crashed,200,0.4\nc,running,400,1\n"
    found = read(written(tmp_path, text))
    assert only(found).columns["samples"] == [100]
    assert "Trials that did not complete are left out (lines 3, 4)." in found.notes
    places = text.replace("finished", "Ohio").replace("running", "Utah")
    assert len(only(read(written(tmp_path, places))).columns["samples"]) == 3


@pytest.mark.parametrize("rows", ["20%,2%\n", "20 %,2\n", "0.2,2%\n", "0.2,0.02\n"])
def test_a_standard_error_has_its_own_percent_sign_or_the_unit_of_the_error(
    tmp_path: Path, rows: str
) -> None:
    """One row: 20 % with a standard error of 2 % is 0.2 with one of 0.02."""
    columns = only(read(written(tmp_path, f"samples,error,se\n100,{rows}"))).columns
    assert (columns["error"], columns["se"]) == ([pytest.approx(0.2)], [pytest.approx(0.02)])


def test_a_standard_error_is_in_percent_as_its_column_of_errors_is(tmp_path: Path) -> None:
    text = "samples,error_percent,se\n100,20,2\n"
    columns = only(read(written(tmp_path, text), y="error_percent")).columns
    assert (columns["error"], columns["se"]) == ([pytest.approx(0.2)], [pytest.approx(0.02)])


@pytest.mark.parametrize(("names", "level"), [("ci_lower,ci_upper", 0.95), ("lo_80,hi_80", 0.8)])
def test_a_standard_error_from_the_bounds_of_an_interval(
    tmp_path: Path, names: str, level: float
) -> None:
    """From 0.18 to 0.24 is 0.06: twice the normal's quantile of standard errors."""
    text = f"samples,error,{names}\n100,0.2,0.18,0.24\n"
    curve = only(read(written(tmp_path, text), y="error", ci=tuple(names.split(","))))
    assert curve.columns["se"] == [pytest.approx(0.03 / NormalDist().inv_cdf(0.5 + level / 2))]


def test_gaps_among_standard_errors_are_filled_or_none_is_used(tmp_path: Path) -> None:
    text = "samples,error,se\n100,0.5,0.05\n200,0.4,\n400,0.3,0.03\n"
    curve = only(read(written(tmp_path, text)))
    assert curve.columns["se"] == pytest.approx([0.05, 0.04, 0.03])
    gap = "Rows without a standard error get the typical one of the others, as a share of the error"
    assert f"{gap} (line 3)." in curve.notes
    curve = only(read(written(tmp_path, text.replace("0.03\n", "\n"))))
    assert "se" not in curve.columns
    said = "Column 'se': only 1 of 3 rows have a standard error, and none is used."
    assert said in curve.notes


def test_sizes_that_hardly_differ_are_pointed_out() -> None:
    errors = [0.5, 0.4, 0.3]
    near = only(read({"samples": [100, 100.0001, 100.0002], "error": errors}))
    assert any("less than a factor of two" in note for note in near.notes)
    assert "factor" not in str(only(read({"samples": [1, 2, 4], "error": errors})).notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("# nothing\n", "nothing but comments"),
        ("samples,error\n", "no row has both a size and an error"),
        ("samples,samples,error\n1,2,3\n", "two columns are called 'samples'"),
        ("1,2,3\n4,5,6\n", "line 1 holds numbers where the names of 3 columns should be"),
    ],
)
def test_tables_of_nothing(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in p for p in problems(tmp_path, text))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        read(tmp_path / "missing.csv")
    with pytest.raises(TableError, match=r"results/best_fit\.csv"):
        read(tmp_path)
    binary = tmp_path / "a.csv"
    binary.write_bytes(b"samples,error\n1,2\n\xff\xfe\x00")
    with pytest.raises(TableError, match="line 3 is not text in UTF-8"):
        read(binary)
    with pytest.raises(TableError, match="unknown format"):
        read(binary, format="word")
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="not Parquet"):
        read(broken)


# ---------------------------------------------------------------- several curves


def test_by_splits_curves_in_order(tmp_path: Path) -> None:
    text = "samples,error,family\n100,0.5,rhn\n100,0.6,lstm\n200,0.4,rhn\n200,0.5,lstm\n"
    found = read(written(tmp_path, text), by="family")
    assert [c.name for c in found.curves] == ["rhn", "lstm"]
    assert found.curves[1].columns == {"samples": [100, 200], "error": [0.6, 0.5]}
    assert "--by family separates them" in problems(tmp_path, text)[0]


def test_a_column_called_curve_splits_by_itself(tmp_path: Path) -> None:
    found = read(written(tmp_path, "curve,samples,error\na,1,0.5\nb,1,0.5\n"))
    assert [c.name for c in found.curves] == ["a", "b"]
    assert "Column 'curve' separates the curves." in found.notes


def test_units_may_differ_between_curves_but_not_within(tmp_path: Path) -> None:
    text = "samples,error,unit,family\n100,0.5,words,a\n100,0.6,images,b\n"
    found = read(written(tmp_path, text), by="family")
    assert [c.unit for c in found.curves] == ["words", "images"]
    said = problems(tmp_path, text)
    assert said == ["column 'unit': the curve mixes images, words; one curve has one: --by unit"]


def test_a_row_without_a_label_is_on_a_curve_of_its_own(tmp_path: Path) -> None:
    text = "samples,error,model\n100,0.5,a\n100,0.6,\n200,0.4,a\n200,0.5,\n"
    found = read(written(tmp_path, text), by="model")
    assert [c.name for c in found.curves] == ["a", "no model"]
    assert any(note.endswith("'no model' (lines 3, 5).") for note in found.notes)


def test_the_best_of_each_size_counts_unless_all_rows_do(tmp_path: Path) -> None:
    text = "samples,error,parameters\n100,0.5,10\n100,0.6,20\n200,0.4,10\n200,0.3,20\n"
    best = only(read(written(tmp_path, text)))
    assert best.columns == {"samples": [100, 200], "error": [0.5, 0.3], "parameters": [10, 20]}
    assert best.notes[0].startswith("Rows of one size differ in 'parameters': the best of each")
    renamed = written(tmp_path, text.replace("parameters", "weights"), "weights.csv")
    assert only(read(renamed, parameters="weights")).columns == best.columns
    every = only(read(written(tmp_path, text), all_rows=True))
    assert every.columns["error"] == [0.5, 0.6, 0.4, 0.3]
    assert not any("Rows of one size" in note for note in every.notes)


def test_a_dataframe_is_read_by_row() -> None:
    frame = pd.DataFrame({"n": SIZES, "err": ["x", None, 0.3, np.nan, -1.0]})
    with pytest.raises(TableError) as found:
        read(frame)
    assert found.value.problems == (
        "row 1, column 'err': 'x' is not a number",
        "row 5, column 'err': an error cannot be negative",
    )
    assert str(found.value).startswith("the table: row 1")


@pytest.mark.parametrize("n", [1_000, 20_000])
def test_thousands_of_sizes_become_a_hundred_means_of_one_law(n: int) -> None:
    m = np.arange(100, 100 + n)
    rng = np.random.default_rng(0)
    error = 4 * m**-0.3 * np.exp(0.01 * rng.normal(size=n))
    (curve,) = read({"samples": m.tolist(), "error": error.tolist()}).curves
    sizes, errors = (np.array(curve.columns[name]) for name in ("samples", "error"))
    assert 50 < len(sizes) <= 100
    assert np.abs(np.log(errors) - np.log(4 * sizes**-0.3)).max() < 0.03
    assert any(f"{n} different sizes" in note for note in curve.notes)
    (whole,) = read({"samples": m[:200].tolist(), "error": error[:200].tolist()}).curves
    assert len(whole.columns["samples"]) == 200


def test_every_size_is_kept_for_a_joint_fit() -> None:
    m = np.arange(100, 1100)
    columns = {"samples": m.tolist(), "error": (4 * m**-0.3).tolist()}
    (curve,) = read(columns, every_size=True).curves
    assert len(curve.columns["samples"]) == 1000
