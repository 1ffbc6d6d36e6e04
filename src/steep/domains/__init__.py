"""Domains: what a study can be about. To add one: a file here and a line in ``registry.py``."""
