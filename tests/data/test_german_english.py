"""Ding's fields and the help's paragraphs, on lines and pages of the real formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import make_deb, members_of, silent

from steep.contracts.source import SourceError
from steep.data.sources import german_english as source

DING = """\
# Version :: devel 2023-01-30
Aal {m} (auf der Speisekarte) [cook.] | Aal blau; blauer Aal :: Eel (on a menu) | Eel au bleu
Er kommt {vi} (heute (oder morgen)) nicht.; Nein. | in der Tat :: He won't come. | in actual fact
künstliche Intelligenz /KI/ {f} von heute [EDV] <KI> :: artificial intelligence /AI/ of today
Das ist in der Tat wahr. | in der  Tat :: That is true indeed. | as a matter of fact
Das ist in der Tat wahr! | ganz ohne Bezug dazu :: It really is so. | all on its own
"""


def test_ding_lines() -> None:
    assert list(source.ding_pairs(DING)) == [
        ("Er kommt nicht.", "He won't come.", "3"),
        ("in der Tat", "in actual fact", "3"),
        ("künstliche Intelligenz von heute", "artificial intelligence of today", "4"),
        ("Das ist in der Tat wahr.", "That is true indeed.", "5"),
        ("in der Tat", "as a matter of fact", "5"),
        ("Das ist in der Tat wahr!", "It really is so.", "6"),
        ("ganz ohne Bezug dazu", "all on its own", "6"),
    ]


def test_ding_groups_are_linked_by_entries_and_by_texts() -> None:
    """Line 3 and 5 share 'in der Tat', 5 and 6 a sentence but for its point; 4 is alone."""
    groups = {pair[:2]: pair[2] for pair in source.grouped(source.ding_pairs(DING))}
    alone = groups.pop(("künstliche Intelligenz von heute", "artificial intelligence of today"))
    assert len(groups) == 6
    assert set(groups.values()) == {"ding/3"}
    assert alone == "ding/4"


def test_a_pair_that_is_there_twice_is_kept_once() -> None:
    twice = [("a b c", "d e f", "1"), ("a b c", "d e f", "2"), ("a b c", "g h i", "2")]
    assert [pair[:2] for pair in source.grouped(twice)] == [("a b c", "d e f"), ("a b c", "g h i")]


def test_unequal_fields_are_an_error() -> None:
    with pytest.raises(SourceError, match="line 1 has unequal fields"):
        list(source.ding_pairs("a | b :: c\n"))


def page(*paragraphs: str) -> bytes:
    return f"<!DOCTYPE html><html><body>{''.join(paragraphs)}<p id='bm_module'></p></body>".encode()


GERMAN = page(
    "<h1 id='hd_1'>Die Zelle wird gelöscht</h1>",
    "<p id='par_id1' class='paragraph'>Drücken Sie <span id='s_1' class='switchinline'>"
    "<span hidden='true' id='MACx' class='MAC'>Befehl</span>"
    "<span hidden='true' id='defaultx'>Strg</span></span>+C. Das  kopiert<br>die Zelle.</p>",
    "<p id='par_id2' class='paragraph'>Ein Satz für zwei andere.</p>",
    "<p id='par_id3' class='code'>Dim x As Integer</p>",
    "<p id='par_id4'>Nur auf Deutsch zu haben.</p>",
    "<p id='par_id5'>print a or b</p>",
    "<p id='par_id6'>kurzer Text</p>",
)
ENGLISH = page(
    "<h1 id='hd_1'>The cell is deleted</h1>",
    "<p id='par_id1' class='paragraph'>Press <span id='s_1' class='switchinline'>"
    "<span hidden='true' id='MACx' class='MAC'>Command</span>"
    "<span hidden='true' id='defaultx'>Ctrl</span></span>+C. That copies <em>the <a>cell</a></em>."
    "</p><p id='par_id2' class='paragraph'>A sentence here. Two of them.</p>",
    "<p id='par_id3' class='code'>Dim x As Integer</p>",
    "<p id='par_id5'>print a or b</p>",
    "<p id='par_id6'>short text</p>",
)
HELP_PAIRS = [
    ("Die Zelle wird gelöscht", "The cell is deleted"),
    ("Drücken Sie Strg+C.", "Press Ctrl+C."),  # two words on the English side: left out
    ("Das kopiert die Zelle.", "That copies the cell."),
    ("Ein Satz für zwei andere.", "A sentence here. Two of them."),
]


def test_help_paragraphs() -> None:
    found = source.paragraphs(GERMAN)
    assert found["par_id1"] == "Drücken Sie Strg+C. Das kopiert die Zelle."
    assert set(found) == {"hd_1", "par_id1", "par_id2", "par_id4", "par_id5", "par_id6"}


def test_help_pairs() -> None:
    trees = [{"swriter/a.html": source.paragraphs(html)} for html in (GERMAN, ENGLISH)]
    found = list(source.help_pairs(*trees))
    wanted = [HELP_PAIRS[0], *HELP_PAIRS[2:]]
    assert found == [(*pair, "help/swriter/a") for pair in wanted]


def test_a_help_pair_with_a_side_that_is_known_is_left_out() -> None:
    known = [("Das ist es.", "That is it.", "ding/1")]
    new = [
        ("Das ist es!", "It is that.", "help/a"),
        ("Dies ist es.", "This is it.", "help/a"),
        ("Dies da ist es.", "this is it", "help/b"),
        ("Es ist jenes.", "It is that.", "help/b"),
    ]
    assert list(source.new_pairs(new, known)) == [new[1], new[3]]


def test_the_file(tmp_path: Path) -> None:
    root = "usr/share/libreoffice/help"
    archives = {
        name: make_deb(tmp_path / f"{name}_1_all.deb", files)
        for name, files in {
            "trans-de-en": {"usr/share/trans/de-en": DING.encode()},
            "libreoffice-help-de": {f"{root}/de/text/swriter/a.html": GERMAN},
            "libreoffice-help-en-us": {f"{root}/en-US/text/swriter/a.html": ENGLISH},
        }.items()
    }
    made = tmp_path / "made"
    made.mkdir()
    counts = source.prepare(members_of(archives), made, silent)
    assert counts == {
        "pairs": 10, "target words": 41, "groups": 3, "Ding pairs": 7, "LibreOffice pairs": 3,
    }  # fmt: skip
    lines = (made / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "source\ttarget\tgroup"
    assert lines[1] == "Er kommt nicht.\tHe won't come.\tding/3"
    assert lines[-1] == "Ein Satz für zwei andere.\tA sentence here. Two of them.\thelp/swriter/a"
    rows = [line.split("\t") for line in lines[1:]]
    sides = {}
    for german, english, group in rows:  # no text, but for case and points, is in two groups
        for side in (f"de {source.bare(german)}", f"en {source.bare(english)}"):
            assert sides.setdefault(side, group) == group
