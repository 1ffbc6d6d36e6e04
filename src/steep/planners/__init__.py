"""Planners: how the best-fit models are searched. To add one: a file here and a line below."""

PLANNERS = {
    "grid": "steep.planners.grid",
    "paper": "steep.planners.paper",
    "optuna": "steep.planners.optuna",
    "frugal": "steep.planners.frugal",
}
