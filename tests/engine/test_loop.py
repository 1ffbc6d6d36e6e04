"""The loop: how trials end, that they resume bit for bit, that it carries every kind of domain."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ragged
import torch
from small import STOP, pixels, text

import tones
from steep import testing
from steep.contracts.trainer import Interrupted, ShardItems
from steep.domains import speech
from steep.engine import checkpoint, loop
from steep.models import attention, deepspeech2, lstm, resnet, rhn
from steep.records import Status, Trial, settings
from steep.spec.sections import Stop
from steep.testing import MemoryHandle


def trial(size: int = 4, seed: int = 0, **hyperparameters) -> Trial:
    return Trial(0, 20, 20.0, size, settings(hyperparameters), seed)


def shard(count: int = 40) -> ShardItems:
    rows = np.arange(count)
    return ShardItems(rows[: count // 2], rows[count // 2 : -10], rows[-10:])


def setup(domain: Any, family: Any, options: Any, **values: Any) -> loop.Setup:
    recipe: Mapping[str, Any] = {**family.recipe, "batch_size": 4, "sequence_length": 9}
    common = {"stop": STOP, "metric": "cross_entropy", "group": domain.items().group}
    return loop.Setup(domain, family, options, recipe, **{**common, **values})


def clips(folder: Path) -> speech.Speech:
    tones.write(folder, tones.texts(40))
    return speech.open_domain(speech.Options(train="manifest.jsonl", cache="cache"), folder)


SPOKEN = {"deepspeech2": deepspeech2, "attention": attention}


@pytest.fixture(params=["images", "lstm", "rhn", *SPOKEN, "ctc", "forced"])
def case(request, tmp_path: Path) -> loop.Setup:
    name = request.param
    if name == "images":
        return setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    if name in ragged.FAMILIES:
        return setup(ragged.Ragged(name), ragged.FAMILIES[name], ragged.Options())
    if name in SPOKEN:
        return setup(clips(tmp_path), SPOKEN[name].FAMILY, SPOKEN[name].Options(), metric="cer")
    family = {"lstm": lstm, "rhn": rhn}[name]
    options = {"lstm": lstm.Options(layers=2), "rhn": rhn.Options(depth=3)}[name]
    return setup(text(tmp_path), family.FAMILY, options)


@pytest.fixture(autouse=True)
def count_dummies(monkeypatch) -> None:
    """The FLOP counter knows two kinds of model; the dummies are of kinds of their own."""
    from steep.contracts.trainer import Cost
    from steep.engine import count

    real = count.cost

    def cost(family, size, shape, options) -> Cost:
        known = family.name not in ragged.FAMILIES
        return real(family, size, shape, options) if known else Cost(1, 1, 1.0)

    monkeypatch.setattr(loop, "cost", cost)


def test_contract_killed_and_resumed_equals_never_killed(case: loop.Setup) -> None:
    measured = testing.check_trainer(
        lambda trial, shard, handle: loop.train(case, trial, shard, handle), trial(), shard()
    )
    assert measured.test_error is not None
    assert measured.train_error is not None
    assert measured.validation_error_se is not None


def test_hours_are_seen_characters_are_lost_words_are_told(tmp_path: Path) -> None:
    """A domain may count its loss in another unit than its data, and tell of what it writes."""
    domain, parts = clips(tmp_path), shard()
    run = setup(domain, deepspeech2.FAMILY, deepspeech2.Options(layers=1), metric="cer")
    handle = MemoryHandle()
    measured = loop.train(run, trial(), parts, handle)
    hours = domain.items().size[parts.train].sum()
    epochs = measured.steps / domain.steps_per_epoch(parts.train, run.hyperparameters)
    assert measured.samples_seen == pytest.approx(epochs * hours, rel=0.3)
    assert measured.samples_seen < 1, "hours, not characters"
    first = handle.evaluations[0]
    assert 0.3 < first.train_loss / first.validation_loss < 3, "both are nats a character"
    metrics = dict(measured.metrics)
    assert set(metrics) == {"cer", "cross_entropy", "wer"}
    assert measured.validation_error == metrics["cer"]
    assert measured.validation_loss == metrics["cross_entropy"]


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 7])
def test_resume_from_any_step_is_bit_identical(tmp_path: Path, step: int) -> None:
    """Mid-epoch, at an epoch's end, just before and after an evaluation; with carried state."""
    run = setup(text(tmp_path), rhn.FAMILY, rhn.Options(depth=2))
    whole = loop.train(run, trial(), shard(), MemoryHandle())
    killed = MemoryHandle(stop_after=step)
    with pytest.raises(Interrupted):
        loop.train(run, trial(), shard(), killed)
    assert killed.saved_steps == [step]
    resumed = loop.train(run, trial(), shard(), MemoryHandle(checkpoint=killed.checkpoint))
    timeless = {"seconds": 0.0, "peak_memory": None, "curve": ()}
    assert replace(resumed, **timeless) == replace(whole, **timeless)
    for one, other in zip(resumed.curve, whole.curve, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)


