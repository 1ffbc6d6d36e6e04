"""Bundled data and the spec of the demo; see NOTICE for the licences."""

from pathlib import Path

FOLDER = Path(__file__).parent


def demo_spec() -> Path:
    """The spec of ``steep demo``: a slice of Fashion-MNIST, ResNets of five widths."""
    return FOLDER / "demo.yaml"
