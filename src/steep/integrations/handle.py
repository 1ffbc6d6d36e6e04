"""What a callback of a library needs of a trial: a place for evaluations, stops and checkpoints.

A function's trial has a ``Handle``; a script that runs as a command has the lines that it prints.
``Reporter`` is either, so that one callback serves both.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steep.contracts.trainer import Handle, Interrupted
from steep.records import Evaluation
from steep.trainers.answer import StudyMetric, error_under, named_metric, own_keys


class Reporter:
    """Tells of evaluations, and knows when to stop."""

    def __init__(self, handle: Handle | None = None, metric: str | None = None) -> None:
        """``handle``: what a function's trial is given; None in a script that steep runs as a
        command (or that runs by itself). ``metric``: 'accuracy', 'loss'; None: what is named."""
        from steep.tables.words import own_metric

        self.handle = handle
        self.metric = StudyMetric(own_metric(metric or "error"), metric is not None)
        self.best: dict[str, Any] = {}
        """The evaluation with the lowest error, as it was reported: what a function returns."""
        self._lowest = math.inf
        self._asked = False
        if handle is None and "STEEP_CHECKPOINTS" in os.environ:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_asked", True))

    @property
    def folder(self) -> Path:
        """Where the library's own checkpoints belong; kept between the attempts of a trial."""
        if self.handle is not None:
            return self.handle.folder()[0]
        return Path(os.environ.get("STEEP_CHECKPOINTS") or tempfile.mkdtemp(prefix="steep-"))

    @property
    def stopping(self) -> bool:
        """Whether to save and stop now."""
        return self._asked if self.handle is None else self.handle.stop_requested()

    def evaluated(self, step: int, values: Mapping[str, Any], seconds: float = 0.0) -> None:
        """One evaluation on V: ``{"eval_accuracy": 0.8, "eval_loss": 0.6}``. Values that are no
        metrics are ignored, and so is an evaluation that has none. Raises Diverged for NaN."""
        plain = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
        metric = self.metric if self.metric.declared else named_metric(plain, self.metric, "eval")
        keys = [key for key, part in own_keys(plain, metric).items() if part == "validation"]
        if not keys:
            return
        error = error_under(plain, keys[0], metric, "the evaluation reported")
        if error < self._lowest:
            self._lowest = error
            self.best = {keys[0]: plain[keys[0]], "best_step": step}
        if self.handle is not None:
            self.handle.progress(Evaluation(step, 0.0, seconds, None, error, error))
        else:
            print(json.dumps({"step": step, keys[0]: plain[keys[0]]}), flush=True, file=sys.stdout)

    def finish(self) -> dict[str, Any]:
        """The trial's result. Raises Interrupted if a stop request came before its end."""
        if self.stopping:
            raise Interrupted("stopped on request")
        return self.best
