"""Bundled data and the spec of the demo; see NOTICE for the licences."""

from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@cache
def values(name: str) -> Any:
    """A bundled .yaml file, read; not to be changed."""
    import yaml

    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def demo_spec() -> Path:
    """The spec of ``steep demo``: a slice of Fashion-MNIST, ResNets of five widths."""
    return FOLDER / "demo.yaml"
