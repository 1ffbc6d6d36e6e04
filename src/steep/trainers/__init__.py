"""Trainers: what trains one model on one shard. To add one: a file here and a line in
``registry.py``."""
