"""What engine.py times: every family at three widths, by the engine and the plain way.

Data are random, but learnable enough for a falling loss, and both ways see the same batches in the
same order: those of the domain, so the plain way profits from batches of like length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

LOSS_STEPS = 50
BANDS = 40
PAIRS = CLIPS = 256


@dataclass(frozen=True)
class Case:
    """A family at one width, as a study would train it, and what is asked of it."""

    family: str
    width: int
    batch: int
    vocabulary: int
    length: int
    """Steps of time, the side of an image, the most word pieces of a sentence, or the most frames
    of a clip."""
    optimizer: str
    rate: float
    clip: float
    kernels: bool = True
    wanted: float | None = None
    tolerance: float = 1e-3
    """Largest relative difference of the losses after LOSS_STEPS steps: rounding, grown."""

    @property
    def name(self) -> str:
        side = "" if self.vocabulary else f" ({self.length}x{self.length})"
        return f"{self.family} {self.width}{side}" + ("" if self.kernels else " without compiler")


def _resnet(width: int, side: int, wanted: float | None = None) -> Case:
    return Case("resnet", width, 64, 0, side, "momentum", 0.05, 0.0, wanted=wanted, tolerance=0.05)


def _speech(family: str, width: int) -> Case:
    return Case(family, width, 16, 30, 400, "adam", 0.002, 1.0, tolerance=0.01)


CASES = (
    Case("rhn", 32, 32, 98, 64, "adam", 0.003, 1.0, wanted=10),
    Case("rhn", 32, 32, 98, 64, "adam", 0.003, 1.0, kernels=False, wanted=2),
    Case("rhn", 64, 32, 98, 64, "adam", 0.003, 1.0),
    Case("rhn", 128, 32, 98, 64, "adam", 0.003, 1.0, wanted=2.5),
    Case("lstm", 32, 32, 10_000, 64, "sgd", 1.0, 1.0, wanted=2.5),
    Case("lstm", 64, 32, 10_000, 64, "sgd", 1.0, 1.0),
    Case("lstm", 128, 32, 10_000, 64, "sgd", 1.0, 1.0, wanted=1.8),
    _resnet(4, 14),
    _resnet(8, 14, wanted=1.8),
    _resnet(16, 14, wanted=1.8),
    _resnet(8, 28),
    _resnet(16, 28),
    *(Case("transformer", w, 32, 2_000, 64, "adam", 0.003, 1.0) for w in (32, 64, 128)),
    *(Case("seq2seq", w, 32, 2_000, 24, "adam", 0.005, 5.0, tolerance=0.01) for w in (32, 64, 128)),
    *(_speech("deepspeech2", width) for width in (24, 48, 96)),
    *(_speech("attention", width) for width in (24, 48, 96)),
)


def built(case: Case, domain: Any) -> tuple[Any, Any, Any]:
    """(the family, its options, a model of it from seed 0)."""
    import torch

    from steep.base.registry import FAMILIES
    from steep.spec.load import member

    module = member(FAMILIES, case.family)
    options = module.Options()
    torch.manual_seed(0)
    return module.FAMILY, options, module.FAMILY.build(case.width, domain.shape, options)


# ---------------------------------------------------------------- data, by kind of domain


@dataclass(frozen=True)
class Data:
    """A domain, and what both ways need of it."""

    domain: Any
    rows: list[Any]
    """Items of each batch, in order, again and again."""
    batch: Callable[[Any], Any]
    """Items -> what ``domain.loss`` takes."""
    dataset: Any
    """Of the plain way's DataLoader."""
    collate: Callable[[list[Any]], Any] | None
    """Its own where it is not torch's."""
    units: Callable[[Any], float]
    """Of the items: symbols, images, word pieces of the target, or seconds of audio."""
    per_unit: float = 1.0
    """Of those in one unit of the domain, for which FLOPs are counted."""


def data(case: Case) -> Data:
    kinds = {"resnet": _images, "seq2seq": _pairs, "deepspeech2": _clips, "attention": _clips}
    return kinds.get(case.family, _symbols)(case)


def _images(case: Case) -> Data:
    import numpy as np
    import torch
    from torch.utils.data import TensorDataset

    from steep.domains.images import Images

    generator = torch.Generator().manual_seed(0)
    count = case.batch * LOSS_STEPS
    targets = torch.randint(10, (count,), generator=generator)
    noise = torch.randint(256, (count, 1, case.length, case.length), generator=generator)
    inputs = ((noise + 20 * targets[:, None, None, None]) % 256).to(torch.uint8)
    domain = Images(inputs.numpy(), targets.numpy(), np.zeros(count, np.int8), {})
    seen = inputs.float() / 127.5 - 1
    rows = list(torch.randperm(count, generator=generator).split(case.batch))
    return Data(domain, rows, lambda rows: rows, TensorDataset(seen, targets), None, len)


def _symbols(case: Case) -> Data:
    import torch
    from torch.utils.data import TensorDataset

    from steep.domains.stream import Stream

    generator = torch.Generator().manual_seed(0)
    count = case.batch * 8
    stream = torch.randint(case.vocabulary, (count, case.length + 1), generator=generator)
    stream = (stream.float() ** 2 / case.vocabulary).long()
    inputs, targets = stream[:, :-1].contiguous(), stream[:, 1:].contiguous()
    domain = Stream.__new__(Stream)  # its loss needs no data
    domain.shape = {"vocabulary": case.vocabulary}
    rows = list(torch.randperm(count, generator=generator).split(case.batch))
    return Data(
        domain,
        rows,
        lambda rows: (inputs[rows], targets[rows], True),
        TensorDataset(inputs, targets),
        None,
        lambda rows: len(rows) * case.length,
    )


