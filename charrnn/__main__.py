"""The program ``charrnn``, also run by ``python -m charrnn``."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Handles Ctrl-C: raises KeyboardInterrupt, but ends the program at once while modules are imported.

    Modules written in C turn an exception that comes in the middle of an import into other ones, or print a
    traceback and go on; and during imports there is nothing to save.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def main() -> NoReturn:
    """Runs the command line and exits with its status."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # which is not so under nohup
            signal.signal(signal.SIGINT, interrupt)
        from charrnn.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
