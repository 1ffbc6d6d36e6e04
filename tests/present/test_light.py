"""Importing what the command line needs stays light: no torch, pandas, matplotlib."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "pandas", "matplotlib", "scipy", "jinja2"}


def test_sentences_and_tables_import_nothing_heavy():
    code = (
        "import sys, steep.present.sentences, steep.present.tables, steep.present.numbers, "
        f"steep.present.palette; print(*({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_report_never_imports_torch():
    code = "import sys, steep.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
