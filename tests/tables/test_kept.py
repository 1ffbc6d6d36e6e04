"""Tables as people keep them: read right, or refused in a sentence that names what is missing.

Each is of a kind that occurs in public repositories; the numbers are made for the test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.tables.read import Table, TableError, read

SIZES = [1000, 2000, 4000, 8000, 16000]
ERRORS = [0.4, 0.32, 0.256, 0.2048, 0.16384]
SCORES = [round(1 - e, 6) for e in ERRORS]
OTHER = [round(1 - 0.5 * e, 6) for e in ERRORS]


def kept(place: Path, content: str, name: str = "t.csv", **options: Any) -> Table:
    (place / name).write_text(content, encoding="utf-8")
    return read(place / name, **options)


def problems(place: Path, content: str, name: str = "t.csv", **options: Any) -> tuple[str, ...]:
    with pytest.raises(TableError) as refused:
        kept(place, content, name, **options)
    return refused.value.problems


def csv(header: str, *columns: list[Any]) -> str:
    return "\n".join([header, *(",".join(map(str, r)) for r in zip(*columns, strict=True))]) + "\n"


def markdown(header: str, *rows: str, rule: str = "---") -> str:
    marks = "|".join([rule] * (header.count("|") - 1))
    return "\n".join([header, f"|{marks}|", *rows]) + "\n"


def same(curve: Any, samples: list[float], errors: list[float]) -> None:
    assert np.allclose(curve.columns["samples"], samples)
    assert np.allclose(curve.columns["error"], errors)


# ---------------------------------------------------------------- error or score


@pytest.mark.parametrize("values", [SCORES, [0.95, 0.976, 0.973, 0.967, 0.974], [0.4, 0.6]])
def test_a_mean_of_an_unnamed_metric_that_does_not_fall_is_asked_for(
    tmp_path: Path, values: list[float]
) -> None:
    """Returns of scikit-learn's learning_curve: no name shows that these are scores."""
    sizes, alike = SIZES[: len(values)], [0.99] * len(values)
    text = csv("train_size,train_mean,val_mean,val_std", sizes, alike, values, alike)
    (said,) = problems(tmp_path, text)
    assert "'val_mean': it rises with the size" in said
    assert "say --higher-is-better" in said
    same(kept(tmp_path, text, higher_is_better=True).curves[0], sizes, [1 - v for v in values])


def test_an_unnamed_mean_that_falls_is_an_error(tmp_path: Path) -> None:
    found = kept(tmp_path, csv("train_size,epochs_used,mean,sd", SIZES, [9] * 5, ERRORS, [0.1] * 5))
    same(found.curves[0], SIZES, ERRORS)


def test_a_saturated_score_is_asked_for(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, csv("n,score", SIZES, [0.98, 0.99, 0.97, 0.985, 0.975]))
    assert "neither rises nor falls clearly" in said
    assert "--higher-is-better for a score" in said


def test_a_score_without_bounds_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, csv("n,performance", SIZES, [-16, -7, -3, -1, 0.4]))
    assert "does not lie between 0 and 1" in said
    assert "its distance from the best possible value" in said


def test_an_error_of_logarithms_is_no_logarithm_of_an_error(tmp_path: Path) -> None:
    text = csv("n,rmse_log10", SIZES, ERRORS)
    (said,) = problems(tmp_path, text)
    assert "--y-scale plain or --y-scale log10" in said
    same(kept(tmp_path, text, y_scale="plain").curves[0], SIZES, ERRORS)
    logs = csv("n,rmse_log10", SIZES, [float(np.log10(e)) for e in ERRORS])
    same(kept(tmp_path, logs).curves[0], SIZES, ERRORS)


def test_kelvins_are_no_thousands(tmp_path: Path) -> None:
    for name in ("RMSE (K)", "MAE_J_K", "rmse_k"):
        same(kept(tmp_path, csv(f"n,{name}", SIZES, ERRORS)).curves[0], SIZES, ERRORS)


