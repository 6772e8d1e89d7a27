"""One family of exceptions; every message names what is wrong and what to do about it.

The command line prints the message on one line and exits with ``status``: 1 for input that cannot be
used, 2 for a command that cannot mean anything.
"""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """A number of things, for a message.

    >>> counted(1, "character"), counted(2000, "file")
    ('1 character', '2,000 files')
    """
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def rounded(number: float) -> str:
    """A number to two digits, for a message.

    >>> rounded(0.0123), rounded(7.34), rounded(99.6), rounded(8472)
    ('0.012', '7.3', '100', '8,500')
    """
    short = float(f"{number:.2g}")
    return f"{short:.2g}" if short < 100 else f"{short:,.0f}"


class CharrnnError(Exception):
    """Whatever a user can cause and put right; never a bug of ours.

    Attributes:
        status: with which the command line exits.
        told: whether another process has printed the message.
    """

    status = 1
    told = False


class ConfigError(CharrnnError):
    """A setting lies outside its range, or contradicts another one."""

    status = 2


class ArgumentError(ConfigError, TypeError):
    """An argument of a Python call has the wrong type; the message names it."""


class CorpusError(CharrnnError):
    """A text cannot be found, read or decoded, or is too small to learn from."""


class ModelFileError(CharrnnError):
    """A model or state file is missing, damaged, of another version, or not what it claims."""


class RunError(CharrnnError):
    """A run directory is in the way, or does not fit what was asked of it."""


class UnknownCharacterError(CharrnnError):
    """A text holds a character that the vocabulary does not.

    Attributes:
        character: the first such character.
        position: its place in the text, counted in characters from 0.
    """

    def __init__(self, character: str, position: int, form: str | None = None) -> None:
        """An error for a character; ``form`` is the Unicode normalization that would make the text known."""
        self.character = character
        self.position = position
        shown = character if character.isprintable() else ascii(character)[1:-1]
        remedy = (
            "leave it out (sample --skip-unknown does), or train with --min-count to have an unknown symbol"
        )
        if form is not None:
            remedy = f"it knows the text in Unicode's {form} form: normalize it (uconv -x {form} does)"
        super().__init__(
            f"the model never saw {shown} (U+{ord(character):04X}), at position {position}; {remedy}"
        )


class ShortfallError(CharrnnError):
    """Fewer lines, or a shorter text, could be written than was asked for.

    Attributes:
        text: what was written, where a whole text was to be returned.
    """

    text = ""
