"""The command line: ``charrnn train``, ``sample``, ``evaluate`` and the rest.

Commands parse, call the library and print; every error ends here as one line and an exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import IO, Any, NoReturn

import click

from charrnn import __version__
from charrnn.cli.commands import LazyGroup
from charrnn.cli.output import note, note_lines
from charrnn.errors import CharrnnError
from charrnn.system import launched, share_cores

CLOSED_PIPE = 128 + 13  # as a shell reports a program that SIGPIPE ended
INTERRUPTED = 128 + 2


class ClosedPipe(Exception):
    """The reader of our output has closed the pipe."""


class Commands(LazyGroup):
    """The group of commands; renames BrokenPipeError, at which click would exit with status 1."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parses the arguments, and prints help if that is asked for."""
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            raise ClosedPipe from None

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ClosedPipe from None


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Learn to write like any text, one character at a time."""


def main() -> NoReturn:
    """Runs the command line and exits with its status."""
    _fill_descriptors()
    share_cores()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status:
        _discard(sys.stdout)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Runs one command; reports errors on stderr and returns the exit status."""
    context = "charrnn"
    try:
        status = cli.main(arguments, prog_name="charrnn", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        _complain(error.format_message(), note_lines)
        return 2
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            context = error.ctx.command_path
        if (launch := launched()) is None or launch.rank == 0:  # one of the processes says it for all
            _complain(f"{context}: {' '.join(error.format_message().split())} (see {context} --help)")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (ClosedPipe, BrokenPipeError):
        return CLOSED_PIPE
    except CharrnnError as error:
        if not error.told:
            _complain(f"charrnn: {error}")
        return error.status
    except OSError as error:
        _complain(f"charrnn: {_describe(error)}")
        return 1
    except ImportError as error:
        if not _out_of_memory(error):
            raise
        _complain("charrnn: not enough memory to load NumPy or torch; raise the limit (ulimit -v)")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _complain("charrnn: not enough memory; try a smaller --batch-size or --hidden-size")
        return 1


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's errors are recognized by name or message, without importing it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    # "failed to map segment from shared object": what the loader says of a library
    told = any(words in str(error) for words in ("allocate memory", "failed to map segment"))
    return named or told or (error.__cause__ is not None and _out_of_memory(error.__cause__))


def _describe(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    hint = "; free some space and try again" if error.errno == errno.ENOSPC else ""
    return f"{where}{error.strerror or error}{hint}"


def _complain(text: str, write: Callable[[str], None] = note) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        write(text)


def _fill_descriptors() -> None:
    """Opens the null device in place of a stdin, stdout or stderr that is closed.

    Otherwise a file that is opened later would be the stderr, to which C libraries write their warnings.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)


def _discard(stream: IO[str] | None) -> None:
    """Keeps the interpreter from flushing a stream at exit into a closed pipe or a full device."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
