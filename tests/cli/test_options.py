"""The options of a table: one list for all questions, and each reaches the source that is read."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from steep.cli.answers import Source
from steep.cli.table_options import _HOW, Columns, reads


def test_every_field_of_a_source_is_an_option_and_the_other_way_round() -> None:
    assert set(_HOW) == {field.name for field in fields(Source)} - {"path"}


def test_a_question_gets_the_columns_it_asked_for_and_its_own_options_around_them() -> None:
    seen: list[Any] = []

    @reads("x", "robust", "validation_items")
    def ask(*, source: str, first: int = 1, columns: Columns, last: bool = False) -> None:
        """What for."""
        seen.append((Source(source, **columns), first, last))

    app = typer.Typer()
    app.command()(ask)
    run = CliRunner().invoke
    given = ["t.csv", "--x", "n", "--robust", "--last", "--validation-items", "7", "--first", "2"]
    assert run(app, given).exit_code == 0
    assert run(app, ["t.csv"]).exit_code == 0
    assert seen == [
        (Source("t.csv", x="n", robust=True, validation_items=7), 2, True),
        (Source("t.csv"), 1, False),
    ]
    assert run(app, ["t.csv", "--se", "s"]).exit_code == 2
    told = run(app, ["--help"]).output
    order = [told.index(f"--{name}") for name in ("first", "x", "robust", "validation-items")]
    assert order == sorted(order)
    assert "What for." in told
    assert told.index("--validation-items") < told.index("--last")


def test_a_name_that_is_no_option_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        reads("colour")(lambda *, columns: None)