# ---------------------------------------------------------------- which column


def test_one_message_names_all_options_that_are_missing(tmp_path: Path) -> None:
    methods = ["net", "tree"] * 5
    sizes = [n for n in SIZES for _ in range(2)]
    text = csv("method,n,acc,auc", methods, sizes, SCORES * 2, OTHER * 2)
    metric, curves = problems(tmp_path, text)
    assert metric == "the errors could be 'acc' or 'auc': choose with --y"
    assert "--by method separates them" in curves
    assert len(kept(tmp_path, text, y="acc", by="method").curves) == 2


def test_cells_that_are_no_numbers_are_named_with_the_choice(tmp_path: Path) -> None:
    metric, *cells = problems(tmp_path, "n,wer,cer\n>100,8-12%,0.05\n1000,0.08,0.03\n")
    assert metric == "the errors could be 'wer' or 'cer': choose with --y"
    assert cells == ["line 2, column 'n': '>100' is not a number"]


def test_a_mean_stands_for_its_minimum_and_quantiles(tmp_path: Path) -> None:
    low = [s - 0.05 for s in SCORES]
    text = csv("n,acc_mean,acc_p2_5,max_acc,acc_std", SIZES, SCORES, low, OTHER, [0.01] * 5)
    same(kept(tmp_path, text).curves[0], SIZES, ERRORS)
    two = problems(tmp_path, csv("n,val_acc_mean,max_test_acc", SIZES, SCORES, OTHER))
    assert two == ("the errors could be 'val_acc_mean' or 'max_test_acc': choose with --y",)


def test_of_counts_and_shares_the_counts_are_the_sizes(tmp_path: Path) -> None:
    shares = [n / SIZES[-1] for n in SIZES]
    for name in ("label_fraction", "train_size", "fraction"):
        found = kept(tmp_path, csv(f"{name},n_train,acc", shares, SIZES, SCORES))
        same(found.curves[0], SIZES, ERRORS)


def test_a_share_of_the_labels_is_a_size(tmp_path: Path) -> None:
    found = kept(tmp_path, csv("label_fraction,acc", [0.1, 0.2, 1.0], SCORES[:3]))
    same(found.curves[0], [0.1, 0.2, 1.0], ERRORS[:3])


def test_a_column_without_values_is_no_candidate(tmp_path: Path) -> None:
    found = kept(tmp_path, csv("n,auc,rmse,r2", SIZES, SCORES, [""] * 5, [""] * 5))
    same(found.curves[0], SIZES, ERRORS)


def test_scores_of_the_training_data_are_no_sizes(tmp_path: Path) -> None:
    """A history by rounds of boosting, with a column for each part of the data."""
    first, _ = problems(tmp_path, csv("round,train,random test", [0, 1, 2, 3, 4], OTHER, SCORES))
    assert "'round' is taken for the steps of one training run" in first
    found = kept(tmp_path, csv("train,test,error", SIZES, [500] * 5, ERRORS))
    same(found.curves[0], SIZES, ERRORS)


def test_other_counts_are_no_errors(tmp_path: Path) -> None:
    rows = "| Dataset | # Training examples | # Test examples |", "| a | 9 | 3 |", "| b | 7 | 2 |"
    (said,) = problems(tmp_path, markdown(*rows, rule="-"), "t.md")
    assert said.startswith("no column looks like errors")
    assert "columns are Dataset, # Training examples, # Test examples" in said


def test_an_example_prefers_what_is_named_by_the_training_data(tmp_path: Path) -> None:
    text = csv("k,training_invoices,correct_n,exact", [1, 2, 3], [0, 8, 16], [1, 5, 7], SCORES[:3])
    said = " ".join(problems(tmp_path, text))
    assert "for example: --x training_invoices --y exact" in said


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("labels_used", "labels"), ("n_labels", "labels"), ("label_budget", "labels"),
        ("Few-shot Size", "shots"), ("n_events", "events"), ("approx_n_train", "samples"),
        ("Training Data", "samples"), ("trainSize", "samples"),
    ],
)  # fmt: skip
def test_more_names_of_sizes(tmp_path: Path, name: str, unit: str) -> None:
    curve = kept(tmp_path, csv(f"{name},valWER", SIZES, ERRORS)).curves[0]
    same(curve, SIZES, ERRORS)
    assert curve.unit == unit