def test_checkpoints_change_nothing() -> None:
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    often = MemoryHandle(save_every=1)
    saved = loop.train(run, trial(), shard(), often)
    plain = loop.train(run, trial(), shard(), MemoryHandle())
    assert len(often.saved_steps) == saved.steps
    assert saved.weights_hash == plain.weights_hash


def test_ends_by_patience_and_reports_the_best_step() -> None:
    run = setup(pixels(learnable=False), resnet.FAMILY, resnet.Options(stages=2))
    handle = MemoryHandle()
    measured = loop.train(run, trial(), shard(), handle)
    assert measured.status == Status.COMPLETE
    assert STOP.evaluations <= measured.evaluations <= 2 * STOP.evaluations
    best = min(measured.curve, key=lambda point: point.validation_error)
    assert (measured.best_step, measured.validation_error) == (best.step, best.validation_error)
    errors = handle.errors
    assert errors["cross_entropy"].sum() / errors["count"].sum() == measured.validation_error
    assert len(errors["count"]) == len(shard().validation)
    assert measured.flops == pytest.approx(
        measured.samples_seen * loop.cost(run.family, 4, run.domain.shape, run.options).flops
    )


def test_test_part_is_seen_once_with_the_best_weights(monkeypatch) -> None:
    domain = pixels()
    asked = []
    evaluate = domain.evaluate
    monkeypatch.setattr(
        domain, "evaluate", lambda model, rows: (asked.append(rows), evaluate(model, rows))[1]
    )
    run = setup(domain, resnet.FAMILY, resnet.Options(stages=2))
    measured = loop.train(run, trial(), shard(), MemoryHandle())
    of_test = [rows for rows in asked if set(rows) & set(shard().test)]
    assert len(of_test) == 1
    assert len(asked) == measured.evaluations + 2


def test_the_training_error_is_that_of_the_first_items_of_the_shard(monkeypatch) -> None:
    """Of the best step's weights, as all errors of a trial, and not of V."""
    domain, answers = pixels(), []
    evaluate = domain.evaluate

    def recorded(model: torch.nn.Module, rows: np.ndarray) -> Any:
        weights = [value.clone() for value in model.state_dict().values()]
        answers.append((rows.tolist(), evaluate(model, rows), weights))
        return answers[-1][1]

    monkeypatch.setattr(domain, "evaluate", recorded)
    run = setup(domain, resnet.FAMILY, resnet.Options(stages=2), train_items=7)
    measured = loop.train(run, trial(), shard(), MemoryHandle())
    of_train = [answer for answer in answers if set(answer[0]) & set(shard().train.tolist())]
    ((rows, scores, weights),) = of_train
    assert rows == shard().train[:7].tolist()
    assert measured.train_error == scores.mean("cross_entropy")
    best = [point.step for point in measured.curve].index(measured.best_step)
    for one, other in zip(weights, answers[best][2], strict=True):
        assert torch.equal(one, other)


def test_ends_where_improvement_is_asked_for_and_scores_the_lowest() -> None:
    stop = Stop(evaluations=2, patience=1, first=2, ratio=1.5, improvement=0.9)
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2), stop=stop)
    measured = loop.train(run, trial(), shard(), MemoryHandle())
    first, second = (point.validation_error for point in measured.curve)
    assert measured.status == Status.COMPLETE
    assert 0.1 * first < second < first
    assert measured.validation_error == second


def test_cap_while_improving() -> None:
    stop = Stop(evaluations=2, patience=9, first=2, ratio=1.5)
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2), stop=stop)
    measured = loop.train(run, trial(), shard(), MemoryHandle())
    assert measured.status == Status.CAPPED
    assert measured.evaluations == 4
    assert "cap" in (measured.reason or "")


