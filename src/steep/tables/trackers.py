"""The results of trackers and trainers as a table of runs: one row per run, with its final or best
values and its configuration, but not its history.

Folders of MLflow, W&B, Lightning and the Hugging Face trainer, a file a run in a folder, databases
of MLflow and Optuna.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.tables import words
from steep.tables.raw import RawTable, TableError, column_of, table_of_rows

if TYPE_CHECKING:
    import sqlite3

BEST_FITS = "results/best_fit.csv"
_RESULTS = ("all_results.json", "train_results.json", "eval_results.json", "test_results.json",
            "predict_results.json", "wandb-summary.json", "metrics.json", "results.json",
            "summary.json")  # fmt: skip
_CONFIGS = ("hparams.yaml", "config.yaml", "config.json", "args.json", "params.json", "params.yaml",
            "training_args.json", ".hydra/config.yaml")  # fmt: skip
_HISTORIES = ("trainer_state.json", "metrics.csv")
_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".zst", ".xz")
_MOST = 10_000
"""The most files of a folder that are read."""

Loader = Callable[[Any], RawTable]


def from_folder(path: Path, load: Loader) -> RawTable:
    """The table of a study with results, a tracker's folder, or a folder with one file per run.
    Raises TableError."""
    if (path / BEST_FITS).exists():
        return load(path / BEST_FITS)
    if rows := _mlflow_folder(path):
        return table_of_rows(str(path), rows, notes=(_runs_read(len(rows), "MLflow"),))
    if rows := _run_folders(path):
        return _with_sizes(
            table_of_rows(str(path), rows, notes=(_runs_read(len(rows), "folders"),))
        )
    files = [p for p in sorted(path.iterdir()) if p.suffix in _FILES and p.is_file()][:_MOST]
    if not files:
        seen = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
        raise TableError(
            [
                f"a folder without {BEST_FITS} is not a study with results, and no results of runs "
                f"are in it. It holds {seen}"
            ],
            str(path),
        )
    return _with_sizes(_from_files(path, files, load))


def _runs_read(count: int, what: str) -> str:
    return f"{count} runs were read from {what}, each with its final or best values."


# ---------------------------------------------------------------- a file per run


def _from_files(path: Path, files: Iterable[Path], load: Loader) -> RawTable:
    """All files as one table: each file is a run, or a curve if it has several rows."""
    rows: list[dict[str, Any]] = []
    tables = {file: load(file) for file in files}
    several = any(len(t.lines) > 1 for t in tables.values())
    history = any(words.is_history(c) for t in tables.values() for c in t.columns)
    label = "curve" if several and not history else "run"
    for file, table in tables.items():
        columns = list(table.cells.items())
        label_cell = {} if label in table.cells else {label: file.name.partition(".")[0]}
        rows += [label_cell | {n: c[i] for n, c in columns} for i in range(len(table.lines))]
    return table_of_rows(str(path), rows, notes=(f"{len(tables)} files are read as one table.",))


def _with_sizes(table: RawTable) -> RawTable:
    """If no column can hold sizes: take the one number that differs between the runs' names."""
    label = "run" if "run" in table.cells else "curve"
    if any(words.size_unit(c) for c in table.columns) or label not in table.cells:
        return table
    names = [str(n) for n in table.cells[label]]
    numbers = [re.findall(r"\d+(?:\.\d+)?(?:e\d+)?[kKmMbB]?(?![a-zA-Z])", n) for n in names]
    if not numbers or len({*map(len, numbers)}) > 1:
        return table
    differing = [c for c in zip(*numbers, strict=True) if len({*c}) > 1]
    matches = [
        re.search(r"(?:^|[^a-z])(?:n|size|train|samples)[-_=]?(\d+(?:\.\d+)?[kKmM]?)", n)
        for n in names
    ]
    sizes = differing[0] if len(differing) == 1 else None
    if all(matches):
        sizes = tuple(match[1] for match in matches if match)
    if sizes is None:
        return table
    note = "The sizes are taken from the names of the runs."
    bare = [
        re.sub(re.escape(s), "", n, count=1).strip("-_= ")
        for s, n in zip(sizes, names, strict=True)
    ]
    cells = {**table.cells, "samples": column_of(sizes)}
    if label == "curve":
        cells[label] = column_of(bare)
    return RawTable(table.source, cells, table.lines, table.place, notes=(*table.notes, note))