def test_a_label_is_no_size(tmp_path: Path) -> None:
    text = csv("label,n,error", ["a", "b"] * 5, SIZES + SIZES, ERRORS * 2)
    assert "--by label separates them" in problems(tmp_path, text)[0]


# ---------------------------------------------------------------- what cells hold


def test_rows_without_training_data_are_left_out(tmp_path: Path) -> None:
    found = kept(tmp_path, csv("labels_used,accuracy", [0, *SIZES], [0.1, *SCORES]))
    same(found.curves[0], SIZES, ERRORS)
    assert "Rows without training data (size 0) are left out (line 2)." in found.notes
    logs = kept(tmp_path, csv("log10_n,error", [0, 1, 2], [0.4, 0.3, 0.2]))
    same(logs.curves[0], [1, 10, 100], [0.4, 0.3, 0.2])


def test_sizes_with_a_unit(tmp_path: Path) -> None:
    rows = [f"| {n}K hours | {e:%} |" for n, e in zip((1, 2, 4, 8, 16), ERRORS, strict=True)]
    text = markdown("| Training Data | WER |", *rows)
    for options in ({}, {"x": "Training Data"}):
        same(kept(tmp_path, text, "t.md", **options).curves[0], SIZES, ERRORS)
    assert kept(tmp_path, text, "t.md").curves[0].unit == "hours"
    mixed = text.replace("16K hours", "16K images")
    assert "is not a number" in problems(tmp_path, mixed, "t.md")[0]


def test_sizes_with_an_aside(tmp_path: Path) -> None:
    rows = [f"{n}K({n / 16:g}) | {s}" for n, s in zip((1, 2, 4, 8, 16), SCORES, strict=True)]
    text = "\n".join(["train_size | bleu", "---|---", *rows])
    found = kept(tmp_path, text, "t.md")
    same(found.curves[0], SIZES, ERRORS)
    assert "What stands in parentheses in 'train_size' is left out." in found.notes


def test_a_name_that_says_mean_and_deviation(tmp_path: Path) -> None:
    rows = [f"| {n} | {s} ± 0.05 |" for n, s in zip(SIZES, SCORES, strict=True)]
    text = markdown("| n | score (mean ± SD) |", *rows)
    found = kept(tmp_path, text, "t.md")
    same(found.curves[0], SIZES, ERRORS)
    assert "se" not in found.curves[0].columns
    assert any('--sd "score (mean ± SD)" --runs N' in note for note in found.notes)
    four = kept(tmp_path, text, "t.md", sd="score (mean ± SD)", runs=4).curves[0]
    assert four.columns["se"] == pytest.approx([0.025] * 5)


# ---------------------------------------------------------------- sizes as columns


def test_numbers_alone_above_their_replicates(tmp_path: Path) -> None:
    rows = [",".join(f"{e + d:.4f}" for e in ERRORS) for d in (0.01, 0.0, -0.01)]
    text = "\n".join([",".join(map(str, SIZES)), *rows]) + "\n"
    found = kept(tmp_path, text)
    assert found.curves[0].columns["samples"] == SIZES * 3
    assert "Line 1 is taken for training-set sizes, the rows for replicates." in found.notes
    whole = problems(tmp_path, "10,20,50\n1,2,3\n4,5,6\n")
    assert whole == ("line 1 holds numbers where the names of 3 columns should be",)


