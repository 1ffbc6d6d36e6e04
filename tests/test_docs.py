"""Every command and every Python block of README and docs runs, in the order it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from steep.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SLOW = ("steep run", "steep demo", "steep data get")
"""Commands that train or download: minutes, not seconds."""


def commands(page: Path) -> list[str]:
    """The lines of a page's indented blocks that are commands of ours, without comments."""
    blocks = [line for line in page.read_text().splitlines() if line.startswith("    ")]
    lines = (line.split(" #")[0].strip() for line in blocks)
    return [line for line in lines if re.match(r"(steep|make) [a-z]", line)]


ALL = [(page, command) for page in dict.fromkeys(PAGES) for command in commands(page)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the repository's root, with what a reader is told to have."""
    for name in ("examples", "studies"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "src" / "steep").mkdir(parents=True)
    (tmp_path / "src" / "steep" / "data").symlink_to(ROOT / "src" / "steep" / "data")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "data").symlink_to(ROOT / "benchmarks" / "data")
    (tmp_path / "out").mkdir()
    _images(tmp_path / "path" / "to" / "images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _images(folder: Path, each: int = 150, brighter: int = 60) -> None:
    """Four classes of noisy 8 x 8 pictures: a bright quarter each."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in range(4):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
        for number in range(each):
            pixels = rng.integers(0, 160, (8, 8))
            row, column = divmod(label, 2)
            pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += brighter
            picture = image.fromarray(pixels.astype(np.uint8))
            picture.save(folder / f"class_{label}" / f"{number}.png")


def test_there_are_commands_to_test() -> None:
    assert len(ALL) > 12


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("command", sorted({c for _, c in ALL if c.startswith("make")}))
def test_make_knows_the_target(command: str) -> None:
    words = shlex.split(command)
    subprocess.run([words[0], "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)


def _needs_a_study(command: str) -> bool:
    return "my-study" in command or "study.yaml" in command.split()


PLAIN = sorted(
    {
        c
        for _, c in ALL
        if c.startswith("steep") and not c.startswith(SLOW) and not _needs_a_study(c)
    }
)


@pytest.mark.parametrize("command", PLAIN)
def test_command_runs(command: str, desk: Path) -> None:
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert result.output.strip()


def test_the_answer_on_the_pages_is_what_is_printed(desk: Path) -> None:
    pages = [(ROOT / page).read_text() for page in ("README.md", "docs/ways-in.md")]
    command = "forecast examples/results.csv --at 10x --target 5%"
    printed = CliRunner().invoke(app, shlex.split(command)).output.splitlines()
    for page in pages:
        assert f"    {printed[0]}\n    {printed[1]}\n" in page


def test_the_verdicts_on_the_page_are_what_is_printed(desk: Path) -> None:
    readme = " ".join((ROOT / "docs" / "ways-in.md").read_text().split())
    same = "compare studies/results/words-lstm2 studies/results/words-rhn5"
    told = CliRunner().invoke(app, shlex.split(same)).output.splitlines()[0]
    assert told in readme
    other = "compare studies/results/speech-attention studies/results/speech-deepspeech2"
    assert "have different exponents" in CliRunner().invoke(app, shlex.split(other)).output
    assert f"steep {other}" in readme


@pytest.mark.slow
def test_the_second_door_opens(desk: Path) -> None:
    """On images enough for a law, and too hard to be learnt by heart."""
    _images(desk / "path" / "to" / "images", each=600, brighter=25)
    for command in [c for _, c in ALL if _needs_a_study(c) or c.startswith("steep init")]:
        words = shlex.split(command.replace("my-study", "images-study"))
        result = subprocess.run([sys.executable, "-m", "steep", *words[1:]], check=False)
        assert result.returncode == 0, command
    assert (desk / "images-study" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", sorted({c for _, c in ALL if c.startswith(SLOW) and not _needs_a_study(c)})
)
def test_training_command_runs(command: str, desk: Path) -> None:
    words = [sys.executable, "-m", "steep", *shlex.split(command)[1:]]
    assert subprocess.run(words, check=False).returncode == 0


MY_STUDY = """
study: mine
domain: {name: external, items: 400}
split: {validation: 50}
family: {name: none, sizes: [1, 2]}
shards: {smallest: 20}
trainer: {name: function, function: "unused.py:train"}
"""


BLOCKS = [
    block
    for page in (ROOT / "README.md", ROOT / "docs" / "ways-in.md")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize("block", dict.fromkeys(BLOCKS))
def test_python_block_runs(block: str, desk: Path) -> None:
    (desk / "my_study.yaml").write_text(MY_STUDY)
    exec(compile(block, "a page", "exec"), {"__name__": "page"})
