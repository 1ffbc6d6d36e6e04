"""Text files as paragraphs: what the language-modelling domains read.

A path is a file (.txt, .txt.gz), a folder of them, or a glob such as texts/*.txt. A paragraph is
a block between blank lines with white space folded to single blanks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steep.contracts.domain import DataError
from steep.domains.files import by_part, content, digest_of, is_data, unzipped


@dataclass(frozen=True)
class Texts:
    """Every paragraph of every file, in file order."""

    paragraphs: list[str]
    part: np.ndarray
    """int8 [N], see ``contract.POOL``."""
    source: np.ndarray
    """Number of the file that each paragraph is from, int [N]."""
    files: Mapping[str, str]
    """SHA-256 of each file read."""

    @property
    def digest(self) -> np.ndarray:
        """uint64 [N]: equal paragraphs, equal digest."""
        return np.array([digest_of(text.encode()) for text in self.paragraphs], np.uint64)


def read(
    base: Path,
    train: str,
    validation: str | None,
    test: str | None,
    paragraphs: Callable[[str], list[str]],
) -> Texts:
    """Read and check every file; ``paragraphs`` makes a file's text into items. Raises DataError
    naming the file that cannot be used."""
    patterns = by_part(train, validation, test)
    texts: list[str] = []
    part: list[int] = []
    source: list[int] = []
    files: dict[str, str] = {}
    for number, pattern in patterns.items():
        for path in _matching(base, pattern):
            text, digest = _text(path)
            name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
            found = paragraphs(text)
            texts += found
            part += [number] * len(found)
            source += [len(files)] * len(found)
            files[name] = digest
        if number not in part:
            raise DataError(f"{base / pattern}: holds no paragraph of text")
    return Texts(texts, np.array(part, np.int8), np.array(source), files)


def blocks(text: str) -> Iterator[str]:
    """Paragraphs: the text between blank lines, white space collapsed; '' between two of them."""
    block: list[str] = []
    for line in [*text.replace("\0", " ").splitlines(), ""]:
        if line.strip():
            block.append(line)
            continue
        yield " ".join(" ".join(block).split())
        block = []


def _matching(base: Path, pattern: str) -> list[Path]:
    """The files that a path, a folder or a glob names, sorted."""
    path = base / pattern
    if path.is_dir():
        found = [*path.rglob("*.txt"), *path.rglob("*.txt.gz")]
        found = [file for file in found if is_data(file, path)]
    elif any(sign in pattern for sign in "*?["):
        anchor = Path(path.anchor)
        found = [file for file in anchor.glob(str(path.relative_to(anchor))) if file.is_file()]
    else:
        found = [path]
    if not found:
        raise DataError(f"{path}: no .txt or .txt.gz file there")
    return sorted(found)


def _text(path: Path) -> tuple[str, str]:
    """(the file's text, SHA-256 of the file)."""
    data = content(path)
    try:
        text = unzipped(path, data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: byte {error.start}") from None
    if not text.strip():
        raise DataError(f"{path}: empty")
    return text, hashlib.sha256(data).hexdigest()
