"""A study as a small folder of tables, to commit and to share: whatever it says can be made again
from them, without its data, its weights or torch.

    study.json              the spec, the shards, what data and models are, registered forecasts
    trials.csv              one row per trial
    training_curves.csv.gz  every evaluation of every trial
    pairs.csv               differences of candidates over the items of V: what plateaus rest on
    items.csv.gz            errors of the best fits on each item of V: what comparisons rest on
    best_fit.csv, fits.json, forecasts.csv      made of the above, as in a study's ``results``
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
    Confrontation,
    Measurement,
    Prediction,
    Scaling,
    Shard,
    Standing,
    StepCost,
    Took,
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


# ---------------------------------------------------------------- out


def tables(study: Study) -> dict[str, bytes]:
    """File name -> content. Raises StoreError where nothing was trained yet."""
    with study.store() as store:
        payload = decisions.payload(store)
        known = from_store.facts(store, study.spec, study.cut)
        measurements = store.measurements()
        registered = decisions.registered(store)
        timed = decisions.prediction_and_took(store)
        steps = decisions.steps(store)
        trials = from_store.trials(store, study.spec, study.cut)
        asked: _Pairs = {}
        pairs = _noted(paired_by(known, store.items), asked)
        made = from_store.concluded(
            known,
            counted(measurements, *from_store.items_of(payload)),
            registered,
            payload,
            study.cut.files,
            items=store.items,
            paired=pairs,
        )
    about = {
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
    items, group = best_items(study, made)
    return {
        FILE: (json.dumps(about, indent=1, allow_nan=False) + "\n").encode(),
        "trials.csv": _csv(trials),
        "training_curves.csv.gz": _zipped(_curves(measurements)),
        "pairs.csv": _csv(_pairs(asked)),
        "items.csv.gz": _zipped(_items(items, group)),
        **{name: text.encode() for name, text in result_files(made).items()},
    }


def validation_digest(study: Study) -> str:
    """Of V's items, by number and content: studies with the same one share their V."""
    found = hashlib.sha256(study.cut.validation.tobytes())
    found.update(study.cut.digests[study.cut.validation].tobytes())
    return found.hexdigest()


def _noted(ask: Paired, asked: _Pairs) -> Paired:
    """``ask``, with what it answers kept in ``asked``."""

    def answer(one: Candidate, other: Candidate, shard: Shard) -> float | None:
        found = ask(one, other, shard)
        if found is not None:
            asked[_pair(one, other, shard)] = found
        return found

    return answer


def _pair(one: Candidate, other: Candidate, shard: Shard) -> tuple[int, float, int, str, int, str]:
    values = [json.dumps(dict(c.hyperparameters)) for c in (one, other)]
    return (shard.permutation, shard.samples, one.size, values[0], other.size, values[1])


_PAIR = ("permutation", "samples", "size", "hyperparameters", "other_size", "other_hyperparameters")


def _pairs(asked: _Pairs) -> pd.DataFrame:
    rows = [(*place, error) for place, error in asked.items()]
    return pd.DataFrame(rows, columns=[*_PAIR, "standard_error"])


def _curves(measurements: Any) -> pd.DataFrame:
    """``trial`` is the row of trials.csv, from 0."""
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
    """Seven digits are more than anything measured has. Without a time, so that the same
    table is the same file."""
    return gzip.compress(frame.to_csv(index=False, float_format="%.7g").encode(), mtime=0)


# ---------------------------------------------------------------- back


