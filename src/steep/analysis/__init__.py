"""The analysis of a study's measurements: best fits, curves, laws, forecasts, costs, results.

``analyse`` turns measurements into an analysis. ``decisions`` has what a study stores besides its
trials. ``from_store`` and ``published`` analyse a study's folder or its published tables; ``asked``
turns text such as "10x" and "5%" into numbers.
"""