def _pairs(case: Case) -> Data:
    """Sentences of 4 symbols and more; a target is its source in reverse."""
    import numpy as np
    import torch

    from steep.domains.translation import Side, Translation

    generator = np.random.default_rng(0)
    lengths = generator.integers(4, case.length, PAIRS)
    symbols = [1 + generator.integers(0, case.vocabulary - 1, n) ** 2 for n in lengths]
    source = [(s // case.vocabulary + 1).tolist() for s in symbols]
    domain = Translation.__new__(Translation)
    domain._source, domain._target = Side(source), Side([s[::-1] for s in source])
    domain._device, domain.shape = "cpu", {"vocabulary": case.vocabulary}

    def collate(rows: list[int]) -> Any:
        items = np.array(rows)
        source_BxS, length_B, read_BxT, place_N, y_N = domain._batch(items)
        target_BxT = torch.full_like(read_BxT, -100)  # what cross_entropy ignores
        target_BxT.view(-1)[place_N] = y_N
        return source_BxS, length_B, read_BxT, target_BxT

    rows, pieces = list(_like_lengths(lengths, case.batch, generator)), domain._target.length
    return Data(
        domain, rows, domain._batch, range(PAIRS), collate, lambda rows: float(pieces[rows].sum())
    )


def _clips(case: Case) -> Data:
    """Clips of a second and more; every character sounds as itself for a while."""
    import numpy as np

    from steep.domains.audio import FRAMES_PER_SECOND, Features
    from steep.domains.speech import Row, Speech

    generator = np.random.default_rng(0)
    alphabet = [chr(ord("a") + n) for n in range(case.vocabulary - 1)]
    frames = generator.integers(FRAMES_PER_SECOND, case.length, CLIPS)
    rows_of, texts = [], []
    sound = generator.normal(size=(len(alphabet), BANDS))
    for count in frames:
        said = generator.integers(0, len(alphabet), count // 12)
        texts.append("".join(alphabet[n] for n in said))
        heard = sound[said[np.minimum(np.arange(count) * len(said) // count, len(said) - 1)]]
        rows_of.append(heard + 0.5 * generator.normal(size=heard.shape))
    features = Features(
        np.concatenate(rows_of).astype(np.float16), frames, frames / FRAMES_PER_SECOND
    )
    rows = [Row("", None, text, None, None) for text in texts]  # type: ignore[arg-type]
    number = np.arange(CLIPS)
    domain = Speech(
        rows, [str(n) for n in number], np.zeros(CLIPS, np.int8), number, features,
        "".join(alphabet), {},
    )  # fmt: skip

    def collate(rows: list[int]) -> Any:
        items = np.array(rows)
        return *domain._audio(items), *domain._transcripts(items)

    batches = list(_like_lengths(frames, case.batch, generator))
    return Data(
        domain,
        batches,
        lambda rows: rows,
        range(CLIPS),
        collate,
        lambda r: 3600 * domain.units(r),
        3600.0,
    )


def _like_lengths(lengths: Any, batch: int, generator: Any) -> Iterator[Any]:
    """Batches of items of like length, in random order."""
    order = lengths.argsort(kind="stable").reshape(-1, batch)
    yield from generator.permutation(order)


# ---------------------------------------------------------------- steps, the two ways

Step = Callable[[], tuple[float, float]]
"""One step: the mean loss before it, and the units in it."""


def plain_steps(case: Case) -> tuple[Step, str]:
    """(A function that makes one step the plain way, the name of that way)."""
    import plain

    given = data(case)
    _, options, model = built(case, given.domain)
    twin = plain.twin(case.family, case.width, given.domain.shape, options)
    twin.load(model)
    optimizer = plain.optimizer(case.optimizer, twin, case.rate)
    order = [[int(i) for i in rows] for rows in given.rows]
    loader = plain.loader(given.dataset, order, given.collate)

    def batches() -> Iterator[Any]:
        while True:
            yield from zip(given.rows, loader, strict=True)

    endless = batches()

    def step() -> tuple[float, float]:
        rows, batch = next(endless)
        return plain.step(twin, optimizer, batch, case.clip), given.units(rows)

    return step, "plain"


def engine_steps(case: Case) -> tuple[Step, str]:
    """The same with the engine's own loop, domain loss and optimizer."""
    from steep.engine import allocator, loop
    from steep.engine.optimizers import OPTIMIZERS

    allocator.keep_buffers()
    given = data(case)
    _, _, model = built(case, given.domain)
    values = {"learning_rate": case.rate, "momentum": 0.9}
    engine = getattr(model, "engine", "torch")
    run = loop.Run(model, OPTIMIZERS[case.optimizer](model.parameters(), values), engine)
    setup: Any = SimpleNamespace(domain=given.domain, computing=nullcontext)  # in float32

    def batches() -> Iterator[Any]:
        while True:
            yield from given.rows

    endless = batches()

    def step() -> tuple[float, float]:
        rows = next(endless)
        batch = given.batch(rows)
        run.optimizer.zero_grad()
        loss = loop.gradient(setup, run, batch)
        return loop._step(given.domain, run, batch, loss, case.clip) / loss.count, given.units(rows)

    return step, engine
