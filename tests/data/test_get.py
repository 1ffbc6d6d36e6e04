"""Getting a source: claimed, made, written down, verified, mended; nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from making import apt_with, make_deb, package_of, silent

from steep.base import registry
from steep.cli import app
from steep.contracts.source import Counts, Members, Source, SourceError
from steep.data.sources import get as getting
from steep.data.sources.get import MAKING, RECORD, all_sources, get
from steep.present.sources import source_table
from steep.present.work import Work

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A source of one package: its words, one a file, beside a constant one."""
    (tmp_path / "archive").mkdir()
    deb = make_deb(tmp_path / "archive" / "words_1.0_all.deb", {"usr/words": b"red green blue"})
    package = package_of(deb)

    def prepare(members: Members, folder: Path, tell: Any) -> Counts:
        module.made += 1
        ((_, content),) = members("words", "usr/words".__eq__)
        (folder / "text").mkdir()
        for word in content.decode().split():
            (folder / "text" / f"{word}.txt").write_text(f"{word}\n")
        (folder / "list.txt").write_text("red\n")
        if module.fail:
            raise KeyboardInterrupt
        return {"words": 3}

    made_of = Source("Words", ("words",), "text", {"words": 3}, "none", (package,))
    module = SimpleNamespace(SOURCE=made_of, prepare=prepare, made=0, fail=False, deb=deb)
    monkeypatch.setitem(registry.SOURCES, "words", "words")
    real = getting.source_of
    monkeypatch.setattr(getting, "source_of", lambda n: module if n == "words" else real(n))
    module.log = apt_with(tmp_path / "bin", deb, monkeypatch)
    return module


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_what_is_written_down(words: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "words"
    record, there = get("words", folder, silent)
    assert not there
    assert record == json.loads((folder / RECORD).read_text())
    found = tree(folder)
    made = {name: content for name, content in found.items() if not name.startswith("downloads")}
    assert made == {
        "list.txt": b"red\n", "text/red.txt": b"red\n", "text/green.txt": b"green\n",
        "text/blue.txt": b"blue\n",
    }  # fmt: skip
    assert record["files"] == {n: hashlib.sha256(c).hexdigest() for n, c in sorted(made.items())}
    assert record["counts"] == {"words": 3}
    (package,) = record["packages"]
    deb = words.deb.read_bytes()
    assert package == {
        "client": "apt", "name": "words", "version": "1.0", "file": "words_1.0_all.deb",
        "bytes": len(deb), "sha256": hashlib.sha256(deb).hexdigest(), "tested": True,
    }  # fmt: skip
    assert record["command"] == "steep data get words"
    assert not (folder / MAKING).exists()


def test_a_second_call_verifies_and_makes_nothing(words: SimpleNamespace, tmp_path: Path) -> None:
    first, _ = get("words", tmp_path / "w", silent)
    again, there = get("words", tmp_path / "w", silent)
    assert there
    assert again == first
    assert words.made == 1
    assert words.log.read_text().count("download") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_two_at_once_make_it_once(words: SimpleNamespace, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: get("words", tmp_path / "w", silent), range(4)))
    assert sorted(there for _, there in found) == [False, True, True, True]
    assert words.made == 1
    assert len({json.dumps(record) for record, _ in found}) == 1


