"""Translation: reading pairs, word pieces, batches, scores known by hand, BLEU, and a whole fit."""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from torch import Tensor

from steep import Study, testing
from steep.contracts.domain import POOL, TRAIN, VALIDATION, DataError
from steep.contracts.trainer import ShardItems
from steep.domains import translation
from steep.domains.pairs import END, UNKNOWN, Pair, learn_pieces, read_pairs
from steep.domains.translation import Options, Translation, open_domain
from steep.engine import loop
from steep.models import seq2seq
from steep.records import Trial, settings
from steep.spec.load import SpecError, from_values
from steep.spec.sections import Stop
from steep.testing import MemoryHandle

RECIPE = {**seq2seq.FAMILY.recipe, "batch_size": 4}
WORDS = {
    "das": "the",
    "ein": "a",
    "Haus": "house",
    "Hund": "dog",
    "Baum": "tree",
    "ist": "is",
    "klein": "small",
    "groß": "big",
    "schön": "beautiful",
    "und": "and",
    "nicht": "not",
    "sehr": "very",
}
GERMAN, ENGLISH = list(WORDS), list(WORDS.values())


def sentences(count: int, seed: int = 0, longest: int = 8) -> list[tuple[str, str]]:
    """Word for word, all different."""
    generator = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        words = generator.integers(0, len(GERMAN), generator.integers(2, longest))
        found[" ".join(GERMAN[w] for w in words)] = " ".join(ENGLISH[w] for w in words)
    return list(found.items())


def write(path: Path, pairs: Iterable[tuple[str, ...]], head: str = "source\ttarget") -> Path:
    path.write_text("\n".join([head, *("\t".join(pair) for pair in pairs), ""]), encoding="utf-8")
    return path


def opened(folder: Path, **options) -> Translation:
    return open_domain(Options(**{"train": "a.tsv", "vocabulary": 60, **options}), folder)


@pytest.fixture
def domain(tmp_path: Path) -> Translation:
    write(tmp_path / "a.tsv", sentences(60))
    return opened(tmp_path)


class Letters:
    """Word pieces that are the letters a (2), b (3), ...: scores can be worked out by hand."""

    fingerprint = "0" * 64

    def __len__(self) -> int:
        return 6

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[ord(letter) - ord("a") + 2 for letter in text] for text in texts]

    def decode(self, symbols: list[list[int]]) -> list[str]:
        return ["".join(chr(ord("a") + s - 2) for s in row) for row in symbols]


def lettered(*pairs: tuple[str, str]) -> Translation:
    rows = [Pair(source, target, "") for source, target in pairs]
    return Translation(
        rows, np.zeros(len(rows), np.int8), Letters(), {"a": "0" * 64}, Options(train="a")
    )


