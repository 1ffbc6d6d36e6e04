"""A study's trials in an experiment tracker: Weights & Biases, trackio, MLflow or TensorBoard.

A run a trial, with its configuration, evaluations and result, written when the trial has ended; and
one run for the study, with its exponent, forecast and figure. What goes wrong here is reported once
and never stops a study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from steep.base.extras import MissingExtra
from steep.contracts.executor import Event, Kind
from steep.records import Analysis, Measurement

Numbers = Mapping[str, float]


class Backend(Protocol):
    """One tracker. Each call is a whole run: begun, written, ended."""

    def run(
        self,
        name: str,
        configuration: Mapping[str, Any],
        steps: Sequence[tuple[int, Numbers]],
        result: Numbers,
        figure: Any = None,
    ) -> None:
        """``steps``: numbers at steps of the training; ``result``: at its end; ``figure``: of
        matplotlib."""
        ...


class Tracker:
    """Takes a study's events and its end."""

    def __init__(self, backend: Backend, warn: Callable[[str], None]) -> None:
        self._backend: Backend | None = backend
        self._warn = warn

    def observe(self, event: Event) -> None:
        """One event of the driver."""
        if event.kind == Kind.RESULT:
            self._safely(lambda backend: _trial(backend, event.payload))

    def finish(self, study: str, analysis: Analysis) -> None:
        """The run of the study."""
        self._safely(lambda backend: _summary(backend, study, analysis))

    def _safely(self, write: Callable[[Backend], None]) -> None:
        """A tracker that fails is not used again."""
        if self._backend is None:
            return
        try:
            write(self._backend)
        except Exception as error:  # whatever a library of others raises
            self._backend = None
            self._warn(
                f"nothing more is tracked, and the study goes on: {type(error).__name__}: {error}"
            )


def _trial(backend: Backend, found: Measurement) -> None:
    trial = found.trial
    place = {"samples": trial.samples, "size": trial.size, "seed": trial.seed}
    steps = [
        (point.step, {"validation_error": point.validation_error,
                      "validation_loss": point.validation_loss})
        for point in found.curve
    ]  # fmt: skip
    names = ("validation_error", "test_error", "train_error", "parameters", "flops", "seconds")
    result = {n: float(v) for n in names if (v := getattr(found, n)) is not None}
    result |= {str(name): float(value) for name, value in found.metrics}
    configuration = place | dict(trial.hyperparameters) | {"status": found.status.value}
    name = f"{trial.samples:g} samples, size {trial.size}, seed {trial.seed}, {trial.id}"
    backend.run(name, configuration, steps, result)


def _summary(backend: Backend, study: str, analysis: Analysis) -> None:
    result: dict[str, float] = {}
    figure = None
    if analysis.curves:
        fit = analysis.headline.fit
        if fit.beta_g is not None and fit.beta_g.value is not None:
            result["beta_g"] = float(fit.beta_g.value)
        for point in analysis.headline.forecast.at:
            result[f"forecast at {point.samples:g}"] = float(point.error)
        figure = _figure(fit)
    steps = [(round(b.samples), {"best error": b.best.score}) for b in analysis.best_fits]
    backend.run(f"study {study}", {"metric": analysis.metric}, steps, result, figure)


def _figure(fit: Any) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:  # an extra
        return None
    figure = Figure()
    fit.plot(figure.add_subplot())
    return figure


# ---------------------------------------------------------------- the trackers


def open_tracker(name: str, study: str, folder: Path, warn: Callable[[str], None]) -> Tracker:
    """Raises MissingExtra for a tracker that is not installed, ValueError for an unknown one."""
    if name not in BACKENDS:
        raise ValueError(f"--track {name}: there are {', '.join(BACKENDS)}")
    try:
        return Tracker(BACKENDS[name](study, folder), warn)
    except ModuleNotFoundError as error:
        package = PACKAGES[name]
        message = f"--track {name} needs {error.name}: pip install {package}"
        raise MissingExtra(message, name=error.name) from None


class Wandb:
    """W&B, and trackio, which has its interface."""

    def __init__(self, module: Any, study: str) -> None:
        self._module, self._study = module, study

    def run(
        self, name: str, configuration: Mapping[str, Any], steps: Sequence[tuple[int, Numbers]],
        result: Numbers, figure: Any = None,
    ) -> None:  # fmt: skip
        self._module.init(project=self._study, name=name, config=dict(configuration))
        try:
            for step, numbers in steps:
                self._module.log(dict(numbers), step=step)
            last = {f"final/{key}": value for key, value in result.items()}
            if figure is not None and hasattr(self._module, "Image"):
                last |= {"learning curve": self._module.Image(_pixels(figure))}
            self._module.log(last)
        finally:
            self._module.finish()


class MLflow:
    def __init__(self, study: str) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(study)

    def run(
        self, name: str, configuration: Mapping[str, Any], steps: Sequence[tuple[int, Numbers]],
        result: Numbers, figure: Any = None,
    ) -> None:  # fmt: skip
        with self._mlflow.start_run(run_name=name):
            self._mlflow.log_params(dict(configuration))
            for step, numbers in steps:
                self._mlflow.log_metrics(dict(numbers), step=step)
            self._mlflow.log_metrics({_plain(key): value for key, value in result.items()})
            if figure is not None:
                self._mlflow.log_figure(figure, "learning_curve.png")


class TensorBoard:
    """Event files in the study's own folder ``tensorboard``."""

    def __init__(self, folder: Path) -> None:
        import tensorboardX

        self._writer = tensorboardX.SummaryWriter
        self._folder = folder / "tensorboard"

    def run(
        self, name: str, configuration: Mapping[str, Any], steps: Sequence[tuple[int, Numbers]],
        result: Numbers, figure: Any = None,
    ) -> None:  # fmt: skip
        with self._writer(str(self._folder / _plain(name).replace(" ", "_"))) as writer:
            writer.add_text("configuration", str(dict(configuration)))
            for step, numbers in steps:
                for key, value in numbers.items():
                    writer.add_scalar(_plain(key), value, step)
            for key, value in result.items():
                writer.add_scalar(f"final/{_plain(key)}", value, 0)
            if figure is not None:
                writer.add_image("learning curve", _pixels(figure), dataformats="HWC")


def _pixels(figure: Any) -> Any:
    """A figure as RGB, (height, width, 3), uint8."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _plain(name: str) -> str:
    """A name without signs that a tracker refuses."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)


def _wandb(study: str, folder: Path) -> Backend:
    import wandb

    return Wandb(wandb, study)


def _trackio(study: str, folder: Path) -> Backend:
    import trackio

    return Wandb(trackio, study)


BACKENDS: dict[str, Callable[[str, Path], Backend]] = {
    "wandb": _wandb,
    "trackio": _trackio,
    "mlflow": lambda study, folder: MLflow(study),
    "tensorboard": lambda study, folder: TensorBoard(folder),
}
PACKAGES = {
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow-skinny",
    "tensorboard": "tensorboardX",
}
