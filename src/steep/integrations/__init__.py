"""Doors for libraries of others: scikit-learn, PyTorch, Lightning, Hugging Face, trackers.

Each module imports its library when it is itself imported, and nothing of steep imports them.
"""