@pytest.mark.parametrize(
    ("names", "sizes", "unit"),
    [
        (["N=10", "N=100", "N=1000"], [10, 100, 1000], "samples"),
        (["1% labels", "10% labels", "100% labels"], [0.01, 0.1, 1], "times the data set"),
        (["10 shots", "20 shots", "50 shots"], [10, 20, 50], "shots"),
    ],
)
def test_each_row_beside_sizes_as_columns_is_a_curve(
    tmp_path: Path, names: list[str], sizes: list[float], unit: str
) -> None:
    text = markdown(
        f"| Model | {' | '.join(names)} |",
        "| **tree** | 40.0% ± 1 | 30.0% ± 1 | 20.0% ± 1 |",
        "| net | 35.0% ± 1 | 20.0% ± 1 | 10.0% ± 1 |",
    )
    tree, net = kept(tmp_path, text, "t.md").curves
    assert (tree.name, net.name, net.unit) == ("tree", "net", unit)
    same(tree, sizes, [0.4, 0.3, 0.2])
    same(net, sizes, [0.35, 0.2, 0.1])
    by = kept(tmp_path, text, "t.md", by="Model")
    assert [c.name for c in by.curves] == ["tree", "net"]


# ---------------------------------------------------------------- several tables, lists


def test_the_one_table_with_sizes_of_several(tmp_path: Path) -> None:
    curve = markdown("| n_train | error |", "| 10 | 0.5 |", "| 20 | 0.4 |", "| 40 | 0.3 |")
    steps = markdown("| steps | bleu |", "| 10 | 50 |", "| 20 | 52 |")
    found = kept(tmp_path, f"# Results\n\n{steps}\ntext\n\n{curve}", "t.md")
    same(found.curves[0], [10, 20, 40], [0.5, 0.4, 0.3])
    assert "Of 2 tables the one with training-set sizes is read (line 10)." in found.notes
    (said,) = problems(tmp_path, f"{curve}\n{curve}", "t.md")
    assert said.endswith("Choose one, for example: sed -n 1,5p FILE | steep read -")


def test_settings_beside_results_in_json(tmp_path: Path) -> None:
    """A list of sizes and a time beside the results of each model."""
    rows = [{"size": n, "mae": e} for n, e in zip(SIZES, ERRORS, strict=True)]
    value = {"sizes": SIZES, "models": {"a": rows, "b": rows}, "wall_seconds": 788.1}
    found = kept(tmp_path, json.dumps(value), "t.json")
    assert [c.name for c in found.curves] == ["a", "b"]
    same(found.curves[1], SIZES, ERRORS)
    seconds = csv("size,wall_seconds", SIZES, [5, 4, 3, 2, 1])
    assert "no column looks like errors" in problems(tmp_path, seconds)[0]


def test_values_beside_lists_are_not_repeated(tmp_path: Path) -> None:
    """Runs of one size each by name, with the list of what was averaged."""
    runs = {
        f"n{n}_{init}": {"n_train": n, "init": init, "f1_runs": [s - 0.01, s + 0.01], "f1_mean": s}
        for n, s in zip(SIZES, SCORES, strict=True)
        for init in ("none", "pretrained")
    }
    found = kept(tmp_path, json.dumps(runs), "t.json", y="f1_mean", by="init")
    same(found.curves[0], SIZES, ERRORS)
    replicates = kept(tmp_path, json.dumps(runs), "t.json", y="f1_runs", by="init")
    assert len(replicates.curves[0].columns["samples"]) == 10
    seeds = [{"n": n, "seeds": [0, 1], "acc": s} for n, s in zip(SIZES, SCORES, strict=True)]
    same(kept(tmp_path, json.dumps(seeds), "t.json").curves[0], SIZES, ERRORS)
    lists = {
        f"n{n}": [{"n": n, "seed": k, "f1": s} for k in (0, 1)]
        for n, s in zip(SIZES, SCORES, strict=True)
    }
    found = kept(tmp_path, json.dumps(lists), "t.json")
    assert found.curves[0].columns["samples"] == [n for n in SIZES for _ in range(2)]