@pytest.mark.parametrize("harm", ["altered", "gone", "no record"])
def test_damaged_output_is_made_again(harm: str, words: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    get("words", folder, silent)
    before = tree(folder)
    if harm == "altered":
        (folder / "text" / "red.txt").write_text("rad\n")
        (folder / "text" / "stray.txt").write_text("of an older version\n")
    elif harm == "gone":
        (folder / "list.txt").unlink()
    else:
        (folder / RECORD).write_text('{"name": "words", "files": {}}')
    _, there = get("words", folder, silent)
    assert not there
    assert words.made == 2
    assert tree(folder) == before
    assert words.log.read_text().count("download") == 1, "the download was whole"


def test_a_kill_while_making(words: SimpleNamespace, tmp_path: Path) -> None:
    """What is half made is not where a spec looks, and the same command resumes."""
    folder = tmp_path / "w"
    words.fail = True
    with pytest.raises(KeyboardInterrupt):
        get("words", folder, silent)
    assert not (folder / "text").exists()
    words.fail = False
    assert get("words", folder, silent)[0]["counts"] == {"words": 3}
    assert words.log.read_text().count("download") == 1
    assert not (folder / MAKING).exists()


def test_a_new_revision_is_made_again(words: SimpleNamespace, tmp_path: Path) -> None:
    get("words", tmp_path / "w", silent)
    words.SOURCE = replace(words.SOURCE, revision=2)
    assert not get("words", tmp_path / "w", silent)[1]
    assert words.made == 2


def test_other_counts_of_the_same_package_are_an_error(
    words: SimpleNamespace, tmp_path: Path
) -> None:
    words.SOURCE = replace(words.SOURCE, counts={"words": 4})
    with pytest.raises(SourceError, match="words: 3 instead of 4"):
        get("words", tmp_path / "w", silent)


def test_another_version_may_count_otherwise(words: SimpleNamespace, tmp_path: Path) -> None:
    other = replace(words.SOURCE.packages[0], version="0.9", sha256="0" * 64)
    words.SOURCE = replace(words.SOURCE, counts={"words": 4}, packages=(other,))
    record, _ = get("words", tmp_path / "w", silent)
    assert record["packages"][0]["tested"] is False
    assert record["packages"][0]["version"] == "1.0"


def test_a_folder_of_something_else_is_left_alone(words: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SourceError, match=r"holds other files \(thesis.txt\)"):
        get("words", folder, silent)
    assert tree(folder) == {"thesis.txt": b"years of work"}
    get("words", tmp_path / "w", silent)
    with pytest.raises(SourceError, match="holds words, not asterisk"):
        get("asterisk", tmp_path / "w", silent)
    (tmp_path / "w" / RECORD).write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        get("words", tmp_path / "w", silent)


def test_limits_are_for_the_hub(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--limit is for sets of the hub"):
        get("asterisk", tmp_path / "a", silent, limit=10)


# ---------------------------------------------------------------- the command


def command(capsys: Any, monkeypatch: Any, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["steep", "data", *arguments])
    code: Any = 0
    try:
        app.main()
    except SystemExit as end:
        code = end.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


def test_get_from_the_command_line(
    words: SimpleNamespace, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    folder = str(tmp_path / "w")
    code, out, err = command(capsys, monkeypatch, "get", "words", "--to", folder)
    assert code == 0
    assert out.splitlines() == [
        "words is made: 3 words", "Licence: none",
        f"Point a spec or 'steep init' at {folder}/text",
    ]  # fmt: skip
    assert "downloading words_1.0_all.deb, 0 %" in err
    code, out, err = command(capsys, monkeypatch, "get", "words", "--to", folder, "--json")
    record = json.loads(out)
    assert (code, err) == (0, "")
    assert record["already_there"]
    assert record["data"] == f"{folder}/text"


def test_bad_names_are_one_sentence(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    code, out, err = command(capsys, monkeypatch, "get", "nothing", "--to", str(tmp_path / "x"))
    assert (code, out) == (2, "")
    assert err.startswith("steep: no source named 'nothing'; there are: fashion-mnist, ")
    assert not (tmp_path / "x").exists()


def test_list(capsys: Any, monkeypatch: Any) -> None:
    code, out, _ = command(capsys, monkeypatch, "list")
    assert code == 0
    assert [name for name in registry.SOURCES if f"{name}  (" not in out] == []
    code, out, _ = command(capsys, monkeypatch, "list", "--json")
    listed = {row["name"]: row for row in json.loads(out)}
    assert list(listed) == list(registry.SOURCES)
    assert listed["asterisk"]["bytes"] == 22_844 + 2_417_168
    assert {domain for row in listed.values() for domain in row["domains"]} == {
        "images", "words", "characters", "translation", "speech",
    }  # fmt: skip


# ---------------------------------------------------------------- what sources say of themselves


@pytest.mark.parametrize("name", sorted(registry.SOURCES))
def test_a_source_is_told_whole(name: str) -> None:
    source = all_sources()[name]
    assert source.title
    assert source.licence
    assert bool(source.packages) != (source.hub is not None)
    for package in source.packages:
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)
        assert package.size > 0
    assert bool(source.counts) == bool(source.packages), "counted where it was made"


def test_the_page_of_sources_is_their_own_table() -> None:
    """docs/data.md: paste the left side where this fails."""
    table = source_table(all_sources())
    rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    wanted = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    assert wanted in (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_line_of_progress_tells_the_time_left(capsys: Any, monkeypatch: Any) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("steep.present.work.time.monotonic", lambda: clock.now)
    with Work(quiet=False) as work:
        work.tell("reading page 0", 0.0)
        clock.now += 5
        work.tell("reading page 1", 0.1)  # too soon to be said
        clock.now += 15
        work.tell("reading page 2", 0.25)
        work.tell("decoding clip 0", 0.0)  # other work: another pace
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["reading page 0, 0 %", "reading page 2, 25 %, about 1 min 00 s left",
                     "decoding clip 0, 0 %"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["asterisk", "german-english", "state-of-the-union"])
def test_really_from_the_network(name: str, tmp_path: Path) -> None:
    """With the documented counts, or the error says so; where the versions are the tested ones."""
    record, _ = get(name, tmp_path / name, silent)
    assert record["counts"]
    assert get(name, tmp_path / name, silent) == (record, True)
