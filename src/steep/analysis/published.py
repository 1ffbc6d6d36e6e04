"""A study as a small folder of tables, to commit and to share. Its whole analysis can be repeated
from them, without its data, its weights or torch.

    study.json              the spec, the shards, what data and models are, registered forecasts
    trials.csv              one row per trial
    training_curves.csv.gz  every evaluation of every trial
    pairs.csv               differences of candidates over the items of V, which decide plateaus
    items.csv.gz            errors of the best fits on each item of V, used by comparisons
    best_fit.csv, fits.json, forecasts.csv      derived from the above, as in ``results/``
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from steep.analysis import decisions, from_store
from steep.analysis.analyse import Facts, paired_by
from steep.analysis.asked import Goal
from steep.analysis.costs import scaling_of, with_cost
from steep.analysis.paired_items import ItemsBySize, best_items
from steep.analysis.result_tables import result_files
from steep.base.plainfile import read_file
from steep.records import (
    Analysis,
    Candidate,
    HeldOutForecast,
    Measurement,
    Prediction,
    Scaling,
    Shard,
    Standing,
    StepCost,
    TimeSpent,
    TrialStanding,
    Value,
    decode,
    encode,
)
from steep.select import Paired
from steep.spec.sections import Spec
from steep.stats.zeros import counted
from steep.store.folder import PUBLISHED, StoreError

if TYPE_CHECKING:
    from steep.study import Study

FILE = PUBLISHED
_Pairs = dict[tuple[int, float, int, str, int, str], float]


def is_published(folder: Path | str) -> bool:
    return (Path(folder) / FILE).exists()


# ---------------------------------------------------------------- writing


def tables(study: Study) -> dict[str, bytes]:
    """File name -> content. Raises StoreError if nothing was trained yet."""
    with study.store() as store:
        payload = decisions.payload(store)
        facts = from_store.facts(store, study.spec, study.cut)
        measurements = store.measurements()
        registered = decisions.registered(store)
        timed = decisions.prediction_and_took(store)
        steps = decisions.steps(store)
        trials = from_store.trials(store, study.spec, study.cut)
        pair_errors: _Pairs = {}
        pairs = _recording(paired_by(facts, store.items), pair_errors)
        analysis = from_store.concluded(
            facts,
            counted(measurements, *from_store.items_of(payload)),
            registered,
            payload,
            study.cut.files,
            items=store.items,
            paired=pairs,
        )
    study_record = {
        "spec": study.spec.model_dump(mode="json"),
        "facts": payload,
        "shards": [asdict(shard) for shard in study.cut.shards],
        "files": dict(study.cut.files),
        "validation": validation_digest(study),
        "registered": [json.loads(encode(c)) for c in registered],
        "steps": [json.loads(encode(step)) for step in steps],
        "time": [None if record is None else json.loads(encode(record)) for record in timed],
        "hyperparameters": sorted({n for m in measurements for n, _ in m.trial.hyperparameters}),
    }
    items, group = best_items(study, analysis)
    return {
        FILE: (json.dumps(study_record, indent=1, allow_nan=False) + "\n").encode(),
        "trials.csv": _csv(trials),
        "training_curves.csv.gz": _zipped(_curves(measurements)),
        "pairs.csv": _csv(_pairs(pair_errors)),
        "items.csv.gz": _zipped(_items(items, group)),
        **{name: text.encode() for name, text in result_files(analysis).items()},
    }


def validation_digest(study: Study) -> str:
    """Digest of V's item numbers and contents: studies with equal digests have the same V."""
    digest = hashlib.sha256(study.cut.validation.tobytes())
    digest.update(study.cut.digests[study.cut.validation].tobytes())
    return digest.hexdigest()


def _recording(paired: Paired, record: _Pairs) -> Paired:
    """``paired``, with every standard error that it returns also kept in ``record``."""

    def answer(one: Candidate, other: Candidate, shard: Shard) -> float | None:
        error = paired(one, other, shard)
        if error is not None:
            record[_pair(one, other, shard)] = error
        return error

    return answer


