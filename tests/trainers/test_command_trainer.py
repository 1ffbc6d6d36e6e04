"""A command as trainer: what it is given, how it reports, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steep.contracts.trainer import Interrupted, ShardItems
from steep.domains.dataset import Options as DatasetOptions
from steep.domains.dataset import open_domain
from steep.records import Measurement, Status, Trial, settings
from steep.spec.load import SpecError, from_values
from steep.study import Study
from steep.testing import MemoryHandle
from steep.trainers.answer import OwnCodeError
from steep.trainers.command import CommandError, open_trainer

TRIAL = Trial(0, 3, 3.0, 8, settings({"rate": 0.1}), 5)
SHARD = ShardItems(np.array([4, 2, 0]), np.array([1]), np.array([3]))


@dataclass
class Listening(MemoryHandle):
    """A handle that asks to stop once so many evaluations were told."""

    stop_after: int | None = None
    told: list[int] = field(default_factory=list)

    def stop_requested(self) -> bool:
        return self.stop_after is not None and len(self.evaluations) >= self.stop_after


def spec(command: str, **options: Any) -> dict[str, Any]:
    domain = options.pop("domain", {})
    return {
        "study": "own",
        "domain": {"name": "dataset", "train": "data.txt", **domain},
        "family": {"sizes": [8]},
        "shards": {"smallest": 2},
        "training": {"rate": 0.1},
        "trainer": {"name": "command", "command": command, **options},
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data.txt").write_text("a\nb\nc\nd\ne\n")
    return tmp_path


Run = Callable[..., Measurement]


@pytest.fixture
def run(place: Path) -> Run:
    """Runs the text of a Python script, or a whole command line, as one trial."""

    def ran(
        script: str, handle: MemoryHandle | None = None, line: str = "", **options: Any
    ) -> Measurement:
        (place / "script.py").write_text(textwrap.dedent(script))
        command = line or "{python} script.py {shard} {size} {seed} {rate}"
        loaded = from_values(spec(command, **options), place)
        domain = open_domain(DatasetOptions.model_validate(_options(loaded)), place)
        trainer = open_trainer(loaded, domain)
        return trainer(TRIAL, SHARD, handle or MemoryHandle(home=place))

    return ran


def _options(loaded: Any) -> dict[str, Any]:
    return loaded.spec.domain.options


def prints(*values: Any) -> str:
    return "\n".join(f"print({json.dumps(value)!r})" for value in values)


def test_a_script_gets_its_shard_size_seed_and_hyperparameters(run: Run) -> None:
    found = run(
        """
        import json, sys
        lines = open(sys.argv[1]).read()
        assert lines == "e\\nc\\na\\n", lines
        assert sys.argv[2:] == ["8", "5", "0.1"], sys.argv
        print(json.dumps({"validation_error": 0.25, "test_error": 0.3, "parameters": 70}))
        """
    )
    assert (found.status, found.validation_error, found.test_error) == (Status.COMPLETE, 0.25, 0.3)
    assert found.parameters == 70
    assert dict(found.metrics) == {"error": 0.25}


def test_validation_and_test_items_are_files_too(run: Run) -> None:
    """A pipeline of the shell is a command as well."""
    line = "test $(cat {validation} {test} | tr -d '\\n') = bd && echo 0.5 > {result}"
    assert run("", line=line).validation_error == 0.5


def test_progress_lines_are_a_training_curve(run: Run) -> None:
    handle = MemoryHandle()
    found = run(
        prints(
            {"step": 100, "validation_error": 0.31, "train_loss": 2.0},
            {"step": 200, "validation_error": 0.29, "validation_loss": 1.5, "epoch": 2},
            {"level": "info", "message": "no business of steep's"},
            {"step": 250, "loss": 0.7},
            {"validation_error": 0.28},
        ),
        handle,
    )
    assert [(e.step, e.validation_error) for e in handle.evaluations] == [(100, 0.31), (200, 0.29)]
    assert handle.evaluations[0].train_loss == 2.0
    assert handle.evaluations[1].validation_loss == 1.5
    assert found.curve == tuple(handle.evaluations)
    assert (found.validation_error, found.steps, found.samples_seen) == (0.28, 200, 6.0)


def test_progress_alone_ends_in_its_lowest_error(run: Run) -> None:
    lines = [{"step": s, "val_error": e} for s, e in ((1, 0.4), (2, 0.2), (3, 0.3))]
    found = run(prints(*lines))
    assert (found.validation_error, found.best_step, found.steps) == (0.2, 2, 3)


def test_a_metric_that_the_result_names_is_taken(run: Run) -> None:
    found = run(prints({"step": 1, "eval_accuracy": 0.5}, {"eval_accuracy": 0.9}))
    assert found.validation_error == pytest.approx(0.1)
    assert [name for name, _ in found.metrics] == ["1 - accuracy"]
    assert found.curve[0].validation_error == 0.5
    with pytest.raises(OwnCodeError, match="accuracy and f1: say which"):
        run(prints({"accuracy": 0.9, "f1": 0.8}))
    declared = run(prints({"accuracy": 0.9, "f1": 0.8}), domain={"metric": "f1"})
    assert declared.validation_error == pytest.approx(0.2)
    assert dict(declared.metrics)["1 - accuracy"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("written", "error"),
    [('{"validation_error": 0.3}', 0.3), ("0.3", 0.3), (" 0.3\n", 0.3)],
)
def test_a_result_file(run: Run, written: str, error: float) -> None:
    script = f"import os; open(os.environ['STEEP_RESULT'], 'w').write({written!r})"
    assert run(script).validation_error == error


@pytest.mark.parametrize(
    ("pattern", "printed", "options", "error"),
    [
        ("accuracy: {number}", "accuracy: 0.5\naccuracy: 0.75", {}, 0.25),
        ("accuracy: {number} %", "accuracy: 75 %", {"percent": True}, 0.25),
        (r"acc=(\S+)", "epoch 1 acc=.5 loss=3\nbye", {}, 0.5),
        ('"acc": {number}', '{"epoch": 1, "acc": 0.75}', {}, 0.25),
    ],
)
def test_a_pattern_reads_the_last_line_that_matches(
    run: Run, pattern: str, printed: str, options: dict[str, Any], error: float
) -> None:
    found = run(f"print({printed!r})", pattern=pattern, domain={"metric": "accuracy"}, **options)
    assert found.validation_error == pytest.approx(error)


def test_a_pattern_reads_what_is_logged(run: Run) -> None:
    """To standard error, as Python's logging writes it; what is printed comes first."""
    logged = "import logging; logging.warning('accuracy: 0.75');"
    of = {"pattern": "accuracy: {number}", "domain": {"metric": "accuracy"}}
    assert run(logged, **of).validation_error == pytest.approx(0.25)
    both = run(logged + "print('accuracy: 0.5')", **of)
    assert both.validation_error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        ("loss: 1,234.5 nats", 1234.5),
        ("loss: 12,345,678", 12345678.0),
        ("loss: 0.5, accuracy: 0.8", 0.5),
        ("loss: 3, accuracy: 0.8", 3.0),
        ("loss: 0,123", None),
        ("loss: 12,3", None),
        ("loss: 1,234", None),
        ("losses: 5,0.31", None),
    ],
)
def test_a_comma_that_may_be_a_decimal_one_is_not_guessed(
    run: Run, printed: str, error: float | None
) -> None:
    """0,123 was 123, and 12,3 too."""
    of = {"pattern": "loss(?:es)?: {number}", "domain": {"metric": "loss"}}
    if error is not None:
        assert run(f"print({printed!r})", **of).validation_error == error
        return
    with pytest.raises(OwnCodeError, match="whose comma may be that of a decimal or of thousands"):
        run(f"print({printed!r})", **of)


