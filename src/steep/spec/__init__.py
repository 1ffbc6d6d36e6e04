"""The spec of a study: its sections, how a file becomes one, and its schema."""
