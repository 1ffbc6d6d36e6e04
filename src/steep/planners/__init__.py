"""Searches for the best-fit models. To add one: a file here and a line in ``registry.py``."""
