"""Torch-free mathematics: solvers, posteriors, intervals. Nothing here knows a study."""
