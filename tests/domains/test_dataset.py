"""Tables of a user's own: which of their bytes are an item, and what stands in a column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steep.contracts.domain import DataError
from steep.domains.dataset import Dataset, Options


def dataset(path: Path, content: bytes, label: str | None = None) -> Dataset:
    path.write_bytes(content)
    return Dataset(Options(train=path.name, label=label), path.parent)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_quote_inside_a_value_joins_no_rows(tmp_path: Path, name: str) -> None:
    """Two rows with 5" in them were one item, with all rows between them."""
    mark = "," if name == "t.csv" else "\t"
    rows = [mark.join([str(n), f'{n}" wide' if n % 4 == 0 else "flat", "ab"[n % 2]])
            for n in range(40)]  # fmt: skip
    whole = "\n".join([mark.join(["id", "what", "class"]), *rows, ""]).encode()
    found = dataset(tmp_path / name, whole, "class")
    label = found.items().label
    assert len(found.items().size) == 40
    assert label is not None
    assert label.tolist() == [n % 2 for n in range(40)]
    assert found.text(np.arange(40)) == whole


def test_a_quoted_value_may_hold_lines_and_be_long(tmp_path: Path) -> None:
    rows = [b'1,"two\nlines, ""quoted""",a\n', b'2,"' + b"x" * 200_000 + b'",b\n', b"3,y,a\n"]
    found = dataset(tmp_path / "t.csv", b"id,text,class\n" + b"".join(rows), "class")
    assert [found.text(np.array([n])) for n in range(3)] == [b"id,text,class\n" + r for r in rows]
    label = found.items().label
    assert label is not None
    assert label.tolist() == [0, 1, 0]


def test_a_byte_order_mark_is_no_part_of_a_columns_name(tmp_path: Path) -> None:
    found = dataset(tmp_path / "t.csv", "\ufeffclass,x\na,1\nb,2\n".encode(), "class")
    label = found.items().label
    assert label is not None
    assert label.tolist() == [0, 1]
    assert found.text(np.array([1])) == "\ufeffclass,x\nb,2\n".encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("class,x\né,1\nb,2\n".encode("latin-1"), "is not UTF-8"),
        ("class,x\na,1\nb,2\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b'class,x\na,1\nb,"2\nc,3\n', "a quoted value that begins in row 3 never ends"),
        (b"class,x\na,1\rb,2\n", "row 2 cannot be read: new-line character"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=f"t.csv: {words}"):
        dataset(tmp_path / "t.csv", content, "class")