def test_rungs_of_halving_are_one_trial_continued() -> None:
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    whole = loop.train(run, trial(), shard(), MemoryHandle())
    data, steps = None, []
    for rung in (2, 5, None):
        handle = MemoryHandle(up_to_steps=rung, checkpoint=data)
        measured = loop.train(run, trial(), shard(), handle)
        data = handle.checkpoint
        steps.append((measured.steps, measured.status, measured.test_error is None))
    assert steps[:2] == [(2, Status.STOPPED, True), (5, Status.STOPPED, True)]
    assert measured.weights_hash == whole.weights_hash


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_is_a_status_with_its_step(monkeypatch, value: float) -> None:
    domain = pixels()
    loss, calls = domain.loss, []

    def broken(model, batch, state):
        calls.append(1)
        total, count, state = loss(model, batch, state)
        return (total * value if len(calls) == 5 else total), count, state

    monkeypatch.setattr(domain, "loss", broken)
    run = setup(domain, resnet.FAMILY, resnet.Options(stages=2))
    measured = loop.train(run, trial(), shard(), MemoryHandle())
    assert measured.status == Status.DIVERGED
    assert measured.steps == 5
    assert f"{value} at step 5" in (measured.reason or "")
    assert measured.validation_error is None
    assert measured.evaluations == 2  # at steps 3 and 4


def test_a_learning_rate_too_high_ends_as_diverged_not_as_a_number() -> None:
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    measured = loop.train(run, trial(optimizer="sgd", learning_rate=1e30), shard(), MemoryHandle())
    assert measured.status == Status.DIVERGED


def test_hyperparameters_of_the_trial_win() -> None:
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    measured = [
        loop.train(run, trial(learning_rate=rate), shard(), MemoryHandle()) for rate in (0.1, 0.01)
    ]
    assert measured[0].validation_error != measured[1].validation_error


@pytest.mark.parametrize("kind", ragged.FAMILIES)
def test_no_batch_leaves_the_shard(kind: str) -> None:
    domain = ragged.Ragged(kind)
    loop.train(
        setup(domain, ragged.FAMILIES[kind], ragged.Options()), trial(), shard(), MemoryHandle()
    )
    assert domain.taken == set(shard().train)


@pytest.mark.parametrize("kind", ragged.FAMILIES)
def test_neither_padding_nor_batch_size_changes_a_loss(kind: str) -> None:
    domain = ragged.Ragged(kind)
    torch.manual_seed(0)
    model = ragged.FAMILIES[kind].build(4, domain.shape, None)
    rows = np.arange(9)
    whole, count, _ = domain.loss(model, domain.padded(rows), None)
    padded, _, _ = domain.loss(model, domain.padded(rows, extra=7), None)
    parts = [domain.loss(model, domain.padded(part), None) for part in np.split(rows, [2, 3, 7])]
    torch.testing.assert_close(padded, whole)
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).sum(), whole)
    assert sum(part[1] for part in parts) == count


def test_a_foreign_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """And no byte of it is executed: the trial begins afresh and ends as one without."""
    run = setup(pixels(), resnet.FAMILY, resnet.Options(stages=2))
    handle = MemoryHandle(up_to_steps=2)
    loop.train(run, trial(), shard(), handle)
    clean = loop.train(run, trial(seed=1), shard(), MemoryHandle())
    for foreign in (handle.checkpoint, b"\x80\x04pickle"):
        other = MemoryHandle(checkpoint=foreign)
        found = loop.train(run, trial(seed=1), shard(), other)
        assert found.weights_hash == clean.weights_hash
        assert found.steps == clean.steps
    with pytest.raises(checkpoint.CheckpointError, match="not a checkpoint"):
        checkpoint.unpack(b"\x80\x04pickle")


def test_what_a_model_writes_is_scored_once_and_chooses_nothing(monkeypatch) -> None:
    monkeypatch.setattr(loop, "DECODED_ITEMS", 5)
    domain, asked = pixels(), []

    def decoded(model: torch.nn.Module, items: np.ndarray) -> dict[str, float]:
        assert not model.training
        assert torch.is_inference_mode_enabled()
        asked.append((items.tolist(), domain.evaluate(model, shard().validation).mean(run.metric)))
        return {"bleu": 12.5}

    run = setup(domain, resnet.FAMILY, resnet.Options(stages=2))
    without = loop.train(run, trial(), shard(), MemoryHandle())
    monkeypatch.setattr(domain, "decoded", decoded, raising=False)
    found = loop.train(run, trial(), shard(), MemoryHandle())
    assert asked == [([20, 22, 24, 26, 29], found.validation_error)], "not the best step's model"
    assert found.metrics == (*without.metrics, ("bleu", 12.5))
    assert found.validation_error == without.validation_error
    stopped = loop.train(run, trial(), shard(), MemoryHandle(up_to_steps=4))
    assert (stopped.status, len(asked)) == (Status.STOPPED, 1)