# ---------------------------------------------------------------- a folder per run


def _run_folders(path: Path) -> list[dict[str, Any]]:
    """A row for each folder that holds results of one run."""
    result_names = {*_RESULTS, *_HISTORIES}
    places: dict[Path, dict[str, Path]] = {}
    for file in sorted(path.rglob("*.*"))[:_MOST]:
        if file.name in result_names and file.parent != path:
            parts = [p for p in file.parent.relative_to(path).parts if p != "files"]
            steps = [p for p in parts if re.fullmatch(r"checkpoint-\d+", p)]
            run = path.joinpath(*(p for p in parts if p not in steps))
            run_files = places.setdefault(run, {})
            earlier = run_files.get(file.name)
            if earlier is None or _step(file) >= _step(earlier):
                run_files[file.name] = file
    rows = []
    for run, files in places.items():
        row: dict[str, Any] = {"run": str(run.relative_to(path))}
        folder = next(iter(files.values())).parent
        for name in _CONFIGS:
            if (folder / name).is_file():
                row |= {f"config.{k}": v for k, v in _settings(folder / name).items()}
        for name, file in files.items():
            row |= _final(file) if name in _HISTORIES else _scalars(_json(file))
        rows.append(row)
    return rows


def _step(file: Path) -> int:
    match = re.search(r"checkpoint-(\d+)", str(file))
    return int(match[1]) if match else 0


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TableError([f"not JSON: {error}"], str(file)) from None


def _settings(file: Path) -> dict[str, Any]:
    """A configuration by dotted path; W&B stores each value under 'value'."""
    if file.suffix == ".json":
        return _scalars(_json(file))
    import yaml

    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError:  # such as tags of Python objects: settings are optional
        return {}
    flat = _scalars(value) if isinstance(value, dict) else {}
    return {k.removesuffix(".value"): v for k, v in flat.items() if not k.endswith(".desc")}


def _scalars(value: Any, prefix: str = "") -> dict[str, Any]:
    scalars: dict[str, Any] = {}
    for name, cell in value.items() if isinstance(value, dict) else ():
        if isinstance(cell, dict):
            scalars |= _scalars(cell, f"{prefix}{name}.")
        elif isinstance(cell, str | int | float | bool):
            scalars[f"{prefix}{name}"] = cell
    return scalars


