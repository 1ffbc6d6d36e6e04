"""Characters: paragraphs, vocabulary, the stream, evaluation, and files that cannot be used."""

import gzip
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from steep import testing
from steep.contracts.domain import POOL, VALIDATION, DataError
from steep.domains import characters
from steep.domains.stream import END, UNKNOWN, Stream
from steep.models import lstm

RECIPE = {**lstm.FAMILY.recipe, "batch_size": 3, "sequence_length": 7}


def opened(folder: Path, **options) -> Stream:
    return characters.open_domain(characters.Options(**options), folder)


def write(path: Path, seed: int, paragraphs: int = 30) -> None:
    generator = np.random.default_rng(seed)
    words = ["data", "error", "falls", "as", "a", "power", "law", "of", "size"]
    path.write_text(
        "\n\n".join(
            " ".join(generator.choice(words, generator.integers(2, 12))) for _ in range(paragraphs)
        )
    )


@pytest.fixture
def domain(tmp_path: Path) -> Stream:
    write(tmp_path / "a.txt", 0)
    return opened(tmp_path, train="a.txt")


def test_contract(domain: Stream) -> None:
    testing.check_member(characters, "open_domain")
    testing.check_domain(domain, lstm.FAMILY, lstm.Options(layers=1), 4, RECIPE)


def test_paragraphs(tmp_path: Path) -> None:
    text = "one\ttwo\nthree\n\n  \nfour\r\n\r\n" + "five " * 500 + "\n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    domain = opened(tmp_path, train="a.txt", shortest=5)
    sizes = domain.items().size.tolist()
    assert sizes == [14, 2000, 500]  # 'one two three', 1999 and 499 of the long one; ends counted
    assert domain.unit == "characters"


def test_vocabulary_is_the_most_frequent_characters_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aaabbbccd")
    (tmp_path / "b.txt").write_text("ééééé\n\nzz")
    domain = opened(tmp_path, train="a.txt", validation="b.txt", vocabulary=5)
    assert domain.learnt == {"alphabet": "abé"}
    assert domain.shape == {"vocabulary": 5}
    assert domain._stream(np.array([0])).tolist() == [2] * 3 + [3] * 3 + [UNKNOWN] * 3 + [END]
    assert domain._stream(np.array([1])).tolist() == [4] * 5 + [END]
    fixed = opened(tmp_path, train="a.txt", alphabet="cd")
    assert fixed._stream(np.array([0])).tolist() == [UNKNOWN] * 6 + [2, 2, 3, END]


def test_groups_are_files_where_there_are_several(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("one\n\ntwo\n\none")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"three"))
    for pattern, files in (("*.txt", 2), (".", 3)):
        items = opened(tmp_path, train=pattern).items()
        assert len(np.unique(items.group)) == files == len(items.files)
    alone = opened(tmp_path, train="a.txt").items()
    assert alone.group[0] == alone.group[2] != alone.group[1]
    assert set(alone.part) == {POOL}
    placed = opened(tmp_path, train="a.txt", validation="b.txt").items()
    assert set(placed.part) == {POOL, VALIDATION}


def test_stream_holds_the_shard_and_nothing_else(domain: Stream) -> None:
    shard = np.array([2, 3, 5, 7, 11])
    lanes, lane = domain._lanes(shard, RECIPE)
    steps = domain.steps_per_epoch(shard, RECIPE)
    total = int(domain.items().size[shard].sum())
    assert total - lanes < lanes * lane <= total
    batches = domain.batches(shard, RECIPE, 0, (0, 0))
    counts = np.bincount(domain._stream(shard), minlength=domain.shape["vocabulary"])
    for _ in range(3):
        epoch = [batch for batch, _ in islice(batches, steps)]
        assert [fresh for _, _, fresh in epoch] == [True] + [False] * (steps - 1)
        y_BxS = torch.cat([y for _, y, _ in epoch], 1)
        assert y_BxS.shape == (lanes, lane)
        seen = np.bincount(y_BxS.flatten().numpy(), minlength=len(counts))
        assert (seen <= counts).all()
        assert max(y.shape[1] for _, y, _ in epoch) <= RECIPE["sequence_length"]
        x_BxS = torch.cat([x for x, _, _ in epoch], 1)
        assert (x_BxS[:, 1:] == y_BxS[:, :-1]).all()
        assert (x_BxS[1:, 0] == y_BxS[:-1, -1]).all()
        assert x_BxS[0, 0] == END


def test_a_shard_smaller_than_a_batch_has_fewer_lanes(domain: Stream) -> None:
    values = {"batch_size": 64, "sequence_length": 50}
    lanes, lane = domain._lanes(np.array([0, 1]), values)
    assert 1 <= lanes < 64
    assert lane >= min(50, domain.items().size[:2].sum())


def test_state_is_dropped_between_epochs(domain: Stream) -> None:
    model = lstm.FAMILY.build(4, domain.shape, lstm.Options(layers=1))
    (x, y, _), _ = next(domain.batches(np.arange(9), RECIPE, 0, (0, 0)))
    old = model(x, None)[1]
    carried = domain.loss(model, (x, y, False), old)[0]
    dropped = domain.loss(model, (x, y, True), old)[0]
    fresh = domain.loss(model, (x, y, False), None)[0]
    assert dropped == fresh != carried


def test_best_guess_is_the_add_one_unigram(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aab\n\nab")
    domain = opened(tmp_path, train="a.txt")
    guess = domain.best_guess(np.array([0]), np.array([1]))
    # trained on a a b end, add one to each of 4 symbols; V is a b end
    nats = -np.log([3 / 8, 2 / 8, 2 / 8]).mean()
    assert guess["cross_entropy"] == pytest.approx(nats)
    assert guess["bits_per_character"] == pytest.approx(nats / np.log(2))
    assert guess["error"] == pytest.approx(2 / 3)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"some text" * 99)[:-12])
    (tmp_path / "short.txt").write_text("ab")
    (tmp_path / "folder").mkdir()
    for name in ("empty.txt", "latin.txt", "cut.txt.gz", "short.txt", "folder", "gone.txt", "x*"):
        with pytest.raises(DataError) as caught:
            opened(tmp_path, train=name, shortest=3)
        assert name in str(caught.value)
