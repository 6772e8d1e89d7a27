"""What reaches the terminal or the pipe: bytes to stdout as they are, words to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from charrnn.errors import CharrnnError


def note(line: str, *, quiet: bool = False) -> None:
    """A line for the person at the terminal; never on stdout."""
    if not quiet and sys.stderr is not None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def byte_writer() -> Callable[[bytes], None]:
    """A function that puts bytes on stdout at once, unchanged.

    On a terminal, control characters other than newline and tab are made visible instead.

    Raises:
        CharrnnError: stdout is closed.
    """
    if sys.stdout is None:
        raise CharrnnError("stdout is closed; send the text somewhere, as in charrnn sample > FILE")
    descriptor = sys.stdout.fileno()
    visible = os.isatty(descriptor)

    def write(data: bytes) -> None:
        rest = memoryview(show_controls(data) if visible else data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


def show_controls(data: bytes) -> bytes:
    """UTF-8 text in which control characters are shown in caret notation, newline and tab kept.

    >>> show_controls(b"\\x1b[31mred\\n").decode()
    '^[[31mred\\n'
    """
    shown = []
    for character in data.decode("utf-8", "backslashreplace"):
        point = ord(character)
        if character in "\n\t" or not (point < 0x20 or 0x7F <= point < 0xA0):
            shown.append(character)
        elif point < 0x80:
            shown.append("^" + chr(point ^ 0x40))
        else:
            shown.append(f"\\x{point:02x}")
    return "".join(shown).encode("utf-8", "backslashreplace")
