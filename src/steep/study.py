"""A study, from spec to report: the order of the pipeline's stages.

    plan -> shards -> train -> select -> fit -> forecast -> report

``Study(spec)`` reads a spec; ``Study.open(folder)`` opens a study that was begun before. ``run``
does only what is missing, so starting, resuming and adding seeds are the same call.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep import shards as shards_
from steep.analysis import decisions, from_store
from steep.analysis.analyse import held_out_trials, unforecast_trials
from steep.analysis.asked import Goal
from steep.analysis.costs import scaling_of
from steep.analysis.held_out_size import Allowed, payable
from steep.base.metrics import answered_metric, metric_of
from steep.base.registry import FAMILIES, PLANNERS, TRAINERS
from steep.base.stop_request import Deadline, StopRequest
from steep.contracts.executor import Event, Kind
from steep.contracts.planner import SearchSpace, TrialRequest
from steep.executors.chosen import open_chosen, worker_count
from steep.executors.failures import FAILED
from steep.plan import clock, timings
from steep.plan.budget import Budget
from steep.plan.checks import absent, misfits
from steep.plan.dry_run import plan
from steep.plan.estimate import SCENARIOS
from steep.plan.price import Prices
from steep.plan.standing import left_by_run, standing
from steep.plan.watch import Watch
from steep.records import (
    FEWEST_POINTS,
    SCORED,
    Analysis,
    Interval,
    Measurement,
    Plan,
    Prediction,
    Scaling,
    Settings,
    Shard,
    Standing,
    Trial,
    settings,
)
from steep.records.measurements import Measurements
from steep.select import trainable_sizes
from steep.spec import plugins
from steep.spec.load import Loaded, from_values, load, member, open_domain
from steep.spec.sections import Executor, Run
from steep.stats.zeros import Counted, counted
from steep.store.folder import StoreError, StudyExists, as_begun, compose_study_yaml, read_frozen
from steep.store.spec_changes import refuse_changes
from steep.store.store import Store
from steep.train import Outcome, StudyFailed, train
from steep.trainers.answer import answered, study_metric
from steep.trainers.fingerprint import code_of_files, unknown

if TYPE_CHECKING:
    import pandas as pd

    from steep.contracts.domain import Domain, Items
    from steep.contracts.trainer import Trainer
    from steep.plan.calibrate import StepTimes


class Study:
    """One study: a domain, a model family, a search, and the folder that stores the results."""

    def __init__(
        self,
        spec: str | Path | Mapping[str, Any] | Loaded,
        folder: str | Path | None = None,
        *,
        trainer: Callable[..., Any] | None = None,
    ) -> None:
        """``spec`` is a file, a mapping or a loaded spec; ``folder`` defaults to ``./<study>``.

        ``trainer`` is a plain function ``f(shard, size, seed, **hyperparameters)`` in place of
        the spec's trainer; it runs in this process. Raises SpecError, which lists every problem."""
        if isinstance(spec, Loaded):
            self.loaded = spec
        elif isinstance(spec, Mapping):
            self.loaded = from_values(spec, own_trainer=trainer is not None)
        else:
            self.loaded = load(spec, own_trainer=trainer is not None)
        self.spec = self.loaded.spec
        self.folder = Path(folder) if folder is not None else Path(self.spec.study)
        self._function = trainer
        self._watch: Watch | None = None

    @classmethod
    def open(cls, folder: str | Path, *, trainer: Callable[..., Any] | None = None) -> Study:
        """Open the study in ``folder``. Raises StoreError if the folder holds no study."""
        return cls(read_frozen(Path(folder)).loaded, folder, trainer=trainer)

    # ------------------------------------------------------------ the pipeline

    def plan(
        self,
        *,
        workers: int | None = None,
        tell: Callable[[str, float], None] = lambda what, done: None,
    ) -> Plan:
        """The dry run: trials, FLOPs, time and disk space with ``workers`` (default: one per core;
        of a study begun, those of its last run, whose estimate of what is left this is then).

        Writes nothing into the study's folder. ``tell`` is called with the current activity and the
        share of it done."""
        self.check()
        self._refuse_absent()
        with self.store() if self.begun else nullcontext() as store:
            finished = store.measurements() if store else []
            # a budget that is used up counts as none: predict all the time that is left
            seconds = clock.time_left(self, store) or None
            known = None if store is None else left_by_run(self, store)
            timing = None if store is None else timings.registered(store)
        workers = workers or (known.workers if known else self.worker_count())
        # finished trials show a machine's speed better than a pilot does
        pilot = 0.0 if finished else clock.pilot_seconds(seconds)
        timing = timing or timings.pace(self, pilot, tell)
        if known is None or known.workers != workers:
            tell("Simulating the search", 0.0)
            known = clock.prediction(self, timing, workers, finished=finished, seconds=seconds)
        dry_run = plan(
            self.search_space,
            self.planner.plan,
            cost=self.prices.cost,
            extent=self.prices.extent,
            validation_items=len(self.cut.validation),
            held_out=clock.held_out_at_most(self),
            workers=workers,
            seconds_per_flop=clock.seconds_per_flop(self, timing),
            adaptive=self.planner.ADAPTIVE,
        )
        # the index files under shards/: 8 bytes per item and file
        shard_bytes = 8 * len(self.items.size) * (2 + self.spec.shards.permutations)
        return replace(
            dry_run,
            prediction=known,
            kept=None if timing is None else timing.kept,
            disk=dry_run.disk + shard_bytes,
        )

    def run(
        self,
        *,
        workers: int | None = None,
        budget: float | None = None,
        seconds: float | None = None,
        observe: Callable[[Any], None] | None = None,
        progress: bool = True,
        extend: bool = False,
        retry_failed: bool = False,
        take_over: bool = False,
    ) -> Outcome:
        """Train what is missing, confront the forecast, write results and the report.

        ``budget`` limits the FLOPs and ``seconds`` the time of this call; without either, the
        spec's budget limits the time of all calls together. The search is cut to what fits, after
        the part that the held-out shards need has been reserved.

        ``observe`` receives every event, and no ``progress`` is shown then. Otherwise progress
        goes to standard error: a bar in a terminal, occasional lines elsewhere.
        ``extend`` accepts a changed spec or data if the changes only add to the study;
        ``retry_failed`` tries failed trials again; ``take_over`` gives up the trials of another
        machine that is gone.

        Ctrl-C once saves and stops ('drained'), twice stops at once; the same call resumes. Raises
        SpecError, StoreError, ShardsError or MissingExtra before any work, else StudyFailed."""
        from steep.present.progress import Progress

        self.check()
        self._refuse_absent()
        fresh, run = not self.begun, self._run_section
        with (
            self._store(extend, take_over) as store,
            closing(open_chosen(self.folder, run, workers, self._wrapped())) as executor,
            StopRequest().on_signals() as stop,
            Progress(
                self.time_left,
                self.answered_metric,
                lambda: str(self.domain.unit),
                not progress or observe is not None,
            ) as shown,
        ):
            observe = observe or shown.observe
            measured = store.measurements()
            if retry_failed or all(m.status in FAILED for m in measured):
                store.forgive()
            if fresh:
                self._warn_of_unknown_code(store, observe)
            self._register_facts(store)
            if budget is None and seconds is None:
                seconds = clock.time_left(self, store)
            decisions.register_start(store)
            spending = clock.spending(self, measured, executor.slots, flops=budget, seconds=seconds)
            watch = self._watch = Watch(self, store, spending, executor.slots, observe)
            go = partial(
                train,
                store,
                executor=executor,
                cost=self.prices.flops,
                memory=self.prices.memory,
                observe=watch.observe,
                run=run,
                budget=spending,
            )
            outcome = self._search_and_confront(store, go, watch, spending, stop)
            ran = outcome.ran
            while outcome.word == "budget" and ran:
                # what the budget leaves after the held-out shards goes into the search
                more = self._search_and_confront(store, go, watch, spending, stop)
                outcome, ran = replace(outcome.then(more), word=more.word), more.ran
            watch.close()
            if outcome.word == "complete":
                watch.tell_end()
            if outcome.word == "budget":
                outcome = replace(outcome, enough=watch.enough())
            decisions.register_run(store, outcome)
            if not stop.now and (outcome.ran or not stop.is_set()):
                decisions.register_steps(store, self.prices.steps)
                from_store.write_results(store, self.spec, self.cut)
        return outcome

    def _search_and_confront(
        self,
        store: Store,
        go: Callable[..., Outcome],
        watch: Watch,
        spending: Budget,
        stop: StopRequest,
    ) -> Outcome:
        """Search until nothing is requested or a part of the budget is spent; then register the
        forecasts of the held-out shards, and train what confronts them. Raises StudyFailed."""
        search = partial(self.search, timed=spending.timed)
        outcome = go(search, stop=Deadline(stop, watch.search_ends))
        if outcome.word == "failed":
            raise StudyFailed(outcome.error)
        if not study_metric(self.loaded, self.domain).declared:
            self._register_facts(store)  # results of the user's code have named the metric
        if not stop.is_set() and outcome.word != "partial":
            goes_on = search(store.measurements(), (), None)
            outcome = replace(outcome, word="budget" if goes_on else "complete")
        if not stop.is_set() and self.search_space.held_out and self._can_forecast(store):
            finished = outcome.word != "budget"
            rest = clock.missing(self._held_out(store, finished, payable(self, spending)))
            if rest(store.measurements(), (), None):
                follow = go(rest, held_out=True, stop=Deadline(stop, watch.all_ends))
                outcome = outcome.then(follow, cut_short=not stop.is_set())
        return outcome

    def _held_out(self, store: Store, finished: bool, affordable: Allowed) -> list[Trial]:
        """Register the forecasts of the held-out shards and return the trials that test them; once
        the search has ``finished``, or no forecast can ever be made, also those of shards without
        one; once it has finished, also models that were chosen after an earlier forecast."""
        facts = from_store.facts(store, self.spec, self.cut)
        earlier = {c.samples for c in decisions.registered(store)}
        models = from_store.register_forecasts(store, facts, affordable)
        if earlier and finished:
            models += from_store.chosen_since(store, facts, earlier)
        trials = held_out_trials(models, facts)
        forecast_samples = {c.samples for c in models}
        never = len({s.samples for s in self.search_space.shards}) < FEWEST_POINTS
        if (finished or never) and len(forecast_samples) < len(self.search_space.held_out):
            analysis = from_store.analysis(store, self.spec, self.cut)
            trials += unforecast_trials(analysis, facts, forecast_samples)
        return trials

    def _can_forecast(self, store: Store) -> bool:
        """Whether enough shards have results for a forecast: three of the fitted ones, or all."""
        searched = {m.trial.samples for m in store.measurements() if m.status in SCORED}
        fitted = {s.samples for s in self.search_space.shards if s.permutation == 0}
        return len(searched & fitted) >= min(FEWEST_POINTS, len(fitted))

    def results(self) -> pd.DataFrame:
        """The long table: one row per trial."""
        with self.store() as store:
            return from_store.trials(store, self.spec, self.cut)

    def analyse(
        self,
        *,
        at: Sequence[float] = (),
        times: Sequence[float] = (),
        targets: Sequence[Goal | float] = (),
        level: float = 0.9,
    ) -> Analysis:
        """Best-fit models, fits, forecasts, confrontations and findings, from the store alone.

        Besides the usual sizes, errors are forecast ``at`` the given sizes and at the given
        multiples (``times``) of the largest measured size, which may be a held-out one.
        ``targets`` are errors, or goals that ``asked.goal_of`` parsed from text such as '95%'.
        ``level`` is the coverage of the intervals."""
        options: dict[str, Any] = {"at": at, "times": times, "targets": targets, "level": level}
        with self.store() as store:
            return from_store.analysis(store, self.spec, self.cut, **options)

    def analyse_with_cost(self) -> Analysis:
        """What the report shows: the analysis, and what lower errors would cost."""
        with self.store() as store:
            return from_store.analysis_with_cost(store, self.spec, self.cut)

    def report(self) -> Path:
        """Rewrite ``report.html`` and ``results/`` from the store; return the report's path."""
        with Store.open(self.folder) as store:
            from_store.write_results(store, self.spec, self.cut)
        return self.folder / "report.html"

    def report_text(self) -> str:
        """The report as HTML; writes nothing."""
        with self.store() as store:
            return from_store.report_text(store, self.spec, self.cut)

    def scaling(self, level: float = 0.9, goals: Sequence[Goal] = ()) -> Scaling:
        """All that ``steep.cost`` needs to know of the study, in the metric of the ``goals`` or
        else the study's own.

        The store of a study that an older version began has no step counts; they are counted
        now, which needs torch."""
        with self.store() as store:
            steps = decisions.steps(store)
            if not steps:
                with suppress(ImportError):
                    steps = self.prices.steps()
            facts = from_store.facts(store, self.spec, self.cut)
            analysis = from_store.analysis(store, self.spec, self.cut, level=level)
            return scaling_of(analysis, facts, from_store.measured(store, self.cut), steps, goals)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards of the study as it was begun."""
        return self.cut.shards

    def measurements(self) -> list[Measurement]:
        """The stored measurements of all trials that have ended."""
        with self.store() as store:
            return store.measurements()

    def store(self) -> Store:
        """The study's store, read-only. Raises StoreError if there is no study."""
        return Store.open(self.folder, read_only=True)

    @property
    def begun(self) -> bool:
        return (self.folder / "study.yaml").exists()

    def prediction(
        self, timing: StepTimes | None = None, workers: int | None = None, count: int = SCENARIOS
    ) -> Prediction | None:
        """The time that the study will still take; None while it cannot be predicted.

        ``timing`` is the machine's measured speed; by default it is measured now."""
        finished = self.measurements() if self.begun else []
        timing = timing or clock.pace(self, clock.pilot_seconds(None))
        return clock.prediction(self, timing, workers, finished=finished, count=count)

    def standing(self) -> Standing:
        """The study's progress, from the store alone."""
        with self.store() as store:
            return standing(self, store)

    def reported(self) -> tuple[Analysis, list[Measurement]]:
        """What the report shows: ``analyse_with_cost``, and the measurements, with errors of zero
        replaced so that they have a logarithm."""
        with self.store() as store:
            analysis = from_store.analysis_with_cost(store, self.spec, self.cut)
            return analysis, from_store.measured(store, self.cut)

    def time_left(self) -> Interval | None:
        """Seconds left of the current run; None while they cannot be predicted."""
        return None if self._watch is None else self._watch.left()

    def trainer(self) -> Trainer:
        """The study's trainer, opened in this process."""
        wrapped: Trainer | None = self._wrapped()
        return wrapped or self._trainer_module.open_trainer(self.loaded, self.domain)

    def worker_count(self) -> int:
        """Workers that a run would use at a time."""
        return worker_count(self.spec.run, self._function is not None)

    def check(self) -> None:
        """Check what only the opened domain, data and trainer show; raises SpecError."""
        problems = misfits(self.loaded, self.domain, self._function)
        if problems:
            raise self.loaded.error(problems)
        own_validation = getattr(self._trainer_module, "OWN_VALIDATION", False)
        if not len(self.cut.validation) and not own_validation:  # cut: splits that leave nothing
            message = "no validation part: give the data one or a split"
            raise self.loaded.error([self.loaded.problem("split.validation", message)])

    def _refuse_absent(self) -> None:
        """Raise SpecError if this machine lacks something that the spec requires."""
        if self._function is None and (problems := absent(self.loaded)):
            raise self.loaded.error(problems)

    # ------------------------------------------------------------ what is being studied

    @cached_property
    def domain(self) -> Domain:
        domain: Domain = open_domain(as_begun(self.loaded, self.folder))
        return domain

    @cached_property
    def items(self) -> Items:
        return self.domain.items()

    @cached_property
    def cut(self) -> shards_.DataSplit:
        """The shards: read from disk if the study has begun, else cut now."""
        if (self.folder / shards_.FOLDER / "manifest.json").exists():
            return shards_.from_files(self.folder)
        return shards_.cut(self.loaded, self.items, self.domain.unit)

    @property
    def metric(self) -> str:
        return metric_of(self.spec.metric, self.domain.metrics)

    @property
    def answered_metric(self) -> str:
        """The metric in which answers are given."""
        return answered_metric(self.spec.domain.name, self.metric, self.domain.metrics)

    @cached_property
    def search_space(self) -> SearchSpace:
        recipe = self._trainer_module.recipe(self.spec.family.name) or {}
        return SearchSpace(
            self.spec,
            tuple(s for s in self.cut.shards if not s.held_out),
            settings(recipe),
            self._smallest_size,
            tuple(s for s in self.cut.shards if s.held_out and s.permutation == 0),
        )

    @property
    def _smallest_size(self) -> int:
        if self.spec.trainer.name != "engine":
            return 1
        smallest: int = member(FAMILIES, self.spec.family.name).FAMILY.smallest
        return smallest

    @property
    def planner(self) -> Any:
        return member(PLANNERS, self.spec.search.planner)

    @property
    def _trainer_module(self) -> Any:
        name = "function" if self._function is not None else self.spec.trainer.name
        return member(TRAINERS, name)

    @cached_property
    def prices(self) -> Prices:
        """What trials are expected to cost."""
        return Prices(self._trainer_module, self.loaded, self.domain, self.cut)

    # ------------------------------------------------------------ the store

    def _store(self, extend: bool = False, take_over: bool = False) -> Store:
        """Open the study's store, or create it; refuse a spec or data that have changed."""
        if not (self.folder / "study.yaml").exists():
            text = self._frozen()
            with suppress(StudyExists):  # another driver has just created it: open that one below
                store = Store.create(self.folder, text)
                self._write_shards(store)
                return store
        code = self.code
        refuse_changes(self.folder, self.loaded, self.items, extend, code)
        begun = (self.folder / shards_.FOLDER / "manifest.json").exists()
        if extend and begun:
            old = shards_.from_files(self.folder)
            extended = shards_.cut(self.loaded, self.items, self.domain.unit, old)
            # cached properties that describe the study before the extension
            for name in ("search_space", "prices", "best_guess", "_search_spaces"):
                self.__dict__.pop(name, None)
            self.__dict__["cut"] = extended
        store = Store.open(self.folder, take_over=take_over)
        try:
            if not begun:  # the creating process was killed, or the shards were deleted
                self._refuse_other_shards(store)
            if extend or not begun:
                self._write_shards(store)
        except BaseException:
            store.close()
            raise
        begun_as = read_frozen(self.folder).loaded
        moved = begun_as.base != self.loaded.base.resolve()
        unrecorded = code and not begun_as.code  # begun by a version that kept no digests
        if extend or moved or unrecorded or begun_as.spec.run != self.spec.run:
            store.freeze(self._frozen())  # workers read study.yaml: it must be up to date
        return store

    def begin(self) -> None:
        """Create the study's folder with its spec and its shards, without training."""
        self._store().close()

    def _frozen(self) -> str:
        learnt = getattr(self.domain, "learnt", None)
        return compose_study_yaml(self.loaded, self.cut.files, learnt, self.code)

    @property
    def code(self) -> dict[str, str]:
        """Digests of the user's own code; {} if the study uses only steep's own."""
        digests: dict[str, str] = {}
        if self._function is not None:
            digests = member(TRAINERS, "function").code(self.loaded, self._function)
        elif hasattr(self._trainer_module, "code"):
            digests = self._trainer_module.code(self.loaded)
        spec = self.spec
        names = {"domain": spec.domain.name, "family": spec.family.name}
        names |= {"planner": spec.search.planner, "executor": spec.run.executor.name}
        names |= {} if self._function is not None else {"trainer": spec.trainer.name}
        return digests | code_of_files(plugins.own_files(names), self.loaded.base)

    def _write_shards(self, store: Store) -> None:
        files = shards_.to_files(self.cut)
        record = {"manifest": _manifest(files)}
        if [one.payload for one in store.decisions("shards")][-1:] != [record]:
            store.decide("shards", record)
        for name, data in files.items():  # the manifest comes last: it marks the others complete
            store.write(name, data)

    def _refuse_other_shards(self, store: Store) -> None:
        """Raise StoreError if shards that were deleted cannot be cut again identically."""
        manifests = [one.payload["manifest"] for one in store.decisions("shards")]
        if store.measurements() and manifests[-1:] != [_manifest(shards_.to_files(self.cut))]:
            place = self.folder / shards_.FOLDER
            raise StoreError(
                f"{place} is gone, and cutting the data anew gives other shards than those that "
                "this study was trained on: restore it from a copy"
            )

    def _warn_of_unknown_code(self, store: Store, observe: Callable[[Any], None] | None) -> None:
        """Warn when a study begins about code whose changes cannot be detected."""
        names = unknown(self.code)
        if not names:
            return
        text = (
            f"The content of {', '.join(names)} cannot be compared (compiled, or an object of a "
            "library): when it changes, give the study a new folder."
        )
        store.note(text)
        if observe is None:
            warnings.warn(text, stacklevel=3)
        else:
            observe(Event(Kind.NOTE, "", 0, {"text": text}))

    # ------------------------------------------------------------ training

    def search(
        self,
        finished: Sequence[Measurement],
        running: Sequence[Trial],
        left: float | None,
        simulated: bool = False,
        timed: bool = False,
    ) -> Sequence[TrialRequest]:
        """The trials that the search requests, given what has finished and what is running.

        An error of zero counts as half an item. ``simulated``: the results are simulated.
        ``timed``: what is ``left`` is in seconds, as trials are priced."""
        item_counts = len(self.cut.validation), len(self.cut.test)
        ready: Sequence[Measurement] = (
            finished.follow(("counted", item_counts), lambda: Counted(*item_counts)).measurements
            if isinstance(finished, Measurements)
            else counted(finished, *item_counts)
        )
        search_space = self._search_spaces[simulated, timed]
        requests: Sequence[TrialRequest] = self.planner.plan(search_space, ready, running, left)
        return requests

    @cached_property
    def _search_spaces(self) -> Mapping[tuple[bool, bool], SearchSpace]:
        """By whether results are simulated and whether seconds are counted: always the same
        objects, for a planner keeps by them what it has made of results."""
        return {
            (simulated, timed): replace(self.search_space, simulated=simulated, timed=timed)
            for simulated in (False, True)
            for timed in (False, True)
        }

    @property
    def _run_section(self) -> Run:
        """Where and how trials run; a function of this process in it, if no place is named."""
        run = self.spec.run
        if self._function is None or run.executor.name != "local":
            return run
        return run.model_copy(update={"executor": Executor(name="inline")})

    def _wrapped(self) -> Trainer | None:
        if self._function is None:
            return None
        metric = study_metric(self.loaded, self.domain)
        wrapped: Trainer = member(TRAINERS, "function").wrap(self._function, metric)
        return wrapped

    # ------------------------------------------------------------ facts and expectations

    def _register_facts(self, store: Store) -> None:
        """Store what later analyses need, so that they need neither the data nor torch."""
        costs = {size: self.prices.cost(size) for size in trainable_sizes(self.spec.family.sizes)}
        best_guess = dict(self.best_guess)
        metric, metrics = self.metric, list(self.domain.metrics)
        if not study_metric(self.loaded, self.domain).declared:
            metric = answered(store.measurements(), metric)
            if metric == "1 - accuracy" and "error" in best_guess:
                best_guess[metric] = best_guess["error"]
            metrics = [metric]
        facts = {
            "unit": self.domain.unit,
            "metric": metric,
            "metrics": metrics,
            "best_guess": best_guess,
            "sizes": {str(s): [c.parameters, c.flops] for s, c in costs.items() if c is not None},
            "removed_duplicates": self.cut.removed,
            "validation_items": len(self.cut.validation),
            "test_items": len(self.cut.test),
            "left_out": self.items.left_out,
            "training_samples": float(self.items.size[self.cut.orders[0]].sum()),
            "learnt": sorted(getattr(self.domain, "learnt", ())),
        }
        decisions.register_facts(store, facts | decisions.baseline(store, self.domain, self.cut))

    @cached_property
    def best_guess(self) -> Mapping[str, float]:
        """By metric, the validation error of the constant prediction best on the largest shard."""
        largest = max(self.search_space.shards, key=lambda s: s.items)
        order = self.cut.orders[largest.permutation][: largest.items]
        return self.domain.best_guess(order, self.cut.validation)

    def middle_choice(self) -> Settings:
        """The middle value of each searched hyperparameter; costs do not depend on the choice."""
        grid = {n: v[len(v) // 2] for n, v in self.spec.search.hyperparameters.items()}
        return settings(dict(self.search_space.recipe) | dict(self.spec.training) | grid)


def _manifest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(files[f"{shards_.FOLDER}/manifest.json"]).hexdigest()
