"""steep measures how steeply a model learns."""
