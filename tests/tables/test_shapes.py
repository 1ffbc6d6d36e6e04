"""Tables as people keep them: each shape gives the one learning curve that it was made of."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from steep.tables.read import Table, TableError, read

SIZES = [1000, 2000, 4000, 8000, 16000]
ERRORS = [0.4, 0.32, 0.256, 0.2048, 0.16384]
"""0.8 times as many errors for twice the data."""
OTHER = [round(1.5 * e, 6) for e in ERRORS]
ACCURACIES = [round(1 - e, 6) for e in ERRORS]

Written = Callable[[Path], Any]


def text(content: str, name: str = "t.csv") -> Written:
    def write(place: Path) -> Path:
        (place / name).write_text(content, encoding="utf-8")
        return place / name

    return write


def as_json(value: Any, name: str = "t.json") -> Written:
    return text(json.dumps(value), name)


def csv(header: str, *columns: list[Any], sep: str = ",") -> str:
    rows = [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join([header, *rows]) + "\n"


def packed(pack: Callable[[bytes], bytes], name: str) -> Written:
    def write(place: Path) -> Path:
        (place / name).write_bytes(pack(csv("n,error", SIZES, ERRORS).encode()))
        return place / name

    return write


def zstandard(data: bytes) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    return arrow.compress(data, codec="zstd", asbytes=True)


ROWS = [{"n": n, "val_error": e} for n, e in zip(SIZES, ERRORS, strict=True)]
ONE: dict[str, tuple[Written, dict[str, Any]]] = {
    # text
    "tabs": (text(csv("train_size\tval_loss", SIZES, ERRORS, sep="\t"), "t.tsv"), {}),
    "gzip": (packed(gzip.compress, "t.csv.gz"), {}),
    "xz": (packed(lzma.compress, "t.csv.xz"), {}),
    "bzip2": (packed(bz2.compress, "t.csv.bz2"), {}),
    "zstandard": (packed(zstandard, "t.csv.zst"), {}),
    "a title above": (text("Learning curve of run 7,\n" + csv("n,error", SIZES, ERRORS)), {}),
    "names of rows of R": (text(csv("n error", range(1, 6), SIZES, ERRORS, sep=" ")), {}),  # type: ignore[arg-type]
    "an index of pandas": (text(csv(",n_train,error", range(5), SIZES, ERRORS)), {}),  # type: ignore[arg-type]
    "windows": (
        lambda p: (
            (p / "t.csv").write_bytes(
                csv("n,val_error,note", SIZES, ERRORS, ["é"] * 5).encode("cp1252")
            )
            and p / "t.csv"
        ),
        {},
    ),
    "markdown": (
        text(
            "# Results\n\nAs measured:\n\n| examples | test error (%) |\n|---:|:---:|\n"
            + "".join(
                f"| {n // 1000}K | {100 * e:.5g} |\n" for n, e in zip(SIZES, ERRORS, strict=True)
            )
            + "| 32K | — |\n\nThe end.\n",
            "README.md",
        ),
        {},
    ),
    "a drawn table": (
        text(
            "+---+---+\n| n | error |\n+---+---+\n"
            + "".join(f"| {n} | {e} |\n" for n, e in zip(SIZES, ERRORS, strict=True))
            + "+---+---+\n",
            "t.txt",
        ),
        {},
    ),
    # spellings
    **{
        f"x {x}": (text(csv(f"{x},error", SIZES, ERRORS)), {})
        for x in (
            "seen_examples",
            "samples_seen",
            "train_rows",
            "rows",
            "train_sizes",
            "tr_size",
            "n_per_class",
            "num_samples",
            "nTrain",
            "# training examples",
            "n_labeled",
            "dataset size",
        )
    },
    **{
        f"y {y}": (text(csv(f"n,{y}", SIZES, ERRORS)), {})
        for y in (
            "cv_error",
            "mean_error",
            "best_val_loss",
            "test_error_rate",
            "final_test_err",
            "eval/CrossEntropyLoss",
            "validation_rmse",
            "mean_test_loss",
        )
    },
    **{
        f"accuracy {y}": (text(csv(f"n,{y}", SIZES, ACCURACIES)), {})
        for y in (
            "acc",
            "mean_roc_auc",
            "Test R2",
            "test/f1_macro",
            "las",
            "score",
            "bleu",
            "mAP",
            "mean_iou",
            "recall@10",
            "precision",
            "cv_mean_score",
            "R²",
            "balanced_accuracy",
            "AUROC",
            "top1",
        )
    },
    "accuracy in percent": (text(csv("n,Top-1 acc", SIZES, [100 * a for a in ACCURACIES])), {}),
    "an accuracy that nobody knows": (
        text(csv("n,quality_index", SIZES, ACCURACIES)),
        {"higher_is_better": True},
    ),
    "negated": (text(csv("n,neg_mean_squared_error", SIZES, [-e for e in ERRORS])), {}),
    "perplexity": (text(csv("n,val_ppl", SIZES, np.exp(ERRORS).tolist())), {}),
    "logarithms of errors": (text(csv("n,log10_error", SIZES, np.log10(ERRORS).tolist())), {}),
    # sizes on other scales
    "log10": (text(csv("log10_n,error", np.log10(SIZES).tolist(), ERRORS)), {}),
    "ln": (text(csv("ln_samples,error", np.log(SIZES).tolist(), ERRORS)), {}),
    "log2 asked": (text(csv("log_n,error", np.log2(SIZES).tolist(), ERRORS)), {"x_scale": "log2"}),
    "thousands": (text(csv("samples (thousands),error", [n / 1e3 for n in SIZES], ERRORS)), {}),
    "k": (text(csv("samples_k,error", [n / 1e3 for n in SIZES], ERRORS)), {}),
    "millions": (text(csv("tokens_M,error", [n / 1e6 for n in SIZES], ERRORS)), {}),
    "billions": (text(csv("tokens (B),error", [n / 1e9 for n in SIZES], ERRORS)), {}),
    "times 1e3": (text(csv("examples (x1000),error", [n / 1e3 for n in SIZES], ERRORS)), {}),
    "in words": (text(csv("n,error", [f"{n // 1000} thousand" for n in SIZES], ERRORS)), {}),
    # JSON
    "a list by name": (as_json({"n": SIZES, "acc": ACCURACIES, "model": "a"}), {}),
    "rows one level down": (as_json({"rows": ROWS, "fit": {"a": 1.0, "b": 2.0}}), {}),
    "rows two levels down": (as_json({"meta": {"by": "me"}, "out": {"runs": ROWS}}), {}),
    "keys are sizes": (as_json(dict(zip(map(str, SIZES), ERRORS, strict=True))), {}),
    "keys are sizes of objects": (
        as_json({str(r["n"]): {"error": r["val_error"], "t": 3} for r in ROWS}),
        {},
    ),
    "pairs": (as_json([[n, e] for n, e in zip(SIZES, ERRORS, strict=True)]), {}),
    "a header and rows": (as_json([["n", "err"], *zip(SIZES, ERRORS, strict=True)]), {}),
    "split": (
        as_json({"columns": ["n", "err"], "data": list(zip(SIZES, ERRORS, strict=True))}),
        {},
    ),
    "columns of pandas": (as_json(json.loads(pd.DataFrame(ROWS).to_json())), {}),
    "a run a name": (as_json({f"run{i}": row for i, row in enumerate(ROWS)}), {}),
    # columns that are sizes
    "sizes as columns": (
        text("model,1000,2000,4000,8000,16000\na," + ",".join(map(str, ERRORS)) + "\n"),
        {},
    ),
    "sizes in names": (
        text(",".join(f"error_{n}" for n in SIZES) + "\n" + ",".join(map(str, ERRORS)) + "\n"),
        {},
    ),
    # spreads
    "spread in the cells": (
        text(csv("n,accuracy", SIZES, [f"{100 * a:.4f} ± 0.5" for a in ACCURACIES])),
        {},
    ),
    "spread in brackets": (text(csv("n,accuracy", SIZES, [f"{a} (0.01)" for a in ACCURACIES])), {}),
    "bounds": (
        text(
            csv(
                "n,error,ci_lower,ci_upper",
                SIZES,
                ERRORS,
                [0.9 * e for e in ERRORS],
                [1.1 * e for e in ERRORS],
            )
        ),
        {},
    ),
    # trackers
    "optuna": (
        text(
            csv(
                "number,value,params_lr,user_attrs_n,state",
                range(5),
                ERRORS,
                [0.1] * 5,
                SIZES,
                ["COMPLETE"] * 5,
            )
        ),
        {},
    ),  # type: ignore[arg-type]
    "a chart of W&B": (
        text(
            csv(
                "train/n,a - val/loss,a - val/loss__MIN,a - val/loss__MAX",
                SIZES,
                ERRORS,
                ERRORS,
                ERRORS,
            )
        ),
        {},
    ),
    "runs of W&B": (
        text(
            csv(
                "Name,State,Runtime,n_train,val_acc,train_acc,_step",
                list("abcde"),
                ["finished"] * 5,
                [9] * 5,
                SIZES,
                ACCURACIES,
                [1] * 5,
                [7, 8, 9, 10, 11],
            )
        ),
        {},
    ),
}


@pytest.mark.parametrize("shape", ONE)
def test_one_curve(shape: str, tmp_path: Path) -> None:
    write, how = ONE[shape]
    (curve,) = read(write(tmp_path), **how).curves
    assert curve.columns["samples"] == pytest.approx(SIZES)
    assert curve.columns["error"] == pytest.approx(ERRORS)


SEVERAL: dict[str, tuple[Written, dict[str, Any]]] = {
    "a column a model": (text(csv("n,resnet,vit", SIZES, ERRORS, OTHER)), {}),
    "columns asked for": (
        text(csv("n,val_loss,test_loss", SIZES, ERRORS, OTHER)),
        {"y": ["val_loss", "test_loss"]},
    ),
    "charts of W&B": (
        text(csv("Step,resnet - val/loss,vit - val/loss", SIZES, ERRORS, OTHER)),
        {"x": "Step"},
    ),
    "by": (
        text(csv("model,n,error", ["a"] * 5 + ["b"] * 5, SIZES * 2, ERRORS + OTHER)),
        {"by": "model"},
    ),
    "by two": (
        text(
            csv("model,set,n,error", ["a"] * 5 + ["b"] * 5, ["s"] * 10, SIZES * 2, ERRORS + OTHER)
        ),
        {"by": "model,set"},
    ),
    "lists by name": (
        as_json(
            {"a": {"n": SIZES, "acc": ACCURACIES}, "b": {"n": SIZES, "acc": [1 - e for e in OTHER]}}
        ),
        {},
    ),
    "rows by name": (
        as_json({"a": ROWS, "b": [{**r, "val_error": 1.5 * r["val_error"]} for r in ROWS]}),
        {},
    ),
    "sizes by name": (
        as_json(
            {
                "a": dict(zip(map(str, SIZES), ERRORS, strict=True)),
                "b": dict(zip(map(str, SIZES), OTHER, strict=True)),
            }
        ),
        {},
    ),
    "a curve a row": (
        as_json(
            [
                {"model": "a", "n": SIZES, "acc": ACCURACIES},
                {"model": "b", "n": SIZES, "acc": [1 - e for e in OTHER]},
            ]
        ),
        {"by": "model"},
    ),
    "sizes as columns": (
        text(
            "model,1k,2k,4k,8k,16k\na,"
            + ",".join(map(str, ERRORS))
            + "\nb,"
            + ",".join(map(str, OTHER))
            + "\n"
        ),
        {"by": "model"},
    ),
}


@pytest.mark.parametrize("shape", SEVERAL)
def test_several_curves(shape: str, tmp_path: Path) -> None:
    write, how = SEVERAL[shape]
    first, second = read(write(tmp_path), **how).curves
    for curve, errors in ((first, ERRORS), (second, OTHER)):
        assert curve.columns["samples"] == pytest.approx(SIZES)
        assert curve.columns["error"] == pytest.approx(errors)
    assert first.name != second.name


FOLDS = np.array(ERRORS)[:, None] * np.array([0.9, 1.0, 1.1])
REPLICATED: dict[str, tuple[Any, dict[str, Any]]] = {
    "numpy": ({"samples": np.array(SIZES), "error": FOLDS}, {}),
    "folds first": ({"samples": SIZES, "error": FOLDS.T}, {}),
    "scikit-learn": ({"train_sizes": SIZES, "test_scores": 1 - FOLDS}, {"higher_is_better": True}),
    "lists in JSON": (as_json({"n": SIZES, "errors": FOLDS.tolist()}), {}),
    "lists in cells": (
        text(csv("n;error", SIZES, [str(row.tolist()) for row in FOLDS], sep=";")),
        {},
    ),
    "folds as columns": (text(csv("n,fold_0,fold_1,fold_2", SIZES, *FOLDS.T.tolist())), {}),
    "splits of scikit-learn": (
        text(
            csv(
                "param_n_train,split0_test_error,split1_test_error,split2_test_error",
                SIZES,
                *FOLDS.T.tolist(),
            )
        ),
        {"x": "param_n_train"},
    ),
    "numbered errors": (text(csv("n,error_1,error_2,error_3", SIZES, *FOLDS.T.tolist())), {}),
    "seeds": (
        text(
            csv("n,seed,error", np.repeat(SIZES, 3).tolist(), [0, 1, 2] * 5, FOLDS.ravel().tolist())
        ),
        {},
    ),
}


@pytest.mark.parametrize("shape", REPLICATED)
def test_replicates(shape: str, tmp_path: Path) -> None:
    write, how = REPLICATED[shape]
    source = write if isinstance(write, dict) else write(tmp_path)
    (curve,) = read(source, **how).curves
    assert curve.columns["samples"] == pytest.approx(np.repeat(SIZES, 3).tolist())
    assert curve.columns["error"] == pytest.approx(FOLDS.ravel().tolist())


def test_a_mean_beside_its_splits_is_the_error() -> None:
    splits = {f"split{k}_test_error": column.tolist() for k, column in enumerate(FOLDS.T)}
    for kept in (2, 3):
        some = dict(list(splits.items())[:kept])
        table = {"n": SIZES, "mean_test_error": ERRORS, "rank_test_error": [5, 4, 3, 2, 1], **some}
        (curve,) = read(table).curves
        assert curve.columns["error"] == ERRORS


def test_a_column_may_name_the_metrics_of_another() -> None:
    table = {
        "n": np.repeat(SIZES, 2).tolist(),
        "metric": ["acc", "loss"] * 5,
        "value": [v for pair in zip(ACCURACIES, OTHER, strict=True) for v in pair],
    }
    with pytest.raises(TableError, match="mixes acc, loss; one curve has one: --by metric"):
        read(table)
    first, second = read(table, by="metric").curves
    assert (first.name, first.metric, second.name) == ("acc", "1 - accuracy", "loss")
    assert first.columns["error"] == pytest.approx(ERRORS)
    assert second.columns["error"] == pytest.approx(OTHER)
    (alone,) = read({"n": SIZES, "metric": ["auc"] * 5, "value": ACCURACIES}).curves
    assert alone.columns["error"] == pytest.approx(ERRORS)


def test_columns_of_two_levels_and_an_index() -> None:
    frame = pd.DataFrame(
        {("error", "mean"): ERRORS, ("error", "std"): [0.03] * 5}, index=pd.Index(SIZES, name="n")
    )
    (curve,) = read(frame, sd="error_std", runs=9).curves
    assert curve.columns["error"] == ERRORS
    assert curve.columns["se"] == pytest.approx([0.01] * 5)


# ---------------------------------------------------------------- folders and databases


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def huggingface(place: Path) -> Path:
    for n, e in zip(SIZES, ERRORS, strict=True):
        history = [
            {"epoch": 1.0, "step": 10, "eval_loss": 3 * e, "eval_accuracy": 0.1},
            {"epoch": 2.0, "step": 20, "eval_loss": e, "eval_accuracy": 0.2},
            {"epoch": 3.0, "step": 30, "eval_loss": 2 * e, "eval_accuracy": 0.3},
        ]
        state = {"global_step": 30, "log_history": history, "best_metric": e}
        put(place / f"run-{n}" / "checkpoint-30" / "trainer_state.json", state)
        put(
            place / f"run-{n}" / "checkpoint-10" / "trainer_state.json",
            {"log_history": history[:1]},
        )
        put(place / f"run-{n}" / "all_results.json", {"train_samples": n, "train_loss": 9.0})
    return place


def lightning(place: Path) -> Path:
    for i, (n, e) in enumerate(zip(SIZES, ERRORS, strict=True)):
        lines = f"epoch,step,train_loss,val_loss\n0,9,1.0,\n0,9,,{2 * e}\n1,19,0.5,\n1,19,,{e}\n"
        put(place / f"version_{i}" / "metrics.csv", lines)
        put(place / f"version_{i}" / "hparams.yaml", f"n_train: {n}\nlr: 0.1\n")
    return place


def mlruns(place: Path) -> Path:
    for i, (n, e) in enumerate(zip(SIZES, ERRORS, strict=True)):
        run = place / "0" / f"abc{i}"
        put(run / "meta.yaml", "status: 3\n")
        put(run / "params" / "n_train", str(n))
        put(run / "metrics" / "val_error", f"1 {3 * e} 0\n2 {e} 1\n")
    return place


def wandb(place: Path) -> Path:
    for i, (n, e) in enumerate(zip(SIZES, ERRORS, strict=True)):
        files = place / f"run-2026-{i}" / "files"
        put(files / "wandb-summary.json", {"val_loss": e, "_step": 7 + i, "_runtime": 3.5})
        put(files / "config.yaml", f"n_train:\n  desc: null\n  value: {n}\nlr:\n  value: 0.1\n")
    return place


def a_file_a_run(place: Path) -> Path:
    for n, e in zip(SIZES, ERRORS, strict=True):
        put(place / f"{n}.json", {"config": {"n_train": n, "seed": 0}, "result": {"val_error": e}})
    return place


def sizes_in_file_names(place: Path) -> Path:
    for n, e in zip(SIZES, ERRORS, strict=True):
        put(place / f"resnet18_n{n}.json", {"val_error": e})
    return place


def mlflow_database(place: Path) -> Path:
    with sqlite3.connect(place / "mlflow.db") as base:
        base.execute("CREATE TABLE runs (run_uuid, name, status, lifecycle_stage)")
        base.execute("CREATE TABLE params (key, value, run_uuid)")
        base.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step)")
        for i, (n, e) in enumerate(zip(SIZES, ERRORS, strict=True)):
            base.execute("INSERT INTO runs VALUES (?, ?, 'FINISHED', 'active')", (str(i), f"r{i}"))
            base.execute("INSERT INTO params VALUES ('n_train', ?, ?)", (str(n), str(i)))
            for step, value in enumerate((2 * e, e)):
                base.execute(
                    "INSERT INTO metrics VALUES ('val_error', ?, 0, ?, ?)", (value, str(i), step)
                )
        base.execute("INSERT INTO runs VALUES ('9', 'r9', 'FAILED', 'active')")
    base.close()
    return place / "mlflow.db"


def optuna_database(place: Path) -> Path:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{place / 'study.db'}")
    for n, e in zip(SIZES, ERRORS, strict=True):
        trial = study.ask()
        trial.suggest_categorical("model", ["a"])
        trial.set_user_attr("n_train", n)
        study.tell(trial, e)
    return place / "study.db"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "write",
    [huggingface, lightning, mlruns, wandb, a_file_a_run, sizes_in_file_names, mlflow_database,
     optuna_database],
)  # fmt: skip
def test_runs_of_trackers(write: Written, tmp_path: Path) -> None:
    how = {"y": "eval_loss"} if write is huggingface else {}
    (curve,) = read(write(tmp_path), **how).curves
    rows = sorted(zip(curve.columns["samples"], curve.columns["error"], strict=True))
    assert [m for m, _ in rows] == SIZES
    assert [e for _, e in rows] == pytest.approx(ERRORS)


def test_a_curve_a_file(tmp_path: Path) -> None:
    for name, errors in (("resnet", ERRORS), ("vit", OTHER)):
        put(tmp_path / f"{name}.csv", csv("n,error", SIZES, errors))
    first, second = read(tmp_path).curves
    assert (first.name, second.name) == ("resnet", "vit")
    assert second.columns["error"] == pytest.approx(OTHER)


def test_tasks_of_lm_eval_are_rows(tmp_path: Path) -> None:
    value = {
        "results": {"arc": {"acc,none": 0.4, "acc_stderr,none": 0.01, "alias": "arc"}},
        "config": {"model_num_parameters": 7e9}, "versions": {"arc": 1},
    }  # fmt: skip
    put(tmp_path / "r.json", value)
    with pytest.raises(TableError) as found:
        read(tmp_path / "r.json")
    assert "The columns are task, acc, acc_stderr, config.model_num_parameters" in str(found.value)


def test_a_workbook(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    pd.DataFrame(ROWS).to_excel(tmp_path / "t.xlsx", index=False)
    (curve,) = read(tmp_path / "t.xlsx").curves
    assert curve.columns["error"] == pytest.approx(ERRORS)


# ---------------------------------------------------------------- what is refused says how to go on


REFUSED = [
    (csv("a,b,c", [3, 1, 2], ["x", "y", "z"], ERRORS[:3]), "The columns are a, b, c"),
    (csv("foo,bar,baz", SIZES, ERRORS, ["u"] * 5), "--x foo --y bar"),
    (csv("log_n,error", [3, 4, 5], ERRORS[:3]), "--x-scale log10 or ln"),
    (csv("params_M,tokens_M,loss", SIZES, [1e9, 2e9, 3e9, 4e9, 5e9], ERRORS), "--x-scale plain"),
    (csv("epoch,val_loss", [1, 2, 3, 4, 5], ERRORS), "--x epoch"),
    (
        csv("n,val_loss,val_acc", SIZES, ERRORS, ACCURACIES),
        "'val_loss' or 'val_acc': choose with --y",
    ),
    (csv("n,result,why", SIZES, ACCURACIES, ["u"] * 5), "--higher-is-better"),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_a_refusal_names_columns_and_the_way_on(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TableError) as found:
        read(text(content)(tmp_path))
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": ROWS, "b": [{"x": 1, "y": 2}, {"x": 2, "y": 3}]}, r"jq '\.a' FILE \| steep read -"),
        ({"settings": {"lr": [0.1]}, "log": "text"}, "Its keys: 'settings'"),
        ({"n": SIZES, "error": ERRORS[:3]}, "different lengths: n 5, error 3"),
        (
            {"global_step": 5, "log_history": [{"step": 1, "eval_loss": 2.0}]},
            "history of one training run",
        ),
    ],
)
def test_json_that_is_no_table_names_its_keys(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=said):
        read(as_json(value)(tmp_path))


def test_twenty_bad_rows_are_named_and_the_others_counted(tmp_path: Path) -> None:
    lines = csv("n,error", [*range(1, 101)], ["bad"] * 60 + [0.5] * 40)
    with pytest.raises(TableError) as found:
        read(text(lines)(tmp_path))
    assert len(found.value.problems) == 21
    assert found.value.problems[0] == "line 2, column 'error': 'bad' is not a number"
    assert found.value.problems[-1] == "and 40 more like these"


@pytest.mark.parametrize("rows", [30_000, 50_001, 120_000])
def test_a_long_table_is_read_like_a_short_one(rows: int, tmp_path: Path) -> None:
    """Beyond some thousands of rows, text becomes numbers a chunk at a time."""
    sizes = np.tile(SIZES, rows // 5 + 1)[:rows]
    error = 4 * sizes**-0.3
    seeds = np.arange(rows)
    path = text(csv("n,seed,error", sizes.tolist(), seeds.tolist(), error.tolist()))(tmp_path)
    (curve,) = read(path).curves
    assert curve.columns == {"samples": sizes.tolist(), "error": error.tolist()}
    lines = path.read_text().splitlines()
    lines[rows - 3] = lines[rows - 3].replace(",0.", ",x0.")
    path.write_text("\n".join(lines))
    with pytest.raises(TableError, match=rf"line {rows - 2}, column 'error': 'x0"):
        read(path)


def test_a_table_read_and_written_tidy_reads_the_same(tmp_path: Path) -> None:
    from steep.present.reading import tidy

    content = csv(
        "model,log10_tokens,acc,acc_se",
        ["a"] * 5 + ["b"] * 5,
        np.log10(SIZES * 2).tolist(),
        ACCURACIES * 2,
        [0.01] * 10,
    )
    table: Table = read(text(content)(tmp_path), by="model")
    again = read(text(tidy(table), "tidy.csv")(tmp_path))
    assert [c.columns for c in again.curves] == [c.columns for c in table.curves]
    assert [(c.name, c.unit, c.metric) for c in again.curves] == [
        ("a", "tokens", "1 - accuracy"), ("b", "tokens", "1 - accuracy"),
    ]  # fmt: skip


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_damaged_compression_is_said(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = pack(csv("n,error", SIZES, ERRORS).encode())
    (tmp_path / "t.csv").write_bytes(data[: len(data) // 2])
    with pytest.raises(TableError, match="its compression is damaged"):
        read(tmp_path / "t.csv")
