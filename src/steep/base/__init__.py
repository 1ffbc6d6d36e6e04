"""What every other package may use, and which uses none of them: files, metrics, memory, and the
registry of members."""
