"""Sentences of the answers that a study of one fixed model, or of another unit, gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from steep.cli import init_command
from steep.cli.app import app
from steep.cli.terminal import _budget
from steep.fit import fit
from steep.present.costs import limit_sentence
from steep.present.fits import point_lines, size_lines
from steep.present.lines import trial_name
from steep.present.tables import counted_laws
from steep.questions.diagnose import diagnose
from steep.records import NO_EMBEDDINGS, Interval, Limit, Point, SizeLaw, Trial
from steep.spec.load import QuestionError
from steep.study import Study

SPEC: dict[str, Any] = {
    "study": "own", "domain": {"name": "external", "items": 6400, "unit": "rows"},
    "family": {"sizes": [1]}, "shards": {"smallest": 100},
    "search": {"planner": "grid", "seeds": 2}, "run": {"executor": "inline"},
}  # fmt: skip


def study(folder: Path, sizes: list[int], answer: Any) -> Study:
    def train(shard: Any, size: int, seed: int) -> Any:
        return answer(len(shard.train), size, seed)

    found = Study({**SPEC, "family": {"sizes": sizes}}, folder / "own", trainer=train)
    found.run(progress=False)
    return found


def falling(count: int, size: int, seed: int) -> dict[str, float]:
    return {"error": count**-0.4 * (1 + 0.01 * seed), "parameters": 1000 * size}


def ask(*arguments: object) -> str:
    return CliRunner().invoke(app, [str(one) for one in arguments]).output


def test_status_counts_in_the_unit_of_the_study(tmp_path: Path) -> None:
    def fails(count: int, size: int, seed: int) -> dict[str, float]:
        if count == 6400:
            raise ValueError("too many")
        return falling(count, size, seed)

    text = ask("status", study(tmp_path, [1], fails).folder)
    assert "6,400 rows, size 1" in text
    assert "samples" not in text
    assert trial_name(Trial(0, 5, 5, 1, (), 0), (), unit="words").startswith("5 words")


def test_a_fit_of_a_study_has_seeds_and_no_law_without_embeddings(tmp_path: Path) -> None:
    done = study(tmp_path, [1, 2, 4], falling)
    text = ask("fit", done.folder)
    assert "seeds" in text
    assert "replicates" not in text
    assert "without embeddings" not in text
    assert dict(done.analyse().size_laws)[
        "smallest adequate, without embeddings"
    ].reason == NO_EMBEDDINGS  # fmt: skip
    assert "without embeddings" not in done.report().read_text()
    of_table = point_lines(fit(points=[Point(m, m**-0.3) for m in (100, 200, 400, 800)]))
    assert "replicates" in of_table


def test_no_definition_of_the_best_size_has_a_comma_in_its_name() -> None:
    missing = SizeLaw("not measured", "only one")
    laws = [(name, missing) for name in ("first", "lowest", "smallest, without embeddings")]
    assert size_lines(laws)[1] == (
        "By other definitions of the best size: not measured by lowest and smallest without "
        "embeddings."
    )
    assert len(counted_laws([*laws, ("other", SizeLaw("not measured", NO_EMBEDDINGS))])) == 3


def test_one_size_of_an_unfinished_search_is_no_size_law(tmp_path: Path) -> None:
    """It had been a law of exponent 0 whose optima all lay inside the ladder."""

    def fails(count: int, size: int, seed: int) -> dict[str, float]:
        if count == 6400 and seed:
            raise ValueError("no second seed")
        return falling(count, size, seed)

    law = dict(study(tmp_path, [1], fails).analyse().size_laws)["smallest adequate"]
    assert (law.outcome, law.two_sided, law.beta_p) == ("not measured", 0, None)


def test_nothing_is_to_be_searched_where_there_is_one_setting(tmp_path: Path) -> None:
    """Neither where the curve rises by more than the noise of seeds nor at a point off it."""

    def rough(count: int, size: int, seed: int) -> dict[str, float]:
        worse = {800: 1.4, 3200: 1.5}.get(count, 1.0)
        return {"error": 0.3 * count**-0.1 * worse * (1 + 0.001 * seed)}

    one = study(tmp_path / "one", [1], rough).analyse().findings
    several = study(tmp_path / "several", [1, 2], rough).analyse().findings
    assert any("Search" in f.next_step for f in several)
    assert not any("Search" in f.next_step or "learning rates" in f.next_step for f in one)
    assert any("permutations: 2 or more in the spec" in f.next_step for f in one)


def test_more_data_needs_a_model_to_match_only_where_models_grow() -> None:
    slope = Interval(-0.2, -0.3, -0.1)
    fixed, grown = (Limit("data", 1e4, None, None, slope, slope, one) for one in (False, True))
    assert limit_sentence(fixed, "rows").endswith("more data lowers the error.")
    assert limit_sentence(grown, "rows").endswith("with a model to match, lowers the error.")


def test_a_fixed_model_does_not_grow(tmp_path: Path) -> None:
    text = ask("cost", study(tmp_path, [1], falling).folder, "--target", "1%")
    assert "more data lowers the error." in text


@pytest.mark.parametrize("text", ["10", "3600", "0.5"])
def test_a_bare_number_is_no_budget(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        _budget(text)
    assert f"--budget {text}: of what? Write a time ({text}m, {text}h)" in capsys.readouterr().err


def test_budgets_with_a_unit() -> None:
    assert _budget("1e15") == _budget("1e15 FLOPs") == _budget("1E15flops") == (1e15, None)
    assert _budget("10 flops") == (10.0, None)
    assert _budget("10m") == (None, 600.0)


def test_a_pattern_needs_the_name_of_its_number(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"^--pattern needs --metric"):
        init_command.propose(
            [], "python x {shard}", [], items=500, label=None, metric=None,
            pattern="acc {number}", budget=None, workers=None, base=tmp_path,
        )  # fmt: skip


def test_a_distance_between_errors_in_percent_is_in_points() -> None:
    sizes = [100.0 * 2.0**k for k in range(8)]
    errors = [m**-0.2 * (1 + 0.001 * (-1) ** k) for k, m in enumerate(sizes)]
    errors[3] *= 1.3
    found = {f.kind: f for f in diagnose(fit(samples=sizes, error=errors))}["off trend"]
    assert "34.1 % lies 7.8 points above what the other points make expected" in found.evidence
