"""What a study says, made of what it measured: best fits, curves, laws, forecasts, costs, results.

``analyse`` goes from measurements to an analysis; ``decisions`` are what a study writes down beside
its trials; ``from_store`` and ``published`` read a study back; ``asked`` turns "10x" and "5%" into
numbers.
"""