class Alphabet(torch.nn.Module):
    """Whatever the source, the next letter is e^2 times as likely as any other; 'd' is last."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = torch.nn.Linear(6, 6, bias=False)
        after = {END: 2, 2: 3, 3: 4, 4: 5, 5: END, UNKNOWN: END}
        with torch.no_grad():
            self.decoder.weight.zero_()
            for symbol, following in after.items():
                self.decoder.weight[following, symbol] = 2.0

    def hidden(self, source_BxS: Tensor, length_B: Tensor, read_BxT: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(read_BxT, 6).float()

    def write(self, source: Tensor, length: Tensor, beam: int, longest: Tensor) -> list[list[int]]:
        return [[2, 3, 4, 5]] * len(source)


# ---------------------------------------------------------------- contract and scores


@pytest.mark.parametrize("layers", [1, 2])
def test_contract(domain: Translation, layers: int) -> None:
    testing.check_member(translation, "open_domain")
    testing.check_domain(domain, seq2seq.FAMILY, seq2seq.Options(layers=layers), 4, RECIPE)


def test_error_and_cross_entropy_by_hand() -> None:
    # 'abd' end: a, b are expected, c is expected and d comes, then end is expected: 1 of 4 wrong.
    # 'ca' end: c for a, d for a, b for end: all 3 wrong. 'abcd' end: none of 5.
    domain = lettered(("ab", "abd"), ("b", "ca"), ("abcab", "abcd"))
    with torch.inference_mode():
        scores = domain.evaluate(Alphabet(), np.arange(3))
    assert scores.count.tolist() == [4, 3, 5]
    assert scores.sums["error"].tolist() == [1, 3, 0]
    every = np.log(np.exp(2) + 5)  # right: every - 2; wrong: every
    expected = [4 * every - 6, 3 * every, 5 * every - 10]
    assert scores.sums["cross_entropy"] == pytest.approx(expected, rel=1e-6)
    assert scores.mean("error") == pytest.approx(4 / 12)
    batch = next(domain.batches(np.arange(3), {"batch_size": 3}, 0, (0, 0)))[0]
    total, count, state = domain.loss(Alphabet(), batch, None)
    assert (float(total.detach()), count, state) == (
        pytest.approx(sum(expected), rel=1e-6),
        12.0,
        None,
    )


def test_best_guess_by_hand() -> None:
    domain = lettered(("a", "aab"), ("a", "ac"))
    guess = domain.best_guess(np.array([0]), np.array([1]))
    # learnt from a a b end, one added to each of 6 symbols; V is a c end
    assert guess["cross_entropy"] == pytest.approx(-np.log([3 / 10, 1 / 10, 2 / 10]).mean())
    assert guess["error"] == pytest.approx(2 / 3)


def test_batches_of_any_width_give_the_same_loss(domain: Translation) -> None:
    model = seq2seq.FAMILY.build(5, domain.shape, seq2seq.Options()).double()
    rows = np.arange(24)

    def loss(size: int) -> tuple[float, float]:
        steps = domain.steps_per_epoch(rows, {"batch_size": size})
        epoch = islice(domain.batches(rows, {"batch_size": size}, 0, (0, 0)), steps)
        found = [domain.loss(model, batch, None) for batch, _ in epoch]
        return sum(float(total.detach()) for total, _, _ in found), sum(n for _, n, _ in found)

    alone, padded = loss(1), loss(24)
    assert padded == (pytest.approx(alone[0], rel=1e-13), alone[1])
    assert alone[1] == domain.items().size[rows].sum()


def test_bleu_is_that_of_sacrebleu() -> None:
    domain = lettered(("a", "abcd"), ("b", "abcc"))
    expected = sacrebleu.corpus_bleu(["abcd", "abcd"], [["abcd", "abcc"]]).score
    assert domain.decoded(Alphabet(), np.arange(2)) == {"bleu": expected}
    assert domain.translate(Alphabet(), np.array([1, 0])) == ["abcd", "abcd"]


def test_translations_stay_with_their_items(domain: Translation) -> None:
    model = seq2seq.FAMILY.build(8, domain.shape, seq2seq.Options()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
        together = domain.translate(model, np.arange(20))
        assert together == [domain.translate(model, np.array([i]))[0] for i in range(20)]
    assert len(set(together)) > 5


# ---------------------------------------------------------------- batches


def test_batches_hold_the_shard_in_like_lengths(domain: Translation) -> None:
    rows = np.arange(5, 55)
    steps = domain.steps_per_epoch(rows, RECIPE)
    assert steps == 13
    size = domain.items().size
    orders = []
    for epoch in range(2):
        batches = [b for b, _ in islice(domain.batches(rows, RECIPE, 0, (epoch, 0)), steps)]
        seen = sorted(tuple(y.tolist()) for *_, y in batches)
        assert sum(map(len, seen)) == size[rows].sum()
        widths = [read.shape[1] for _, _, read, _, _ in batches]
        orders.append(widths)
        padding = sum(read.numel() for _, _, read, _, _ in batches) / size[rows].sum()
        assert padding < 1.2
        for source, length, read, place, y in batches:
            assert (read[:, 0] == END).all()
            assert source.shape == (len(length), int(length.max()))
            assert (source.gather(1, length[:, None] - 1) == END).all()
            target = torch.full_like(read, -1)
            target.view(-1)[place] = y
            assert torch.equal(target[:, :-1][target[:, 1:] >= 0], read[:, 1:][target[:, 1:] >= 0])
    assert sorted(orders[0]) != orders[0] != orders[1]


# ---------------------------------------------------------------- items and word pieces


def test_items_groups_and_word_pieces(tmp_path: Path) -> None:
    rows = [("das Haus", "the house"), ("ein Haus", "a house"), ("jenes Haus", "the house")]
    write(tmp_path / "a.tsv", rows * 2)
    domain = opened(tmp_path, vocabulary=24)
    items = domain.items()
    ends = [len(domain.pieces.encode([target])[0]) + 1 for _, target in rows]
    assert items.size.tolist() == ends * 2
    assert domain.shape == {"vocabulary": 24}
    assert domain.unit == "word pieces"
    a, b, c, *again = items.group.tolist()
    assert a == c != b
    assert again == [a, b, c]
    first, second, third, *repeated = items.digest.tolist()
    assert len({first, second, third}) == 3
    assert repeated == [first, second, third]
    assert set(items.part) == {POOL}
    assert domain.pieces.decode(domain.pieces.encode(["das Haus"])) == ["das Haus"]


def test_groups_of_the_file_and_parts_of_their_own(tmp_path: Path) -> None:
    made = sentences(40)
    grouped = [(*pair, f"d{i // 4}") for i, pair in enumerate(made)]
    write(tmp_path / "a.tsv", grouped, "source\ttarget\tgroup")
    group = opened(tmp_path).items().group
    assert [len(set(group[i : i + 4])) for i in range(0, 40, 4)] == [1] * 10
    assert len(set(group)) == 10
    lines = [json.dumps({"target": t, "source": s, "group": 3}) for s, t in sentences(9, seed=1)]
    (tmp_path / "v.jsonl").write_text("\n".join(lines))
    write(tmp_path / "t.tsv", sentences(8, seed=2))
    placed = opened(tmp_path, validation="v.jsonl", test="t.tsv")
    items = placed.items()
    assert np.bincount(items.part).tolist() == [0, 40, 9, 8]
    assert TRAIN in items.part
    assert len(set(items.group[items.part == VALIDATION])) == 1
    assert set(items.files) == {"a.tsv", "v.jsonl", "t.tsv", "word pieces"}
    # what lies in V and the test part has taught no piece
    assert placed.pieces.fingerprint == opened(tmp_path).pieces.fingerprint


def test_word_pieces_stay_when_data_is_appended(tmp_path: Path) -> None:
    made = sentences(80)
    write(tmp_path / "a.tsv", made[:50])
    before = opened(tmp_path)
    assert before.learnt == {"word_pieces_from": 50}
    write(tmp_path / "a.tsv", [*made[:50], *(("xx " + s, "qq " + t) for s, t in made[50:])])
    pinned, free = opened(tmp_path, **before.learnt), opened(tmp_path)
    assert pinned.items().files["word pieces"] == before.items().files["word pieces"]
    assert free.items().files["word pieces"] != before.items().files["word pieces"]
    assert (pinned.items().size[:50] == before.items().size).all()
    assert pinned.items().fixed == ("word pieces",)
    assert UNKNOWN in pinned._target.stream(np.arange(50, 80))  # 'q' was never seen
    with pytest.raises(DataError, match=r"a\.tsv: 80 pairs, and word_pieces_from is 81"):
        opened(tmp_path, word_pieces_from=81)


def test_a_study_keeps_its_pieces_when_pairs_are_added(tmp_path: Path) -> None:
    """Of letters never seen before: the symbols stay, and the report says who knows them."""
    write(tmp_path / "a.tsv", sentences(60))
    spec = {
        "study": "kept",
        "domain": {"name": "translation", "train": str(tmp_path / "a.tsv"), "vocabulary": 60},
        "family": {"name": "none", "sizes": [1, 2]},
        "shards": {"smallest": 60, "largest": 200},
        "split": {"validation": 10},
        "search": {"seeds": 1, "extend": 0},
    }

    def study() -> Study:
        def train(shard, size, seed):
            return {"validation_error": 1 / size, "parameters": size}

        return Study(spec, tmp_path / "study", trainer=train)

    first = study()
    assert first.run().word == "complete"
    write(tmp_path / "a.tsv", [*sentences(60), *((f"quax {n}", f"quux {n}") for n in range(40))])
    more = study()
    assert more.run(extend=True).word == "complete"
    assert more.domain.learnt == {"word_pieces_from": 60}
    assert more.items.files["word pieces"] == first.items.files["word pieces"]
    assert len(more.items.size) > len(first.items.size)
    report = (tmp_path / "study" / "report.html").read_text()
    assert "word_pieces_from: learnt once, known to every shard" in report


def test_long_pairs_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", [*sentences(30), ("das " * 40, "the")])
    assert len(opened(tmp_path).items().size) == 31
    short = opened(tmp_path, longest=40).items()
    assert (len(short.size), short.left_out) == (30, 1)
    with pytest.raises(DataError, match="every pair is longer than 2 word pieces"):
        opened(tmp_path, longest=2)


def test_the_same_text_teaches_the_same_pieces() -> None:
    texts = [text for pair in sentences(50) for text in pair]
    first = learn_pieces(texts, 60)
    assert first.fingerprint == learn_pieces(list(texts), 60).fingerprint
    assert first.fingerprint != learn_pieces(texts, 61).fingerprint
    assert len(first) == 60
    with pytest.raises(DataError, match=r"vocabulary of 5000 word pieces cannot .*too high"):
        learn_pieces(texts, 5000)


# ---------------------------------------------------------------- files


def test_white_space_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(
        '\ufeffgroup\ttarget\tsource\r\ng\t a  b \t\u00a0ä\r\n\r\n\tc\t"d\r\n'.encode()
    )
    assert read_pairs(path)[0] == [Pair("ä", "a b", "g"), Pair('"d', "c", "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column source and no column target"),
        ("source\tgroup\na\tb\n", "line 1: no column target"),
        ("source\ttarget\na\tb\nc\n", "line 3: 1 columns where the first line has 2"),
        ("source\ttarget\na\t \n", "line 2: an empty target"),
        ("source\ttarget\n", "holds no pair"),
        ('{"source": "a", "target": "b"}\n{"source": "a"}\n', "line 2: no text under 'target'"),
        ('{"source": 3, "target": "b"}', "line 1: no text under 'source'"),
        ('{"source": "a", "target": "b", "group": []}', "line 1: a group that is neither"),
        ('{"source": "a", "target": "b"}\n[1]', "line 2: not an object"),
        ('{"source": "a", "target": "b"}\n{"so', "line 2: not JSON"),
        ("source\ttarget\n" + "a\n" * 7, "line 6: .*; and 2 more bad lines"),
    ],
)
def test_bad_rows_are_named_by_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.tsv: .*{said}"):
        read_pairs(tmp_path / "a.tsv")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.tsv").write_bytes(b"source\ttarget\nna\xefve\tb\n")
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "folder").mkdir()
    for name, said in (
        ("latin.tsv", "line 2: not UTF-8"),
        ("cut.gz", "truncated"),
        ("gone.tsv", "no such file"),
        ("folder", "cannot be read"),
    ):
        with pytest.raises(DataError, match=rf"{name}: {said}"):
            read_pairs(tmp_path / name)


# ---------------------------------------------------------------- training


def test_overfits_fifty_pairs(tmp_path: Path) -> None:
    """Where V is what was trained on, nearly every piece is known; BLEU is among the metrics."""
    write(tmp_path / "a.tsv", sentences(50))
    domain = opened(tmp_path)
    rows = np.arange(50)
    setup = loop.Setup(
        domain,
        seq2seq.FAMILY,
        seq2seq.Options(),
        {**seq2seq.FAMILY.recipe, "learning_rate": 0.02, "batch_size": 25, "averaging": -1},
        Stop(evaluations=1, patience=1, first=600, ratio=1.2),
        "error",
        domain.items().group,
    )
    trial = Trial(0, 50, 50.0, 32, settings({}), 0)
    found = loop.train(setup, trial, ShardItems(rows, rows, rows[:0]), MemoryHandle())
    assert found.validation_error is not None
    assert found.validation_error < 0.02
    assert dict(found.metrics)["bleu"] > 80
    assert found.engine == "seq2seq-function"


def test_a_study_goes_on_with_its_word_pieces_or_not_at_all(tmp_path: Path) -> None:
    made = sentences(90, longest=6)
    others = [("xx " + source, "qq " + target) for source, target in made[60:]]

    def study(*pairs: tuple[str, str]) -> Study:
        write(tmp_path / "a.tsv", pairs)
        source = {"train": "a.tsv", "vocabulary": 60, "word_pieces_from": 60}
        values = {
            "study": "s",
            "domain": {"name": "translation", **source},
            "family": {"name": "seq2seq", "sizes": [4]},
            "shards": {"smallest": 50},
            "split": {"validation": 10},
            "run": {"device": "cpu"},
        }
        return Study(from_values(values, tmp_path), tmp_path / "study")

    begun = study(*made[:60])
    assert begun.run(seconds=0).word == "budget"
    with pytest.raises(SpecError, match="word pieces: changed since the study began"):
        study(*others, *made[:60]).run(seconds=0, extend=True)
    more = study(*made[:60], *others)
    more.run(seconds=0, extend=True)
    assert len(more.cut.orders[0]) == len(begun.cut.orders[0]) + 30
