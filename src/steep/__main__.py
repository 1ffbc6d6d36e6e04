"""The command line: ``steep``, ``python -m steep``."""

import signal


def main() -> None:
    # Ctrl-C while Python still imports: there is nothing to stop or to say yet. Once errors are
    # turned into sentences (terminal.clear_errors), Ctrl-C is one of them.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from steep.cli import app

    app.main()


if __name__ == "__main__":
    main()