def _final(file: Path) -> dict[str, Any]:
    """The values at the best evaluation of a history, or the last ones if it has no metric."""
    if file.suffix == ".json":
        state = _json(file)
        history = [_scalars(entry) for entry in state.get("log_history", [])]
        extra = {k: v for k, v in _scalars(state).items() if k == "num_input_tokens_seen" and v}
    else:
        with file.open(newline="", encoding="utf-8") as lines:
            history = [
                {k: float(v) for k, v in row.items() if k and _is_number(v)}
                for row in csv.DictReader(lines)
            ]
        extra = {}
    metrics = dict.fromkeys(k for entry in history for k in entry if not words.is_history(k))
    judged = [k for k in metrics if words.metric_kind(k) and words.tokens(k)[:1] != ["train"]]
    losses = [k for k in judged if words.metric_kind(k) == "error"]
    best = losses or judged
    if best:
        entries = [e for e in history if best[0] in e]
        chosen = (
            min(entries, key=lambda e: e[best[0]])
            if losses
            else max(entries, key=lambda e: e[best[0]])
        )
        return extra | {k: v for k, v in chosen.items() if k in metrics}
    return extra | {k: v for entry in history for k, v in entry.items() if k in metrics}


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _mlflow_folder(path: Path) -> list[dict[str, Any]]:
    """mlruns/<experiment>/<run>/{metrics,params}/<name>: metrics are lines 'time value step'."""
    rows = []
    runs = [
        p.parent
        for depth in ("*", "*/*", "*/*/*")
        for p in path.glob(f"{depth}/metrics")
        if p.is_dir()
    ]
    for run in sorted(runs)[:_MOST]:
        if not (run / "meta.yaml").exists():
            continue
        row: dict[str, Any] = {"run": run.name}
        for file in sorted(run.glob("params/**/*")):
            if file.is_file():
                name = file.relative_to(run / "params")
                row[f"params.{name}"] = file.read_text(encoding="utf-8").strip()
        for file in sorted(run.glob("metrics/**/*")):
            lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
            values = [parts[1] for line in lines if len(parts := line.split()) > 1]
            if values:
                row[f"metrics.{file.relative_to(run / 'metrics')}"] = float(values[-1])
        rows.append(row)
    return rows


# ---------------------------------------------------------------- databases


def from_database(path: Path) -> RawTable:
    """The runs of an SQLite file of MLflow or Optuna. Raises TableError for other databases."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = {
                name
                for (name,) in database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            }
            if {"trials", "trial_values", "trial_params"} <= tables:
                rows, tool = _optuna(database), "Optuna"
            elif {"runs", "params", "metrics"} <= tables:
                rows, tool = _mlflow(database, "latest_metrics" in tables), "MLflow"
            else:
                raise TableError(
                    [
                        "a database of neither MLflow nor Optuna. Its tables: "
                        f"{', '.join(sorted(tables))}. Export one: sqlite3 -csv -header {path} "
                        "'SELECT * FROM TABLE' | steep read -"
                    ],
                    str(path),
                )
    except sqlite3.Error as error:
        raise TableError([f"the database cannot be read: {error}"], str(path)) from None
    finally:
        if "database" in locals():
            database.close()
    if not rows:
        raise TableError([f"this database of {tool} holds no runs"], str(path))
    return table_of_rows(str(path), rows, notes=(_runs_read(len(rows), tool),))


def _mlflow(database: sqlite3.Connection, latest: bool) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for run, name, status in database.execute(
        "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'"
    ):
        rows[run] = {"run": name or run, "status": status}
    for run, key, value in database.execute("SELECT run_uuid, key, value FROM params"):
        rows.get(run, {})[f"params.{key}"] = value
    table = "latest_metrics" if latest else "metrics"
    for run, key, value in database.execute(
        f"SELECT run_uuid, key, value FROM {table} ORDER BY step"
    ):
        rows.get(run, {})[f"metrics.{key}"] = value
    return list(rows.values())


def _optuna(database: sqlite3.Connection) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    studies = dict(database.execute("SELECT study_id, study_name FROM studies"))
    for trial, study, number, state in database.execute(
        "SELECT trial_id, study_id, number, state FROM trials"
    ):
        name = {"study": studies.get(study)} if len(studies) > 1 else {}
        rows[trial] = name | {"trial": number, "state": state}
    for trial, objective, value in database.execute(
        "SELECT trial_id, objective, value FROM trial_values"
    ):
        rows[trial]["value" if objective == 0 else f"value_{objective}"] = value
    for trial, name, value, distribution in database.execute(
        "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params"
    ):
        choices = json.loads(distribution).get("attributes", {}).get("choices")
        rows[trial][f"params.{name}"] = choices[int(value)] if choices else value
    for trial, key, value in database.execute(
        "SELECT trial_id, key, value_json FROM trial_user_attributes"
    ):
        rows[trial][f"user_attrs.{key}"] = json.loads(value)
    return list(rows.values())
