"""Trainers: how a trial becomes a measurement. To add one: a file here and a line below."""

TRAINERS = {
    "engine": "steep.trainers.engine",
    "function": "steep.trainers.function",
    "synthetic": "steep.trainers.synthetic",
}
