"""``python -m steep``: the command line."""

from steep.cli import main

main()
