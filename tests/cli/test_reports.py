"""Reports as files, where they were asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steep.cli.answers import Source
from steep.cli.reports import comparison_report_of, report_of


def two_curves(folder: Path) -> Source:
    rows = [
        f"{name},{100 * 2**k},{a * (100 * 2**k) ** -0.3}\n"
        for name, a in (("one", 3.0), ("two", 2.0))
        for k in range(7)
    ]
    (folder / "t.csv").write_text("model,samples,error\n" + "".join(rows))
    return Source(str(folder / "t.csv"), by="model")


def test_all_curves_of_a_table_are_on_one_page(tmp_path: Path) -> None:
    written = report_of(two_curves(tmp_path), tmp_path / "r.html").paths
    assert written == (tmp_path / "r.html",)
    page = written[0].read_text().replace("\u00a0", " ")
    assert [name in page for name in ("<h2>All curves", "<h2>one", "<h2>two")] == [True] * 3
    drawn = re.findall(r'data-figure="([^"]+)"', page)
    assert drawn == ["learning_curves", "learning_curve_1", "learning_curve_2"]
    for name, truth in (("one", 3.0 * 64_000**-0.3), ("two", 2.0 * 64_000**-0.3)):
        said = re.search(rf"{name}: 10x the data: ([\d.]+) %", page)
        assert said is not None
        assert float(said[1]) == pytest.approx(100 * truth, rel=0.06)


def test_several_sources_are_compared_on_one_page(tmp_path: Path) -> None:
    for name, a in (("one", 3.0), ("two", 2.0)):
        rows = [f"{100 * 2**k},{a * (100 * 2**k) ** -0.3}\n" for k in range(7)]
        (tmp_path / f"{name}.csv").write_text("samples,error\n" + "".join(rows))
    sources = [Source(str(tmp_path / f"{name}.csv")) for name in ("one", "two")]
    (path,) = comparison_report_of(sources, tmp_path / "c.html").paths
    page = path.read_text()
    assert "have the same exponent" in page
    assert 'data-figure="learning_curves"' in page
    assert "3.86x" in page  # (3 / 2) ** (1 / 0.3): what the first needs of the other's data
