"""Reports as files, where they were asked for."""

from __future__ import annotations

from pathlib import Path

from steep.answers import Source
from steep.reports import report_of


def test_each_curve_of_a_table_has_its_report(tmp_path: Path) -> None:
    rows = [
        f"{name},{100 * 2**k},{a * (100 * 2**k) ** -0.3}\n"
        for name, a in (("one", 3.0), ("two", 2.0))
        for k in range(7)
    ]
    (tmp_path / "t.csv").write_text("model,samples,error\n" + "".join(rows))
    source = Source(str(tmp_path / "t.csv"), by="model")
    written = report_of(source, tmp_path / "r.html", None).paths
    assert [p.name for p in written] == ["r-1.html", "r-2.html"]
    assert all("<html" in p.read_text() for p in written)
