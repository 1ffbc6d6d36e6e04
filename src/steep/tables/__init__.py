"""Other people's results as learning curves: files, their columns, what the numbers mean."""
