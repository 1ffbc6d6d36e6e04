"""Lightning's Trainer as a steep trial: three lines in a script or a function.

    callback = SteepCallback(handle)  # in a function; SteepCallback() in a script
    trainer = Trainer(callbacks=[callback], default_root_dir=callback.folder, ...)
    return callback.fit(trainer, model, train, validation)

What the module logs on V (``val_accuracy``, ``val_loss``) is reported; a checkpoint in the trial's
folder is what a later attempt goes on from.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from steep.contracts.trainer import Handle
from steep.integrations.handle import Reporter


class SteepCallback(Callback):
    """Reports evaluations, saves after each epoch, and stops the Trainer when steep asks.

    An epoch that is cut short is not saved: the next attempt begins it anew, for Lightning would
    take it for a whole one."""

    def __init__(self, handle: Handle | None = None, metric: str | None = None) -> None:
        self.reporter = Reporter(handle, metric)
        self.folder = str(self.reporter.folder)
        self._began = time.monotonic()
        self._cut_short = False

    @property
    def checkpoint(self) -> Path:
        return Path(self.folder) / "last.ckpt"

    def fit(self, trainer: Trainer, model: Any, *data: Any) -> dict[str, Any]:
        """Fit from the checkpoint in the folder, or from the beginning; the best result. Raises
        Interrupted on a stop request."""
        known = {"ckpt_path": str(self.checkpoint)} if self.checkpoint.exists() else {}
        trainer.fit(model, *data, **known)
        return self.reporter.finish()

    def on_validation_end(self, trainer: Trainer, module: Any) -> None:
        if trainer.sanity_checking or self._cut_short:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.reporter.evaluated(trainer.global_step, values, time.monotonic() - self._began)

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        if not self._cut_short:
            trainer.save_checkpoint(self.checkpoint)

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.reporter.stopping:
            self._cut_short = batch_idx + 1 < trainer.num_training_batches
            trainer.should_stop = True