def _pair(one: Candidate, other: Candidate, shard: Shard) -> tuple[int, float, int, str, int, str]:
    values = [json.dumps(dict(c.hyperparameters)) for c in (one, other)]
    return (shard.permutation, shard.samples, one.size, values[0], other.size, values[1])


_PAIR = ("permutation", "samples", "size", "hyperparameters", "other_size", "other_hyperparameters")


def _pairs(pair_errors: _Pairs) -> pd.DataFrame:
    rows = [(*place, error) for place, error in pair_errors.items()]
    return pd.DataFrame(rows, columns=[*_PAIR, "standard_error"])


def _curves(measurements: Any) -> pd.DataFrame:
    """All evaluations; ``trial`` is the row of trials.csv, from 0."""
    return pd.DataFrame(
        {"trial": row} | asdict(point) for row, m in enumerate(measurements) for point in m.curve
    )


def _items(items: ItemsBySize, group: np.ndarray) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {"permutation": p, "samples": m, "group": group, "errors": sums, "count": counts}
        )
        for (p, m), (sums, counts) in items.items()
    ]
    columns = ["permutation", "samples", "group", "errors", "count"]
    return pd.concat(frames) if frames else pd.DataFrame(columns=columns)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _zipped(frame: pd.DataFrame) -> bytes:
    """Compressed CSV. Seven digits are more than any measurement has; the archive has no time
    stamp, so that equal tables give equal files."""
    return gzip.compress(frame.to_csv(index=False, float_format="%.7g").encode(), mtime=0)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Published:
    """A published study, with the methods of ``Study`` that need no more than its tables."""

    folder: Path
    about: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path | str) -> Published:
        """Open a published study. Raises StoreError if there is none or it cannot be read."""
        path = Path(folder) / FILE
        try:
            study = cls(path.parent, json.loads(read_file(path)))
            study.spec  # noqa: B018 (validated now, so that an invalid spec is reported here)
        except KeyError:
            raise StoreError(f"{path} is not a published study: it has no spec") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from None
        return study

    @cached_property
    def spec(self) -> Spec:
        return Spec.model_validate(self.about["spec"])

    @property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(Shard(**values) for values in self.about["shards"])

    def analyse(self, **options: Any) -> Analysis:
        """As ``Study.analyse``."""
        registered = [decode(HeldOutForecast, json.dumps(c)) for c in self.about["registered"]]
        analysis = from_store.concluded(
            self._facts,
            self._counted(),
            registered,
            self.about["facts"],
            self.about["files"],
            items=lambda _: None,
            paired=self._paired(),
            **options,
        )
        predicted, took = self._times
        return replace(analysis, prediction=predicted, took=took)

    @property
    def _times(self) -> tuple[Prediction | None, TimeSpent | None]:
        """The predicted time, and what it took."""
        predicted, took = self.about.get("time") or (None, None)
        return (
            None if predicted is None else decode(Prediction, json.dumps(predicted)),
            None if took is None else decode(TimeSpent, json.dumps(took)),
        )

    def _counted(self) -> list[Measurement]:
        return counted(self.measurements(), *from_store.items_of(self.about["facts"]))

    @cached_property
    def _facts(self) -> Facts:
        recorded = self.about["facts"]
        group = np.empty(0) if "validation_items" in recorded else self.best_items()[1]
        return from_store.facts_of(recorded, self.spec, self.shards, group)

    @property
    def _steps(self) -> tuple[StepCost, ...]:
        return tuple(decode(StepCost, json.dumps(step)) for step in self.about.get("steps", ()))

    def analyse_with_cost(self) -> Analysis:
        """As ``Study.analyse_with_cost``."""
        return with_cost(self.analyse(), self._facts, self._counted(), self._steps)

    def scaling(self, level: float = 0.9, goals: Sequence[Goal] = ()) -> Scaling:
        """As ``Study.scaling``."""
        analysis = self.analyse(level=level)
        return scaling_of(analysis, self._facts, self._counted(), self._steps, goals)

    def standing(self, analysed: bool = True) -> Standing:
        """As ``Study.standing``, without the trials' attempts, which are not published; without its
        analysis unless ``analysed``."""
        analysis = self.analyse() if self._measurements and analysed else None
        rows = tuple(
            TrialStanding(m.trial, m.status, None, m.reason, m.seconds, m.validation_error)
            for m in self._measurements
        )
        took = self._times[1]
        complete = took is not None and took.complete
        return Standing(rows, analysis, None, complete, unit=self._facts.unit)

    def report(self) -> str:
        """The report's HTML, as a study's."""
        return from_store.report_of(*self.reported())

    def reported(self) -> tuple[Analysis, list[Measurement]]:
        """As ``Study.reported``."""
        return self.analyse_with_cost(), self._counted()

    def measurements(self) -> list[Measurement]:
        """Every ended trial's measurement."""
        return list(self._measurements)

    @cached_property
    def _measurements(self) -> tuple[Measurement, ...]:
        curves: dict[int, list[dict[str, str]]] = {}
        for row in self._rows("training_curves.csv.gz"):
            curves.setdefault(int(row.pop("trial")), []).append(row)
        try:
            return tuple(
                _measurement(row, self.about["hyperparameters"], curves.get(number, []))
                for number, row in enumerate(self._rows("trials.csv"))
            )
        except (KeyError, ValueError) as error:
            raise StoreError(
                f"{self.folder / 'trials.csv'}: not a table of trials: {error}"
            ) from None

    def best_items(self) -> tuple[ItemsBySize, np.ndarray]:
        """As ``paired_items.best_items``."""
        by_shard: dict[tuple[int, float], list[tuple[float, float, int]]] = {}
        for row in self._rows("items.csv.gz"):
            place = (int(row["permutation"]), float(row["samples"]))
            item = (float(row["errors"]), float(row["count"]), int(row["group"]))
            by_shard.setdefault(place, []).append(item)
        arrays = {place: np.array(items).T for place, items in by_shard.items()}
        group = next((a[2].astype(int) for a in arrays.values()), np.empty(0, int))
        return {place: (a[0], a[1]) for place, a in arrays.items()}, group

    def _paired(self) -> Paired:
        errors = {
            tuple(_value(row[name]) for name in _PAIR): float(row["standard_error"])
            for row in self._rows("pairs.csv")
        }

        def answer(one: Candidate, other: Candidate, shard: Shard) -> float | None:
            return errors.get(_pair(one, other, shard))

        return answer

    def _rows(self, name: str) -> list[dict[str, str]]:
        path = self.folder / name
        try:
            data = read_file(path)
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from None
        return list(csv.DictReader(io.StringIO(text)))


