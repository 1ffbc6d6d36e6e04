"""Hugging Face's Trainer as a steep trial: three lines in a script or a function.

    callback = SteepCallback(handle)  # in a function; SteepCallback() in a script
    trainer = Trainer(..., args=TrainingArguments(callback.folder, ...), callbacks=[callback])
    return callback.train(trainer)  # resumes, stops on request, gives the best result

Evaluations are reported as they come; the Trainer's own checkpoints, in the trial's folder, are
what a later attempt goes on from.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from steep.contracts.trainer import Handle
from steep.integrations.handle import Reporter


def subset(dataset: Any, items: np.ndarray) -> Any:
    """The rows of a ``datasets.Dataset`` (or of anything that can be indexed) that a shard has."""
    if hasattr(dataset, "select"):
        return dataset.select(items)
    from torch.utils.data import Subset

    return Subset(dataset, [int(item) for item in items])


class SteepCallback(TrainerCallback):
    """Reports evaluations, and stops the Trainer when steep asks."""

    def __init__(self, handle: Handle | None = None, metric: str | None = None) -> None:
        self.reporter = Reporter(handle, metric)
        self.folder = str(self.reporter.folder)
        """The ``output_dir`` of the TrainingArguments."""
        self._began = time.monotonic()

    def train(self, trainer: Trainer) -> dict[str, Any]:
        """Train from the last checkpoint in the folder, or from the beginning; the best result.
        Raises Interrupted on a stop request."""
        trainer.train(resume_from_checkpoint=get_last_checkpoint(self.folder))
        return self.reporter.finish()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **rest: Any) -> None:
        self.reporter.evaluated(state.global_step, metrics, time.monotonic() - self._began)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        if self.reporter.stopping:
            control.should_save = True
            control.should_training_stop = True
        return control