@dataclass(frozen=True)
class Published:
    """A published study, read: it answers as ``Study`` does, as far as tables go."""

    folder: Path
    about: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path | str) -> Published:
        """Raises StoreError where there is none or it cannot be read."""
        place = Path(folder)
        try:
            found = cls(place, json.loads(read_file(place / FILE)))
            found.spec  # noqa: B018 (one that cannot be read is told now)
        except KeyError:
            raise StoreError(f"{place / FILE} is not a published study: it has no spec") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{place / FILE} cannot be read: {error}") from None
        return found

    @cached_property
    def spec(self) -> Spec:
        return Spec.model_validate(self.about["spec"])

    @property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(Shard(**values) for values in self.about["shards"])

    def analyse(self, **asked: Any) -> Analysis:
        """As ``Study.analyse``."""
        registered = [decode(Confrontation, json.dumps(c)) for c in self.about["registered"]]
        made = from_store.concluded(
            self._facts,
            self._counted(),
            registered,
            self.about["facts"],
            self.about["files"],
            items=lambda _: None,
            paired=self._paired(),
            **asked,
        )
        predicted, took = self.about.get("time") or (None, None)
        return replace(
            made,
            prediction=None if predicted is None else decode(Prediction, json.dumps(predicted)),
            took=None if took is None else decode(Took, json.dumps(took)),
        )

    def _counted(self) -> list[Measurement]:
        return counted(self.measurements(), *from_store.items_of(self.about["facts"]))

    @property
    def _facts(self) -> Facts:
        return from_store.facts_of(self.about["facts"], self.spec, self.shards, np.empty(0))

    @property
    def _steps(self) -> tuple[StepCost, ...]:
        return tuple(decode(StepCost, json.dumps(step)) for step in self.about.get("steps", ()))

    def analyse_with_cost(self) -> Analysis:
        """As ``Study.analyse_with_cost``."""
        return with_cost(self.analyse(), self._facts, self._counted(), self._steps)

    def scaling(self, level: float = 0.9, goals: Sequence[Goal] = ()) -> Scaling:
        """As ``Study.scaling``."""
        made = self.analyse(level=level)
        return scaling_of(made, self._facts, self._counted(), self._steps, goals)

    def standing(self) -> Standing:
        """As ``Study.standing``: how each trial ended. How often one was tried is not published."""
        made = self.analyse() if self._measurements else None
        rows = tuple(
            TrialStanding(m.trial, m.status, None, m.reason, m.seconds) for m in self._measurements
        )
        over = made is not None and made.took is not None and made.took.complete
        return Standing(rows, made, None, over)

    def report(self) -> str:
        """The report's HTML, as a study's."""
        return from_store.report_of(self.analyse_with_cost(), self._counted())

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
        found: dict[tuple[int, float], list[tuple[float, float, int]]] = {}
        for row in self._rows("items.csv.gz"):
            place = (int(row["permutation"]), float(row["samples"]))
            item = (float(row["errors"]), float(row["count"]), int(row["group"]))
            found.setdefault(place, []).append(item)
        arrays = {place: np.array(items).T for place, items in found.items()}
        group = next((a[2].astype(int) for a in arrays.values()), np.empty(0, int))
        return {place: (a[0], a[1]) for place, a in arrays.items()}, group

    def _paired(self) -> Paired:
        known = {
            tuple(_value(row[name]) for name in _PAIR): float(row["standard_error"])
            for row in self._rows("pairs.csv")
        }

        def answer(one: Candidate, other: Candidate, shard: Shard) -> float | None:
            return known.get(_pair(one, other, shard))

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
    """A cell as the value that was written: a number where it reads as one."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _measurement(row: dict[str, str], names: list[str], curve: list[dict[str, str]]) -> Measurement:
    """The record of a row of trials.csv. Raises ValueError for a row that is none."""
    known = {name: text for name, text in row.items() if text != ""}
    given = {n: known.pop(f"hyperparameter_{n}", None) or known.pop(n, None) for n in names}
    record: dict[str, Any] = {n: known[n] for n in _PLAIN if n in known}
    record["trial"] = {n: known[n] for n in ("permutation", "samples", "size", "seed")}
    record["trial"]["items"] = known["shard"]
    record["trial"]["hyperparameters"] = sorted((n, _value(v)) for n, v in given.items() if v)
    record["metrics"] = sorted(
        (n.removeprefix("metric_"), _value(v)) for n, v in known.items() if n.startswith("metric_")
    )
    versions = known.get("versions", "").split("; ")
    record["versions"] = [v.split(" ", 1) for v in versions if v]
    record["curve"] = [{n: v or None for n, v in point.items()} for point in curve]
    return decode(Measurement, json.dumps(record))


_PLAIN = {f.name for f in fields(Measurement)} - {"trial", "metrics", "versions", "curve"}
