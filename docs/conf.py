"""The site: `make docs`. Pages are Markdown; the API reference is made from docstrings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import steep

project = "steep"
version = release = steep.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "steep"
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Links into the repository; tests/test_docs.py follows all of them.
suppress_warnings = ["myst.xref_missing"]
