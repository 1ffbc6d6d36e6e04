"""Gradients recorded as graphs are the loop's own, to the last bit.

Without a GPU the recording is played by a stand-in that is as strict as a CUDA graph: what it made
stays where it is, later launches read and write the same tensors, and nothing that the Python code
around it does between two launches is seen.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import setup_of
from test_packed import same, shard, trials

from steep.contracts.trainer import Interrupted
from steep.engine import graphs, loop
from steep.engine.graphs import BatchResult, Graphs, Launch
from steep.engine.loop import Setup
from steep.engine.parts import parts
from steep.models import lstm, resnet, rhn, transformer
from steep.spec.load import SpecError
from steep.spec.sections import Stop
from steep.study import Study
from steep.testing import MemoryHandle

STOP = Stop(evaluations=4, patience=2, first=8, ratio=1.5)


@pytest.fixture(params=["rhn", "lstm", "transformer", "resnet", "channels-last"])
def case(request, tmp_path: Path) -> tuple[Setup, int]:
    family, options, size = {
        "rhn": (rhn.FAMILY, rhn.Options(depth=2, engine="function"), 5),
        "lstm": (lstm.FAMILY, lstm.Options(layers=2), 5),
        "transformer": (transformer.FAMILY, transformer.Options(layers=2), 8),
        "resnet": (resnet.FAMILY, resnet.Options(stages=2, engine="torch"), 4),
        "channels-last": (resnet.FAMILY, resnet.Options(stages=2, engine="torch"), 8),
    }[request.param]
    return setup_of(family, options, tmp_path, STOP), size


def stand_in(
    recordings: list[BatchResult],
) -> Callable[[Callable[[], BatchResult]], tuple[BatchResult, Launch]]:
    def record(work: Callable[[], BatchResult]) -> tuple[BatchResult, Launch]:
        work()  # to warm up
        made = work()
        recordings.append(made)
        (own, *_), gradients = parts((made.loss.total, made.loss.state)), made.gradients

        def launch() -> None:
            again = work()
            assert again.loss.count == made.loss.count
            for old, new in zip(own, parts((again.loss.total, again.loss.state))[0], strict=True):
                old.copy_(new)
            for old, new in zip(gradients, again.gradients, strict=True):
                old.copy_(new)

        return made, launch

    return record


def graphed(setup: Setup, trial, handle: MemoryHandle, recordings: list[BatchResult]):
    recorder = Graphs(setup, stand_in(recordings))
    return loop.answered(loop.training(setup, trial, shard(), handle), recorder.gradient)


def test_equals_the_loop_bit_for_bit(case: tuple[Setup, int]) -> None:
    """Batch norm's statistics, the state of a stream and shorter batches at epochs' ends too."""
    setup, size = case
    for trial in trials(size):
        recordings: list[BatchResult] = []
        one = graphed(setup, trial, MemoryHandle(), recordings)
        other = loop.train(setup, trial, shard(), MemoryHandle())
        same(one, other)
        assert one.weights_hash == other.weights_hash
        assert recordings
        for made in recordings:
            for parameter, gradient in zip(
                setup.family.build(size, setup.domain.shape, setup.options).parameters(),
                made.gradients,
                strict=True,
            ):
                assert gradient.stride() == torch.empty_like(parameter).stride()


def test_few_shapes_are_recorded_once_each(case: tuple[Setup, int]) -> None:
    setup, size = case
    recordings: list[BatchResult] = []
    measured = graphed(setup, trials(size)[0], MemoryHandle(), recordings)
    assert measured.steps > 3 * len(recordings)
    assert len(recordings) <= 4  # at an epoch's start or not, its last batch or not


def test_drained_and_resumed_equals_never_drained(case: tuple[Setup, int]) -> None:
    setup, size = case
    trial = trials(size)[0]
    handle = MemoryHandle(stop_after=9)
    with pytest.raises(Interrupted):
        graphed(setup, trial, handle, [])
    resumed = graphed(setup, trial, MemoryHandle(handle.checkpoint), [])
    whole = loop.train(setup, trial, shard(), MemoryHandle())
    same(resumed, whole)
    assert resumed.weights_hash == whole.weights_hash


def test_a_batch_that_the_recording_holds_on_to_would_be_seen(case: tuple[Setup, int]) -> None:
    """The stand-in is strict: with a copy left out, the result is another one."""
    setup, size = case
    recorder = Graphs(setup, stand_in([]))
    trial = trials(size)[0]
    recorded = recorder._recorded

    def forgetful(run, tensors, how):
        launched = recorded(run, tensors, how)
        first = [x.clone() for x in tensors]
        return lambda new: launched(first)

    recorder._recorded = forgetful  # type: ignore[method-assign]
    steps = loop.training(setup, trial, shard(), MemoryHandle())
    wrong = loop.answered(steps, recorder.gradient)
    right = loop.train(setup, trial, shard(), MemoryHandle())
    assert wrong.weights_hash != right.weights_hash


def spec(folder: Path, *lines: str) -> Path:
    (folder / "a.txt").write_text("\n\n".join(f"line {n} of many" for n in range(200)))
    path = folder / "spec.yaml"
    text = [
        "study: graphs",
        "split: {validation: 0.2, test: 0.2}",
        "shards: {smallest: 100, largest: 400}",
        "trainer: {name: engine, cuda_graphs: true}",
        *lines,
    ]
    path.write_text("\n".join(text))
    return path


CHARACTERS = "domain: {name: characters, train: a.txt}"
LSTM = "family: {name: lstm, sizes: [8]}"


def test_a_gpu_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    study = Study(spec(tmp_path, CHARACTERS, LSTM, "run: {device: cpu}"), tmp_path / "study")
    with pytest.raises(SpecError, match=r"cuda_graphs \(line 4\): they need an NVIDIA GPU"):
        study.run()
    study.check()  # the machine that runs it may be another one


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    study = Study(spec(tmp_path, CHARACTERS, LSTM, "run: {device: cuda}"), tmp_path / "study")
    with pytest.raises(SpecError, match="torch finds no CUDA device"):
        study.run()
    assert not study.folder.exists()


def test_pairs_and_packs_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(
        "source\ttarget\n" + "\n".join(f"eins {n}\tone {n}" for n in range(300))
    )
    translation = "domain: {name: translation, train: pairs.tsv, vocabulary: 60}"
    seq2seq = "family: {name: seq2seq, sizes: [8]}"
    with pytest.raises(SpecError, match="batches of translation have too many shapes"):
        Study(spec(tmp_path, translation, seq2seq), tmp_path / "pairs").check()
    with pytest.raises(SpecError, match="in neither bfloat16 nor CUDA graphs"):
        Study(spec(tmp_path, CHARACTERS, LSTM, "run: {pack: 2}"), tmp_path / "pack").check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu(case: tuple[Setup, int]) -> None:
    setup, size = case
    setup.domain.to("cuda")
    on_gpu = Setup(**{**vars(setup), "device": "cuda"})
    one = graphs.train(on_gpu, trials(size)[0], shard(), MemoryHandle())
    same(one, loop.train(on_gpu, trials(size)[0], shard(), MemoryHandle()))
