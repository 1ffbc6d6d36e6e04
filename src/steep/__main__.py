"""The command line: ``steep``, ``python -m steep``."""

import signal


def main() -> None:
    # Ctrl-C while Python still imports: there is nothing to stop or to say yet.
    taken = signal.getsignal(signal.SIGINT) == signal.default_int_handler
    if taken:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from steep import cli

    if taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
