"""Sets of the hub, offline: small local folders with the layout and schema of the real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import silent

from steep.contracts.source import Hub, SourceError
from steep.data.sources import hub, imagenet, librispeech, lm1b, wmt16

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("datasets")

README = "---\nconfigs:\n- config_name: {}\n  data_files:\n{}---\n"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and a cache of the test's own."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def layout(
    folder: Path, config: str, splits: Mapping[str, Sequence[Mapping[str, Any]]], schema: Any = None
) -> None:
    """Parquet files by split and a card that names them, as on the hub."""
    lines = []
    for split, rows in splits.items():
        path = folder / config / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
        lines.append(f"  - split: {split}\n    path: {config}/{split}-*\n")
    (folder / "README.md").write_text(README.format(config, "".join(lines)))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Let a source read a local folder in place of its set."""

    def point(module: Any) -> Path:
        folder = tmp_path / "hub" / module.SOURCE.hub.path
        folder.mkdir(parents=True)
        there = replace(module.SOURCE.hub, path=str(folder), revision=None)
        monkeypatch.setattr(module, "SOURCE", replace(module.SOURCE, hub=there))
        (tmp_path / "made").mkdir()
        return folder

    return point


def pair(german: str, english: str) -> dict[str, Any]:
    return {"translation": {"de": german, "en": english}}


def test_wmt16(local: Callable[..., Path], tmp_path: Path) -> None:
    """Training pairs lose what shares a side with another part, but for case and points."""
    splits = {
        "train": [
            pair("Guten Tag.", "Good day."), pair("Das  ist\teins.", "This is one."),
            pair("Das ist zwei.", "THIS IS TWO"), pair("Das ist ein Test!", "Something else."),
            pair("Anders.", "this is one"), pair(" ", "Empty."),
        ],
        "validation": [pair("Dies ist zwei.", "This is two.")],
        "test": [pair("Das ist ein Test.", "This is a test."), pair("Zwei.", "This is two")],
    }  # fmt: skip
    layout(local(wmt16), "de-en", splits)
    origin, counts = wmt16.prepare(tmp_path / "made", None, silent)
    rows = {
        part: [line.split("\t") for line in text.read_text(encoding="utf-8").splitlines()]
        for part in splits
        if (text := tmp_path / "made" / f"{part}.tsv")
    }
    assert [row[:2] for row in rows["train"]] == [
        ["source", "target"], ["Guten Tag.", "Good day."], ["Das ist eins.", "This is one."],
        ["Anders.", "this is one"],
    ]  # fmt: skip
    assert [row[:2] for row in rows["validation"][1:]] == [["Dies ist zwei.", "This is two."]]
    assert [row[:2] for row in rows["test"][1:]] == [["Das ist ein Test.", "This is a test."]]
    groups = [row[2] for row in rows["train"][1:]]
    assert groups[1] == groups[2] != groups[0]
    assert (counts["train pairs"], counts["train groups"], counts["train target words"]) == (
        3,
        2,
        8,
    )
    assert origin["hub"]["config"] == "de-en"