@pytest.mark.parametrize(
    ("metric", "printed", "kept", "error"),
    [
        ("val_acc", "0.75", "1 - accuracy", 0.25),
        ("Accuracy", "0.75", "1 - accuracy", 0.25),
        ("eval_f1", "0.75", "1 - f1", 0.25),
        ("Top-1 accuracy", "0.75", "1 - top_1_accuracy", 0.25),
        ("ndcg@10", "0.75", "1 - ndcg_10", 0.25),
        ("R2", "-0.5", "1 - r2", 1.5),
        ("BLEU", "25", "1 - bleu / 100", 0.75),
        ("val_loss", "0.75", "loss", 0.75),
        ("WER", "0.75", "wer", 0.75),
        ("fid", "75", "fid", 75.0),
    ],
)
def test_a_metric_is_known_however_its_name_is_written(
    run: Run, metric: str, printed: str, kept: str, error: float
) -> None:
    """A val_acc was an error by that name, and the lowest accuracy the best."""
    found = run(f"print('= {printed}')", pattern="= {number}", domain={"metric": metric})
    assert dict(found.metrics) == {kept: pytest.approx(error)}
    named = run(prints({metric: float(printed)}), domain={"metric": metric})
    assert named.validation_error == pytest.approx(error)


def test_a_pattern_does_not_take_an_earlier_line_for_nan(run: Run) -> None:
    printed = "loss: 0.5\nloss: nan"
    found = run(f"print({printed!r})", pattern="loss: {number}", domain={"metric": "loss"})
    assert found.status == Status.DIVERGED


