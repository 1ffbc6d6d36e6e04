"""steep measures how steeply a model learns: learning curves, fits, forecasts, model sizes.

    import steep
    study = steep.Study("study.yaml"); study.run(); study.results()
    fit = steep.fit(frame); fit.predict("10x"); fit.samples_for("5%")
    steep.report(fit, path="report.html")

Importing steep imports nothing heavy; each name is loaded when first used.
"""

from __future__ import annotations

import sys
import types
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steep.analysis.asked import forecast as forecast
    from steep.cli.reports import report as report
    from steep.cost.machines import machine as machine
    from steep.cost.projection import cost as cost
    from steep.cost.scaling import scaling as scaling
    from steep.fit import fit as fit
    from steep.fit import fit_size_law as fit_size_law
    from steep.integrations.scikit_learn import learning_curve as learning_curve
    from steep.questions.backtest import backtest as backtest
    from steep.questions.compare import compare as compare
    from steep.questions.diagnose import diagnose as diagnose
    from steep.questions.joint import joint as joint
    from steep.study import Study as Study
    from steep.tables.read import read as read

__version__ = "0.1.0"

_PLACES = {
    "Study": "steep.study",
    "read": "steep.tables.read",
    "learning_curve": "steep.integrations.scikit_learn",
    "fit": "steep.fit",
    "fit_size_law": "steep.fit",
    "forecast": "steep.analysis.asked",
    "joint": "steep.questions.joint",
    "scaling": "steep.cost.scaling",
    "machine": "steep.cost.machines",
    "cost": "steep.cost.projection",
    "compare": "steep.questions.compare",
    "diagnose": "steep.questions.diagnose",
    "backtest": "steep.questions.backtest",
    "report": "steep.cli.reports",
}
"""Public names, in pipeline order, and where they live."""

_GIVEN = {"backtest": "fit", "compare": "fit"}
"""Public functions that are handed another one, because their stages do not know each other."""

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'steep' has no attribute {name!r}")
    from steep.base.extras import need

    found = getattr(need(_PLACES[name]), name)
    if name not in _GIVEN:
        return found
    other = _GIVEN[name]
    return update_wrapper(partial(found, **{other: __getattr__(other)}), found)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(types.ModuleType):
    """``steep.fit`` is the function, although ``steep/fit.py`` is a module of that name: when
    Python binds an imported submodule to the package, these names keep what is public."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
