"""What reaches the terminal or the pipe: bytes to stdout as they are, words to stderr."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Mapping

from charrnn.errors import CharrnnError

RESET = b"\x1b[0m"
# Surprise in bits from which a character gets each shade, and the shade: yellow, orange, red, white on red.
SHADES = ((2.0, b"\x1b[33m"), (4.0, b"\x1b[38;5;208m"), (6.0, b"\x1b[31m"), (9.0, b"\x1b[97;41m"))


def note(line: str, *, quiet: bool = False) -> None:
    """A line for the person at the terminal; never on stdout."""
    if not quiet and sys.stderr is not None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def stdout_descriptor() -> int:
    """The number of stdout's file.

    Raises:
        CharrnnError: stdout is closed.
    """
    if sys.stdout is None:
        raise CharrnnError("stdout is closed; send the text somewhere, as in charrnn sample > FILE")
    return sys.stdout.fileno()


def byte_writer(*, visible: bool | None = None) -> Callable[[bytes], None]:
    """A function that puts bytes on stdout at once, unchanged.

    Control characters other than newline and tab are made visible instead where ``visible`` says so; by
    default, on a terminal.

    Raises:
        CharrnnError: stdout is closed.
    """
    descriptor = stdout_descriptor()
    show = Visible() if (os.isatty(descriptor) if visible is None else visible) else bytes

    def write(data: bytes) -> None:
        rest = memoryview(show(data))
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


class Visible:
    """Makes control characters visible in UTF-8 that comes in pieces, which may end within a character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def __call__(self, data: bytes) -> bytes:
        """The next piece, shown."""
        return _show(self._decoder.decode(data))


def show_controls(data: bytes) -> bytes:
    """UTF-8 text in which control characters are shown in caret notation, newline and tab kept.

    >>> show_controls(b"\\x1b[31mred\\n").decode()
    '^[[31mred\\n'
    """
    return _show(data.decode("utf-8", "backslashreplace"))


def _show(text: str) -> bytes:
    shown = []
    for character in text:
        point = ord(character)
        if character in "\n\t" or not (point < 0x20 or 0x7F <= point < 0xA0):
            shown.append(character)
        elif point < 0x80:
            shown.append("^" + chr(point ^ 0x40))
        else:
            shown.append(f"\\x{point:02x}")
    return "".join(shown).encode("utf-8", "backslashreplace")


def wants_color(choice: str, environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour: the flag, then FORCE_COLOR, NO_COLOR, TERM=dumb, then whether it is a terminal.

    >>> wants_color("auto", {"NO_COLOR": "1"}, terminal=True)
    False
    """
    if choice != "auto":
        return choice == "always"
    if environment.get("FORCE_COLOR"):
        return True
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return terminal


class Shader:
    """Shades characters by how surprising they were: none below 2 bits, then yellow, orange, red.

    Control characters are always shown: a shaded text is for eyes. An escape sequence is put out only where
    the shade changes, and none stands before a newline.
    """

    def __init__(self) -> None:
        self._show = Visible()
        self._shade = b""

    def __call__(self, data: bytes, bits: float) -> bytes:
        """One symbol's bytes with what shades them."""
        shade = b""
        for least, found in SHADES:
            if bits >= least:
                shade = found
        if data == b"\n":
            shade = b""
        change = b"" if shade == self._shade else shade or RESET
        if change and shade and self._shade:
            change = RESET + shade
        self._shade = shade
        return change + self._show(data)

    def end(self) -> bytes:
        """What takes the last shade off."""
        return RESET if self._shade else b""
