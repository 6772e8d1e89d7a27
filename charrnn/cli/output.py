"""Output: bytes to stdout unchanged, notes to stderr, and what a terminal needs."""

from __future__ import annotations

import codecs
import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click

from charrnn.errors import CharrnnError

RESET = b"\x1b[0m"
# The bits from which a character gets each shade, and the shade: yellow, orange, red, white on red.
SHADES = ((2.0, b"\x1b[33m"), (4.0, b"\x1b[38;5;208m"), (6.0, b"\x1b[31m"), (9.0, b"\x1b[97;41m"))


# Every message passes through ``one_line``, since file names and what files say of themselves are part of it.
LONGEST = 600  # characters of a message


def one_line(text: str, longest: int = LONGEST) -> str:
    r"""A text as one printable line of at most so many characters, whatever it holds.

    Newlines, escape sequences and the like are shown as in Python's strings; of a long text the middle is
    left out, so that the name at its beginning and the remedy at its end remain.

    >>> print(one_line("\x1b[31mred\n"))
    \x1b[31mred\n
    >>> one_line("a" * 99 + "b" * 99, 20)
    'aaaaaaaaaaaa...bbbbb'
    """
    if len(text) > 2 * longest:  # a cut before the work, and one after it
        text = _shortened(text, 2 * longest)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _shortened(text, longest)


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = (longest - 3) // 3
    return text[: longest - 3 - end] + "..." + text[len(text) - end :]


def shell_words(words: Iterable[str]) -> str:
    r"""A command line to be typed again, in which nothing breaks the line or acts on the terminal.

    >>> print(shell_words(["charrnn", "train", "a b", "c\n"]))
    charrnn train 'a b' $'c\x0a'
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c(word) for word in words)


def _ansi_c(word: str) -> str:
    """A word in the quotes of bash, zsh and ksh that know escapes."""
    data = word.encode("utf-8", "surrogateescape")
    shown = (chr(b) if 0x20 <= b < 0x7F and chr(b) not in "'\\" else f"\\x{b:02x}" for b in data)
    return "$'" + "".join(shown) + "'"


def note(line: str, *, quiet: bool = False) -> None:
    """Writes a message to stderr, as ``one_line`` makes it, unless ``quiet``.

    Where that fails, the work goes on without it.
    """
    if not quiet and sys.stderr is not None:
        with contextlib.suppress(OSError):  # a full disk or device, a terminal or a pipe that was closed
            sys.stderr.write(one_line(line) + "\n")
            sys.stderr.flush()


def note_lines(text: str, *, quiet: bool = False) -> None:
    """Writes each line of a text to stderr unless ``quiet``."""
    for line in text.split("\n"):
        note(line, quiet=quiet)


def stdout_descriptor() -> int:
    """The file descriptor of stdout.

    Raises:
        CharrnnError: stdout is closed.
    """
    if sys.stdout is None:
        context = click.get_current_context(silent=True)
        command = "charrnn" if context is None else context.command_path
        raise CharrnnError(f"stdout is closed; send the output somewhere, as in {command} > FILE")
    return sys.stdout.fileno()


def byte_writer(*, visible: bool | None = None) -> Callable[[bytes], None]:
    """A function that writes bytes to stdout at once.

    Args:
        visible: whether to show control characters other than newline and tab instead of sending them; None:
            on a terminal.

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
    """Shows control characters in UTF-8 that comes in pieces, which may end within a character."""

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
    """Whether to use colour: by the flag, then FORCE_COLOR, NO_COLOR, TERM=dumb, then the terminal.

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
    """Shades characters by their information in bits: none below 2, then yellow, orange, red.

    Control characters are always shown, since shaded text is for reading. An escape sequence is written only
    where the shade changes, and no shade extends over a newline.
    """

    def __init__(self) -> None:
        self._show = Visible()
        self._shade = b""

    def __call__(self, data: bytes, bits: float) -> bytes:
        """One symbol's bytes, after the escape sequence that they need."""
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
        """The escape sequence that ends the last shade."""
        return RESET if self._shade else b""


def resuming_command(corpus: tuple[str, ...], output_dir: Path | None, directory: Path) -> str:
    """What a shell needs to go on with this run; the directory alone, where the names make a long line.

    >>> resuming_command(("a play.txt",), None, Path("runs/a play"))
    "charrnn train 'a play.txt' --resume"
    """
    where = [] if output_dir is None else ["--output-dir", str(output_dir)]
    line = shell_words(["charrnn", "train", *corpus, "--resume", *where])
    if len(line) < LONGEST - 50:
        return line
    return shell_words(["charrnn", "train", "--resume", "--output-dir", str(directory)])