def test_lm1b(local: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converted branch: folders of splits, no card."""
    folder = local(lm1b)
    for split, rows in {"train": ["One .", "Two !", "Three ."], "test": ["two", "Four ."]}.items():
        (folder / "plain_text" / split).mkdir(parents=True)
        table = pa.table({"text": rows})
        parquet.write_table(table, folder / "plain_text" / split / "0000.parquet")
    monkeypatch.setattr("steep.data.sources.writing.SENTENCES", 1)
    _, counts = lm1b.prepare(tmp_path / "made", None, silent)
    made = {
        path.relative_to(tmp_path / "made").as_posix(): path.read_text()
        for path in sorted((tmp_path / "made").rglob("*.txt"))
    }
    assert made == {
        "test/sentences_00000.txt": "two\n", "test/sentences_00001.txt": "Four .\n",
        "train/sentences_00000.txt": "One .\n", "train/sentences_00001.txt": "Three .\n",
    }  # fmt: skip
    assert counts == {
        "test sentences": 2, "test words": 3, "train sentences": 2, "train words": 4,
    }  # fmt: skip


def test_imagenet_becomes_class_folders(local: Callable[..., Path], tmp_path: Path) -> None:
    from steep.domains.images import Options, open_domain

    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)

    def picture(label: int, kind: str = "JPEG") -> dict[str, Any]:
        buffer = io.BytesIO()
        pixels = rng.integers(0, 256, (int(rng.integers(9, 30)), 12, 3), np.uint8)
        image.fromarray(pixels).save(buffer, kind)
        return {"image": {"bytes": buffer.getvalue(), "path": None}, "label": label}

    train = [picture(n % 3) for n in range(9)]
    splits = {"train": [*train, picture(2, "PNG")], "validation": [train[4], picture(1)]}
    layout(local(imagenet), "data", splits)
    _, counts = imagenet.prepare(tmp_path / "made", None, silent)
    assert counts == {"validation": 2, "train": 9, "classes": 3}
    names = sorted(p.parent.name for p in (tmp_path / "made" / "train").rglob("*.*"))
    assert names == ["class_0000"] * 3 + ["class_0001"] * 2 + ["class_0002"] * 4
    domain = open_domain(Options(train="train", side=8), tmp_path / "made")
    assert len(domain.items().size) == 9
    assert domain.shape["classes"] == 3


def test_librispeech(local: Callable[..., Path], tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")

    def clip(name: str, text: str, speaker: int, seconds: float) -> dict[str, Any]:
        buffer = io.BytesIO()
        samples = np.sin(np.arange(int(16000 * seconds)) * speaker / 50) * 0.5
        soundfile.write(buffer, samples, 16000, format="FLAC")
        audio = {"bytes": buffer.getvalue(), "path": f"{name}.flac"}
        return {
            "file": f"{name}.flac", "audio": audio, "text": text, "speaker_id": speaker,
            "chapter_id": 1, "id": name,
        }  # fmt: skip

    parts = [split for splits in librispeech.PARTS.values() for split in splits]
    splits = {
        split: [clip(f"{n}-1-0000", f"TEXT OF {split.upper()}", n + 1, 0.1 * (n + 1))]
        for n, split in enumerate(parts)
    }
    splits["train.other.500"].append(clip("99-1-0000", "text of test.clean!", 99, 1))
    layout(local(librispeech), "all", splits)
    _, counts = librispeech.prepare(tmp_path / "made", None, silent)
    assert counts["train clips"] == 3, "a text of the test part is not in training"
    assert (counts["validation clips"], counts["test clips"]) == (2, 2)
    (first, *_) = map(json.loads, (tmp_path / "made" / "train.jsonl").read_text().splitlines())
    samples, rate = soundfile.read(tmp_path / "made" / first["audio"])
    assert (rate, len(samples)) == (16000, 8000)
    assert (first["seconds"], first["group"]) == (0.5, "5")
    assert first["text"] == "TEXT OF TRAIN.CLEAN.100"


def test_no_hub_is_a_sentence(tmp_path: Path) -> None:
    for module, hint in ((wmt16, "did not give it"), (imagenet, "it is gated: accept its terms")):
        with pytest.raises(SourceError, match=hint):
            module.prepare(tmp_path, 1, silent)


def test_a_missing_split_is_named(local: Callable[..., Path], tmp_path: Path) -> None:
    layout(local(wmt16), "de-en", {"train": [pair("a", "b")], "validation": [pair("c", "d")]})
    with pytest.raises(SourceError, match="has no split test, only train, validation"):
        wmt16.prepare(tmp_path / "made", None, silent)


@pytest.mark.slow
def test_a_limit_streams(local: Callable[..., Path], tmp_path: Path) -> None:
    """The library waits seconds before a shuffled stream."""
    rows = [pair(f"Satz {n}", f"sentence {n}") for n in range(50)]
    splits = {"train": rows, "validation": rows[:3], "test": rows[10:14]}
    layout(local(wmt16), "de-en", splits)
    _, counts = wmt16.prepare(tmp_path / "made", 5, silent)
    assert (counts["train pairs"], counts["validation pairs"], counts["test pairs"]) == (5, 3, 4)
    lines = (tmp_path / "made" / "train.tsv").read_text().splitlines()[1:]
    taken = [int(line.split("\t")[1].split()[1]) for line in lines]
    assert taken != [3, 4, 5, 6, 7], "shuffled"
    assert not set(taken) & {0, 1, 2, 10, 11, 12, 13}


def test_keys_are_read_bare() -> None:
    held: set[int] = set()
    rows = [{"text": "Hello, World"}]
    keys = lambda row: [row["text"]]  # noqa: E731
    assert list(hub._new(rows, keys, held, "test")) == rows
    assert list(hub._new([{"text": "hello world!"}], keys, held, "train")) == []


def test_origin_names_the_set_and_the_library() -> None:
    import datasets

    found = hub.origin(Hub("a/b", "c", gated=True))
    assert found["versions"] == {"datasets": datasets.__version__}
    assert found["hub"] == {"path": "a/b", "config": "c", "revision": None, "gated": True}
