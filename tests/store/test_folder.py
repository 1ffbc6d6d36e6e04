"""What is said of files that cannot be written."""

from __future__ import annotations

from pathlib import Path

from steep.store.folder import write_failed


def test_a_file_of_a_folder_that_is_gone_says_so(tmp_path: Path) -> None:
    """The driver's log is written after each result: a study removed in between ends the run."""
    gone = FileNotFoundError(2, "No such file or directory")
    assert "was removed, moved or replaced" in write_failed(tmp_path / "st" / "log", gone)
    assert write_failed(tmp_path / "log", gone).startswith("cannot write")