def _value(text: str) -> Value:
    """A cell's value: a bool or a number if it reads as one, else the text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _measurement(row: dict[str, str], names: list[str], curve: list[dict[str, str]]) -> Measurement:
    """The record of a row of trials.csv. Raises ValueError for an invalid row."""
    cells = {name: text for name, text in row.items() if text != ""}
    hyperparameters = {
        n: cells.pop(f"hyperparameter_{n}", None) or cells.pop(n, None) for n in names
    }
    record: dict[str, Any] = {n: cells[n] for n in _PLAIN if n in cells}
    record["trial"] = {n: cells[n] for n in ("permutation", "samples", "size", "seed")}
    record["trial"]["items"] = cells["shard"]
    record["trial"]["hyperparameters"] = sorted(
        (n, _value(v)) for n, v in hyperparameters.items() if v
    )
    record["metrics"] = sorted(
        (n.removeprefix("metric_"), _value(v)) for n, v in cells.items() if n.startswith("metric_")
    )
    versions = cells.get("versions", "").split("; ")
    record["versions"] = [v.split(" ", 1) for v in versions if v]
    record["curve"] = [{n: v or None for n, v in point.items()} for point in curve]
    return decode(Measurement, json.dumps(record))


_PLAIN = {f.name for f in fields(Measurement)} - {"trial", "metrics", "versions", "curve"}
