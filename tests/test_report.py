"""The report: one file, complete, inert, in the promised order."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from steep.present import numbers
from steep.records import UNFINISHED, Analysis, Backtest, Finding, Score
from steep.report import _facts, export_figures, report


@pytest.fixture(scope="module")
def page(made_study):
    return report(made_study.analysis, made_study.measurements)


class Texts(HTMLParser):
    """Headings and the text of the page, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self._in = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._in = tag
        self.scripts += tag == "script"

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in in ("h1", "h2"):
            self.headings.append(data)


def read(page: str) -> Texts:
    texts = Texts()
    texts.feed(page)
    return texts


def test_the_answer_comes_first_then_its_caveat(page):
    first, caveat = page.index('class="first"'), page.index('class="caveat"')
    assert first < caveat < page.index("<h2>")
    assert "10x: 5." in page[first:caveat]


def test_sections_come_in_order(page):
    assert read(page).headings == [
        "clothes-14", "Learning curve", "Model-size curve", "Error against model size",
        "Training curves", "Tables", "Flagged", "Provenance",
    ]  # fmt: skip


def test_nothing_is_loaded_from_outside(page):
    head = page[: page.index("<script>")]
    assert "default-src 'none'" in head
    assert not re.search(r"""(src|href)=["']""", page)
    assert "@import" not in head
    assert not re.search(r"url\((?!#)", head)


def test_figures_travel_as_data_with_their_dark_colours(page):
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)[1]
    data = json.loads(text)
    assert set(re.findall(r'data-figure="([^"]+)"', page)) == set(data)
    assert "--main:#0b5fa5;" in page
    assert "--main:#62b0f0;" in page


def test_a_report_is_small(page):
    assert len(page.encode()) < 1_500_000


def test_a_hostile_name_is_inert(made_study):
    bad = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    analysis = made_study.analysis
    first = replace(analysis.curves[0], fit=replace(analysis.curves[0].fit, unit=bad))
    findings = (Finding(bad, "serious", bad, bad, bad),)
    hostile = replace(
        analysis, study=bad, family=bad, domain=bad, unit=bad, curves=(first,), findings=findings,
        provenance=((bad, bad),),
    )  # fmt: skip
    page = report(hostile, made_study.measurements)
    assert "<script>alert" not in page
    assert "<img" not in page.split("</main>")[0]
    assert read(page).scripts == 2


def test_a_serious_finding_stands_beside_the_caveat(made_study):
    finding = Finding("capped", "serious", "4,000 images", "the best fit met the cap", "raise it")
    page = report(replace(made_study.analysis, findings=(finding,)), made_study.measurements)
    assert "the best fit met the cap" in page[: page.index("<h2>")]


def test_the_backtest_has_a_section(made_study):
    score = Score(8e3, 2e3, 5, 0.12, 0.13, 0.11, 0.15, 0.08, True, 0.4, 0.3)
    found = Backtest("ok", 0.9, (score,), sentence="Half of it held.", unit="images")
    page = report(made_study.analysis, made_study.measurements, found)
    assert "Back-test" in read(page).headings
    assert "Half of it held." in page


def test_a_study_without_results_has_a_page_too(made_study):
    empty = Analysis("nothing yet", "images", "resnet", "engine", "images", "error", (),
                     made_study.analysis.shards, (), (), ())  # fmt: skip
    page = report(empty, ())
    assert "no shard has a finished model yet" in page
    assert read(page).headings == ["nothing yet", "Flagged", "Provenance"]


def test_a_table_of_results_has_a_report(made_study):
    fitted = made_study.analysis.curves[0]
    table = Analysis("results.csv", "", "", "", "images", "error", (), (), (), (fitted,), ())
    page = report(table, ())
    assert read(page).headings == ["results.csv", "Learning curve", "Tables", "Flagged"]
    assert "A table of results: 7 sizes, 125 to 8,000 images" in page
    assert "trained by" not in page
    assert "best-fit models" not in page


def test_reports_are_deterministic(made_study, page):
    assert report(made_study.analysis, made_study.measurements) == page


def test_every_figure_is_exported_as_png_and_svg(made_study):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    analysis = replace(made_study.analysis, curves=made_study.analysis.curves[:1])
    files = dict(export_figures(analysis, made_study.measurements[:20]))
    assert set(files) == {
        f"{name}.{ending}"
        for name in ("learning_curve", "model_size", "error_by_size", "training_curves")
        for ending in ("png", "svg")
    }
    assert all(data.startswith(b"\x89PNG") for name, data in files.items() if name[-3:] == "png")
    assert all(b"<svg" in data for name, data in files.items() if name[-3:] == "svg")


def test_the_exponent_is_of_what_was_measured_and_the_next_doubling_is_the_forecast(made_study):
    """A curve may bend: what twice the data brings is the forecast's answer, not the slope's."""
    first = made_study.analysis.headline
    facts = {f["name"]: f for f in _facts(made_study.analysis, made_study.measurements)}
    assert facts["Exponent beta_g"]["about"].startswith("of what was measured; power-law region")
    (twice,) = [a for a in first.forecast.at if a.factor == 2.0]
    how = numbers.fit_scale(first.fit)
    told = facts["The next doubling"]
    assert told["value"] == numbers.estimate(twice.error, twice.lower, twice.upper, how)
    now = numbers.measured(first.fit.used[-1].error, how)
    assert told["about"] == f"forecast for 2x the data, {now} now"
    (*points, last) = first.fit.points
    bound = replace(last, used=False, reason=UNFINISHED)
    fit = replace(first.fit, points=(*points, bound))
    cut = replace(made_study.analysis, curves=(replace(first, fit=fit),))
    facts = {f["name"]: f for f in _facts(cut, made_study.measurements)}
    assert facts["The next doubling"]["about"] == told["about"], "of what is measured, used or not"
