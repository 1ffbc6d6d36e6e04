"""How many items measured each error is one fact: every question of a table counts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from steep.cli.app import app
from steep.fit import fit

SIZES = [100 * 2**k for k in range(7)]
ERRORS = [2.0 * m**-0.5 for m in SIZES]
ITEMS = 50
SHARE = ((1 - ERRORS[-1]) / (ERRORS[-1] * ITEMS)) ** 0.5
"""Binomial, relative, at the largest size: 0.88."""


@pytest.fixture
def table(tmp_path: Path) -> str:
    rows = [f"{m},{e},{m}" for m, e in zip(SIZES, ERRORS, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["samples,error,parameters", *rows]))
    return str(tmp_path / "t.csv")


def ask(*options: str) -> Any:
    ended = CliRunner().invoke(app, [*options, "--json"])
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def width(lower: float, upper: float | None) -> float:
    return np.inf if upper is None else float(np.log(upper / lower))


def widths(table: str, *more: str) -> dict[str, float]:
    """The width of an interval of each question, in log error or log samples."""
    (made,) = ask("fit", table, *more)
    (told,) = ask("forecast", table, "--at", "4x", "--target", "3%", *more)
    (cost,) = ask("cost", table, "--target", "3%", *more)
    pair = ask("compare", table, table, "--error", "0.1", *more)["pairs"][0]
    at, target, needed = told["at"][0], told["targets"][0], cost["projections"][0]["samples"]
    worth = pair["multiplier"]
    return {
        "fit": -width(-made["beta_g"]["lower"], -made["beta_g"]["upper"]),
        "forecast": width(at["lower"], at["upper"]),
        "target": width(target["lower"] or 1e-9, target["upper"]),
        "cost": width(needed["lower"] or 1e-9, needed["upper"]),
        "compare": width(worth["lower"], worth["upper"]),
    }


def test_every_question_counts_the_validation_items(table: str) -> None:
    without, told = widths(table), widths(table, "--validation-items", str(ITEMS))
    normal = 2 * 1.645
    both = np.hypot(without["forecast"], normal * SHARE)  # of a normal; few points have a wider t
    assert both * 0.98 < told["forecast"] < both * 1.3
    # the error that is met moves by the share, at a slope of -1/2
    for question in ("target", "cost"):
        assert told[question] > 0.7 * normal * SHARE / 0.5, question
        assert without[question] < 0.5 * told[question], question
    assert told["compare"] > normal * SHARE
    extra = (SHARE**2 - (1 - ERRORS[0]) / (ERRORS[0] * ITEMS)) ** 0.5 / np.log(SIZES[-1] / SIZES[0])
    made = fit(samples=SIZES, error=ERRORS, validation_items=ITEMS)
    assert made.noise.validation == pytest.approx(SHARE)
    assert made.beta_g.upper - made.beta_g.lower > 0.999 * normal * extra  # type: ignore[union-attr,operator]
    assert told["fit"] > without["fit"]


def test_diagnose_and_report_name_it(table: str, tmp_path: Path) -> None:
    (found,) = ask("diagnose", table, "--validation-items", str(ITEMS))
    assert "validation set" in [f["kind"] for f in found["findings"]]
    for items, named in ((ITEMS, True), (10**9, False)):
        page = tmp_path / f"{items}.html"
        ask("report", table, "--out", str(page), "--validation-items", str(items))
        assert ("50 validation items is" in page.read_text(encoding="utf-8")) is named


@pytest.mark.parametrize("question", ["fit", "forecast", "cost", "diagnose", "backtest", "report"])
def test_a_loss_is_not_counted_on_items(question: str, tmp_path: Path) -> None:
    rows = [f"{m},{30 * e},{m}" for m, e in zip(SIZES, ERRORS, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["samples,loss,parameters", *rows]))
    ended = CliRunner().invoke(app, [question, str(tmp_path / "t.csv"), "--validation-items", "50"])
    assert ended.exit_code != 0
    assert "error rates, from 0 to 1" in f"{ended.output}{ended.exception}"
