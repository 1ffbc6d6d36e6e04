"""The command line: each command, the answers it gives as data, and the files it writes."""