def test_a_csv_that_the_script_writes_anyway(run: Run) -> None:
    table = "epoch,val_loss,val_acc\n1,0.9,50\n2,0.7,80\n3,0.8,70\n"
    script = f"import sys; open(sys.argv[1] + '/log.csv', 'w').write({table!r})"
    line = "{python} script.py {checkpoints}"
    found = run(script, line=line, csv="{checkpoints}/log.csv", column="val_acc", percent=True)
    assert found.validation_error == pytest.approx(0.2)
    assert found.best_step == 2
    found = run(script, line=line, csv="{checkpoints}/log.csv", domain={"metric": "loss"})
    assert found.validation_error == 0.7
    with pytest.raises(OwnCodeError, match=r"wrote no other\.csv"):
        run(script, line=line, csv="{checkpoints}/other.csv", domain={"metric": "loss"})
    with pytest.raises(OwnCodeError, match="no 'f1'; there are: epoch, val_loss, val_acc"):
        run(script, line=line, csv="{checkpoints}/log.csv", column="f1", domain={"metric": "f1"})


def test_a_trainer_state_of_hugging_face(run: Run) -> None:
    state = {
        "log_history": [
            {"loss": 2.0, "step": 10},
            {"eval_loss": 1.5, "eval_accuracy": 0.6, "step": 20},
            {"eval_loss": 1.2, "eval_accuracy": 0.7, "step": 40},
        ]
    }
    script = f"""
        import json, os, sys
        os.makedirs(sys.argv[1] + "/checkpoint-40")
        open(sys.argv[1] + "/checkpoint-40/trainer_state.json", "w").write({json.dumps(state)!r})
        """
    options: dict[str, Any] = {"trainer_state": "{checkpoints}/trainer_state.json"}
    line = "{python} script.py {checkpoints}"
    assert run(script, line=line, domain={"metric": "loss"}, **options).validation_error == 1.2
    found = run(script, MemoryHandle(), line=line, column="eval_accuracy", **options)
    assert found.validation_error == pytest.approx(0.3)
    assert found.best_step == 40


# ---------------------------------------------------------------- bad ends


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('hello')", "reported no result.*the last it printed: hello"),
        ("", "reported no result.*it printed nothing"),
        (prints({"validation_error": 0.1}, {"validation_error": 0.2}), "reported 2 results"),
        (prints({"validation_error": 95}), "is it a percentage"),
        (prints({"validation_error": "low"}), "validation_error is not a number: 'low'"),
        ("import os; open(os.environ['STEEP_RESULT'], 'w').write('good')", "holds 'good'"),
    ],
)
def test_what_is_no_result_is_said_with_the_last_lines(run: Run, script: str, words: str) -> None:
    with pytest.raises(OwnCodeError, match=words):
        run(script)


