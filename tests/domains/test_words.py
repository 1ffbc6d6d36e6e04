"""Words: tokens, vocabulary, the split, and a model that learns fifty paragraphs by heart."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from steep import testing
from steep.contracts.domain import DataError
from steep.domains import words
from steep.domains.stream import END, UNKNOWN, Stream
from steep.domains.words import TOKEN
from steep.engine.optimizers import OPTIMIZERS
from steep.models import lstm, rhn, transformer
from steep.shards import cut
from steep.spec.load import from_values
from steep.study import Study

RECIPE = {**lstm.FAMILY.recipe, "batch_size": 3, "sequence_length": 7}
LIST = ["data", "error", "falls", "as", "a", "power", "law", "of", "size", ","]


def opened(folder: Path, **options) -> Stream:
    return words.open_domain(words.Options(**options), folder)


def write(path: Path, seed: int, paragraphs: int = 30) -> None:
    generator = np.random.default_rng(seed)
    path.write_text(
        "\n\n".join(
            " ".join(generator.choice(LIST, generator.integers(4, 12))) for _ in range(paragraphs)
        )
    )


@pytest.fixture
def domain(tmp_path: Path) -> Stream:
    write(tmp_path / "a.txt", 0)
    return opened(tmp_path, train="a.txt")


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (lstm, {"layers": 1}),
        (rhn, {"depth": 2}),
        (transformer, {"layers": 1, "context": 6}),
    ],
)
def test_contract(domain: Stream, family, options) -> None:
    testing.check_member(words, "open_domain")
    testing.check_domain(domain, family.FAMILY, family.Options(**options), 4, RECIPE)


class Cycle(torch.nn.Module):
    """A model that is sure of the next symbol: the one after the last in a cycle."""

    def __init__(self, cycle: list[int], vocabulary: int, state: bool) -> None:
        super().__init__()
        self.following = {symbol: cycle[(n + 1) % len(cycle)] for n, symbol in enumerate(cycle)}
        self.vocabulary, self.state, self.decoder = vocabulary, state, torch.nn.Identity()
        self.asked: list[int] = []

    def hidden(self, x_BxT: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        self.asked.append(x_BxT.shape[1])
        logits = torch.full((*x_BxT.shape, self.vocabulary), -1e9)
        for place in np.ndindex(*x_BxT.shape):
            logits[(*place, self.following[int(x_BxT[place])])] = 0.0
        return logits, (state or 0) + 1 if self.state else None


@pytest.mark.parametrize("state", [True, False])
def test_samples_go_on_where_the_paragraph_begins(tmp_path: Path, state: bool) -> None:
    (tmp_path / "a.txt").write_text("data error falls as\n\nlaw of\n\nerror falls")
    domain = opened(tmp_path, train="a.txt")
    symbol = {word: n for n, word in enumerate(domain._spelling)}
    words_ = ["data", "error", "falls", "as", "law", "of"]
    model = Cycle([END, *(symbol[word] for word in words_)], domain.shape["vocabulary"], state)
    first, second, third = domain.samples(model, np.arange(3))
    assert (first.given, first.expected) == ("data error", "falls as")
    assert first.written == "falls as law of"  # up to the end of the paragraph
    assert (second.given, second.expected, second.written) == ("law", "of", "of")
    assert (third.given, third.expected, third.written) == ("error", "falls", "falls as law of")
    assert (set(model.asked) == {1, 2, 3}) is state  # with a state only what is new


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("My fellow Americans, thank you.", "My fellow Americans , thank you ."),
        ("the nation's $1,000.50; don’t", "the nation's $ 1,000.50 ; don’t"),
        ("1990s well-being 'quoted' U.S.", "1990s well - being ' quoted ' U . S ."),
        ("naïve Größe 3rd 50%", "naïve Größe 3rd 50 %"),
        ("end.Next 1,2,3.", "end . Next 1,2,3 ."),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert TOKEN.findall(text) == tokens.split()


def test_no_character_is_lost() -> None:
    text = "".join(map(chr, range(32, 0x250))) + " It’s 3.5% of $1,000 – “so to say”."
    assert "".join(TOKEN.findall(text)) == "".join(text.split())


def test_paragraphs_are_items_and_their_ends_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One two,\nthree.\n\n \nshort\n\n" + "five " * 10)
    sizes = opened(tmp_path, train="a.txt", shortest=2, longest=4).items().size.tolist()
    assert sizes == [5, 5, 5, 3]  # 'One two , three' loses its '.' to a piece too short to keep
    assert opened(tmp_path, train="a.txt").items().size.tolist() == [6, 2, 11]
    assert opened(tmp_path, train="a.txt").unit == "words"


def test_vocabulary_is_the_most_frequent_words_of_the_training_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("b b b the the The c a a")
    (tmp_path / "v.txt").write_text("new new new new new the")
    domain = opened(tmp_path, train="a.txt", validation="v.txt", vocabulary=3)
    assert domain.learnt == {"words": "b a the"}  # ties in code point order
    assert domain.shape == {"vocabulary": 5}
    b, a, the = 3, 2, 4
    first = [b, b, b, the, the, UNKNOWN, UNKNOWN, a, a, END]
    assert domain._stream(np.array([0])).tolist() == first
    assert domain._stream(np.array([1])).tolist() == [UNKNOWN] * 5 + [the, END]
    lower = opened(tmp_path, train="a.txt", lower_case=True, vocabulary=3)
    assert lower.learnt == {"words": "b the a"}
    given = opened(tmp_path, train="a.txt", words="the c")
    assert given.shape == {"vocabulary": 4}
    assert given._stream(np.array([0])).tolist() == [UNKNOWN] * 3 + [3, 3] + [UNKNOWN, 2] + [
        UNKNOWN,
        UNKNOWN,
        END,
    ]


def test_what_was_learnt_gives_the_same_symbols_when_data_is_added(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", 0)
    before = opened(tmp_path, train="*.txt", vocabulary=6)
    (tmp_path / "b.txt").write_text("quite other words " * 50)
    after = opened(tmp_path, train="*.txt", vocabulary=6, **before.learnt)
    rows = np.arange(30)
    assert (after._stream(rows) == before._stream(rows)).all()
    assert set(after._stream(np.array([30]))) == {UNKNOWN, END}


@pytest.mark.parametrize("name", ["words", "characters"])
def test_a_study_keeps_what_it_learnt(name: str, tmp_path: Path) -> None:
    """Data in another alphabet comes in: no symbol of the study changes, and the report says what
    small shards know."""
    write(tmp_path / "a.txt", 0, 100)
    spec = {
        "study": "kept",
        "domain": {"name": name, "train": str(tmp_path / "*.txt"), "vocabulary": 6},
        "family": {"name": "none", "sizes": [1, 2]},
        "shards": {"smallest": 50, "largest": 200},
        "split": {"validation": 10},
        "search": {"seeds": 1, "extend": 0},
    }

    def study() -> Study:
        def train(shard, size, seed):
            return {"validation_error": 1 / size, "parameters": size}

        return Study(spec, tmp_path / "study", trainer=train)

    first = study()
    assert first.run().word == "complete"
    (tmp_path / "b.txt").write_text("\n\n".join(f"βήτα γάμμα {n}" for n in range(200)))
    spec["shards"]["largest"] = None
    more = study()
    assert more.run(extend=True).word == "complete"
    assert more.cut.shards[-1].samples > 400
    (option,) = more.domain.learnt
    for opened_again in (more, study(), Study.open(tmp_path / "study", trainer=study()._function)):
        assert opened_again.domain.learnt == first.domain.learnt
        assert opened_again.domain.shape == first.domain.shape
    report = (tmp_path / "study" / "report.html").read_text()
    assert f"{option}: learnt once, known to every shard" in report
    fresh = Study(spec, tmp_path / "other").domain
    assert fresh.learnt != first.domain.learnt, "the new data would have changed it"


def test_no_paragraph_and_no_copy_of_one_is_on_two_sides(tmp_path: Path) -> None:
    for name in range(8):
        write(tmp_path / f"{name}.txt", name, 20)
        with (tmp_path / f"{name}.txt").open("a") as file:
            file.write(f"\n\nthe  same  paragraph\n\nnumber {name}")
    domain = opened(tmp_path, train=".")
    items = domain.items()
    spec = {
        "study": "split",
        "domain": {"name": "words", "train": "."},
        "family": {"name": "lstm", "sizes": [4]},
        "shards": {"smallest": 100},
        "split": {"validation": 0.2, "test": 0.2},
    }
    parts = cut(from_values(spec, tmp_path), items, domain.unit)
    train = parts.orders[0]
    for one, other in (
        (train, parts.validation),
        (train, parts.test),
        (parts.validation, parts.test),
    ):
        assert not set(items.group[one]) & set(items.group[other])
    assert not set(items.digest[train]) & set(items.digest[np.r_[parts.validation, parts.test]])
    kept_out = len(np.unique(items.group[np.r_[parts.validation, parts.test]]))
    assert parts.removed >= 8 - kept_out > 0  # every other file's copy of the same paragraph


def test_best_guess_is_the_add_one_unigram(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be\n\nto be")
    guess = opened(tmp_path, train="a.txt").best_guess(np.array([0]), np.array([1]))
    # to 2, be 2, or 1, not 1, end 1, unknown 0; add one to each of 6 symbols
    assert guess["cross_entropy"] == pytest.approx(-np.log([3 / 13, 3 / 13, 2 / 13]).mean())
    assert set(guess) == {"cross_entropy", "error"}


def test_an_unusable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"empty\.txt: empty"):
        opened(tmp_path, train="empty.txt")
    (tmp_path / "short.txt").write_text("two words")
    with pytest.raises(DataError, match=r"short\.txt: holds no paragraph"):
        opened(tmp_path, train="short.txt", shortest=3)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        pytest.param(lstm, {}, id="lstm2", marks=pytest.mark.slow),
        pytest.param(lstm, {"layers": 4}, id="lstm4", marks=pytest.mark.slow),
        pytest.param(rhn, {"depth": 5}, id="rhn5", marks=pytest.mark.slow),
        pytest.param(rhn, {"depth": 10}, id="rhn10", marks=pytest.mark.slow),
        pytest.param(transformer, {"layers": 2, "context": 16}, id="transformer"),
    ],
)
def test_every_family_learns_fifty_paragraphs_by_heart(family, options, tmp_path: Path) -> None:
    """No two begin with the same word: all but the beginning can be known, and must be."""
    generator = np.random.default_rng(5)
    lines = [f"w{n} " + " ".join(generator.choice(LIST, 6)) for n in range(50)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines))
    domain = opened(tmp_path, train="a.txt")
    torch.manual_seed(0)
    model = family.FAMILY.build(64, domain.shape, family.Options(**options))
    values = {**family.FAMILY.recipe, "batch_size": 4, "sequence_length": 16}
    # Four layers that begin at uniform(-0.1, 0.1) leave the unigram level late.
    values["learning_rate"] = 0.01 if options.get("layers") == 4 else 0.003
    optimizer = OPTIMIZERS["adam"](model.parameters(), values)
    shard, state = np.arange(50), None
    unguessable = np.log(50) / 8  # the first of eight symbols: any of fifty
    for batch, (epoch, taken) in domain.batches(shard, values, 0, (0, 0)):
        optimizer.zero_grad()
        total, count, state = domain.loss(model, batch, state)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if taken == 0 and epoch % 20 == 0:
            with torch.inference_mode():
                error = domain.evaluate(model, shard).mean("cross_entropy")
            if error < unguessable + 0.1:
                return
        assert epoch < 1000, f"still {error} nats, {unguessable} of them beyond guessing"


def test_the_stream_is_read_in_order(domain: Stream) -> None:
    batches = list(islice(domain.batches(np.array([4]), RECIPE, 0, (0, 0)), 1))
    (x_BxT, y_BxT, fresh), _ = batches[0]
    assert fresh
    assert x_BxT[0, 0] == END
    assert (x_BxT[0, 1:] == y_BxT[0, :-1]).all()
