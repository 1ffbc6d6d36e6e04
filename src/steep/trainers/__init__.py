"""Trainers: how a trial becomes a measurement. To add one: a file here and a line below."""

TRAINERS = {
    "command": "steep.trainers.command",
    "engine": "steep.trainers.engine",
    "function": "steep.trainers.function",
    "replay": "steep.trainers.replay",
    "synthetic": "steep.trainers.synthetic",
}