def test_the_same_result_twice_is_one(run: Run) -> None:
    assert run(prints({"error": 0.1}, {"error": 0.1})).validation_error == 0.1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_nan_diverges(run: Run, value: str) -> None:
    found = run(f"print('{{\"validation_error\": {value}}}')")
    assert found.status == Status.DIVERGED
    assert found.validation_error is None


@pytest.mark.parametrize(
    ("script", "words", "cause"),
    [
        ("import nowhere", "exit code 1; .*No module named 'nowhere'", "error"),
        ("raise MemoryError('too large')", "exit code 1.*too large", "oom"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11", "error"),
        (prints({"validation_error": 0.1}) + "\nraise SystemExit(3)", "exit code 3", "error"),
    ],
)
def test_a_command_that_fails_says_how(run: Run, script: str, words: str, cause: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        run(script)
    assert caught.value.cause == cause


def test_a_command_that_is_not_there(run: Run) -> None:
    with pytest.raises(OwnCodeError, match=r"cannot be started.*no-such-program"):
        run("", line="no-such-program {shard}")
    with pytest.raises(OwnCodeError, match="not found"):
        run("", line="no-such-program {shard} | cat; exit 127")


def test_megabytes_of_output_are_kept_at_both_ends(run: Run) -> None:
    script = "print('begin'); print('x' * 3_000_000)\nfor i in range(200_000): print('y', i)\n"
    with pytest.raises(CommandError) as caught:
        run(script + "raise SystemExit(2)")
    detail = caught.value.detail
    assert detail.startswith("begin")
    assert detail.endswith("y 199999")
    assert "bytes ...]" in detail
    assert len(detail) < 400_000


def test_a_memory_limit(run: Run) -> None:
    script = f"x = bytearray(300_000_000)\n{prints({'error': 0.1})}"
    assert run(script, memory="2 GB").validation_error == 0.1
    with pytest.raises(CommandError, match="MemoryError") as caught:
        run(script, memory="200 MB")
    assert caught.value.cause == "oom"


# ---------------------------------------------------------------- stopping

SAVES = """
    import json, os, pathlib, signal, sys, time
    place = pathlib.Path(os.environ["STEEP_CHECKPOINTS"])
    kept = place / "state"
    step = int(kept.read_text()) if kept.exists() else 0
    def save(*_):
        kept.write_text(str(step))
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    while step < 6:
        step += 1
        print(json.dumps({"step": step, "validation_error": 1 / (step + 1)}), flush=True)
        time.sleep(0.05)
    print(json.dumps({"validation_error": 0.1, "steps": step}))
"""


def test_a_stopped_command_saves_and_goes_on(run: Run, place: Path) -> None:
    first = Listening(home=place, stop_after=2)
    with pytest.raises(Interrupted):
        run(SAVES, first)
    assert (place / "trial" / "state").read_text() in ("2", "3")
    second = Listening(home=place)
    assert run(SAVES, second).steps == 6
    assert second.evaluations[0].step in (3, 4)


def test_one_that_ignores_the_request_is_killed(run: Run, place: Path) -> None:
    script = """
        import json, os, signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        open("pids", "w").write(f"{os.getpid()} {child.pid}")
        print(json.dumps({"step": 1, "validation_error": 0.5}), flush=True)
        time.sleep(600)
    """
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(script, Listening(home=place, stop_after=1), grace=0.3)
    assert time.monotonic() - began < 60
    for pid in map(int, (place / "pids").read_text().split()):
        assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process has ended, soon; one that nobody has waited for counts as ended."""
    for _ in range(500):
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            with suppress(OSError):
                if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    return True
            time.sleep(0.02)
            continue
        return True
    return False


def test_patience_ends_a_command_at_its_best(run: Run) -> None:
    script = """
        import itertools, json, time
        for step in itertools.count(1):
            error = max(0.2, 0.5 / step) if step < 9 else 0.1
            print(json.dumps({"step": step, "validation_error": error}), flush=True)
            time.sleep(0.2 if step == 8 else 0.01)
            if step == 8: time.sleep(600)
    """
    found = run(script, patience=3, grace=0.1)
    assert found.status == Status.COMPLETE
    assert (found.validation_error, found.best_step) == (0.2, 3)


def test_a_pipeline_of_the_shell_is_stopped_whole(run: Run, place: Path) -> None:
    (place / "line").write_text('{"step": 1, "error": 0.5}\n')
    line = "echo $$ > pids; (cat line; sleep 600) | cat; cat {shard}"
    with pytest.raises(Interrupted):
        run("", Listening(home=place, stop_after=1), line=line)
    assert gone(int((place / "pids").read_text()))


def test_nothing_outlives_a_worker_that_was_killed(place: Path) -> None:
    """The process that runs the command is killed outright; the whole pipeline goes with it."""
    code = """
        import os
        from pathlib import Path
        from steep.trainers.process import Process
        here = Path.cwd()
        Process("echo $$ > shell; sleep 600 | (echo > ready; cat)", here, os.environ, len)
        import time
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=place) as worker:
        for _ in range(3000):
            if (place / "ready").exists():
                break
            time.sleep(0.02)
        shell = int((place / "shell").read_text())
        worker.send_signal(signal.SIGKILL)
    assert gone(shell)


# ---------------------------------------------------------------- what the spec may say


@pytest.mark.parametrize(
    ("command", "sections", "words"),
    [
        ("train {data}", {}, "trainer.command.*no {data}; there are: .*shard"),
        ("train", {}, "it is given no training data: {shard}"),
        ("train {shard}", {"family": {"sizes": [1, 2]}}, "{size} is not in it"),
        (
            "train {shard}",
            {"search": {"hyperparameters": {"lr": [0.1, 0.2]}}},
            "{lr} is not in it, though search.hyperparameters",
        ),
        ("train {shard}", {"training": {"seed": 3}}, "seed cannot be a hyperparameter"),
        ("train {shard}", {"pattern": "error {number} {number}"}, "must have one {number}"),
        ("train {shard}", {"pattern": "error ("}, "no regular expression"),
        ("train {shard}", {"pattern": "error {number}"}, "say what its number is: domain: metric"),
        (
            "train {shard}",
            {"csv": "log.csv", "column": "val_acc"},
            "must hold {checkpoints} or {trial}",
        ),
        ("train {shard}", {"memory": "much"}, "no amount of memory"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    place: Path, command: str, sections: dict[str, Any], words: str
) -> None:
    trainer = {k: v for k, v in sections.items() if k in ("pattern", "csv", "column", "memory")}
    values = spec(command) | {k: v for k, v in sections.items() if k not in trainer}
    values["trainer"] |= trainer
    values["domain"]["train"] = str(place / "data.txt")
    with pytest.raises(SpecError, match=words):
        Study(values, place / "own").check()


def test_a_changed_script_is_said_at_resume(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "helper.py").write_text("ERROR = 0.25\n")
    script = "from helper import ERROR\nif __name__ == '__main__':\n    print(ERROR)\n"
    (place / "script.py").write_text(script)
    values = spec("{python} script.py {shard} > {result}")
    values["run"] = {"executor": "inline"}
    values["search"] = {"planner": "grid", "seeds": 1}
    assert Study(values, "own").run(progress=False).word == "complete"
    (place / "script.py").write_text(script + "# a comment\n")
    assert Study(values, "own").run(progress=False).ran == 0
    (place / "helper.py").write_text("ERROR = 0.5\n")
    with pytest.raises(SpecError, match=r"helper\.py: changed since the study began"):
        Study(values, "own").run(progress=False)
    (place / "helper.py").write_text("ERROR = 0.25\n")
    (place / "script.py").write_text(script.replace("print(ERROR)", "print(ERROR / 2)"))
    with pytest.raises(SpecError, match=r"script\.py: changed since the study began"):
        Study(values, "own").run(progress=False)
