"""Executors: where workers run. To add one: a file here and a line below."""

EXECUTORS = {
    "inline": "steep.executors.inline",
    "local": "steep.executors.local",
}
