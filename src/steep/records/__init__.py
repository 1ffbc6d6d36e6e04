"""Every record that travels between the stages: frozen, plain-valued, and JSON both ways.

A record holds floats, integers, strings, tuples and other records, nothing else, so that
``decode(cls, encode(record)) == record`` for all of them. A number that does not exist is
``None``, never NaN: NaN is what a broken measurement looks like, and it must not travel.
"""

from steep.records.analysis import Analysis, Confrontation, Curve
from steep.records.codec import decode, encode
from steep.records.costs import (
    Claim,
    CostAnswer,
    CostCurve,
    CostReport,
    FirstOrder,
    Limit,
    Machine,
    Projection,
    Purchase,
    Scaling,
    StepCost,
)
from steep.records.fits import (
    At,
    Draws,
    Fit,
    Forecast,
    Frontier,
    Interval,
    JointFit,
    LawFit,
    NoiseParts,
    Point,
    Region,
    SamplesFor,
    SizeLaw,
)
from steep.records.plans import Prediction, Took
from steep.records.questions import Backtest, Comparison, Crossing, Finding, Pair, Score
from steep.records.trials import (
    ENDED,
    BestFit,
    Candidate,
    Evaluation,
    Measurement,
    Settings,
    Shard,
    Status,
    Trial,
    Value,
    settings,
)

__all__ = [
    "ENDED",
    "Analysis",
    "At",
    "Backtest",
    "BestFit",
    "Candidate",
    "Claim",
    "Comparison",
    "Confrontation",
    "CostAnswer",
    "CostCurve",
    "CostReport",
    "Crossing",
    "Curve",
    "Draws",
    "Evaluation",
    "Finding",
    "FirstOrder",
    "Fit",
    "Forecast",
    "Frontier",
    "Interval",
    "JointFit",
    "LawFit",
    "Limit",
    "Machine",
    "Measurement",
    "NoiseParts",
    "Pair",
    "Point",
    "Prediction",
    "Projection",
    "Purchase",
    "Region",
    "SamplesFor",
    "Scaling",
    "Score",
    "Settings",
    "Shard",
    "SizeLaw",
    "Status",
    "StepCost",
    "Took",
    "Trial",
    "Value",
    "decode",
    "encode",
    "settings",
]
