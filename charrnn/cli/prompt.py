"""Reading the prompt: from an argument, a file, or, only when asked to, stdin."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import IO

from charrnn.errors import ConfigError, CorpusError


def read_prompt(text: str | None, file: str | None) -> str:
    """The prompt, unchanged, including a final newline; "" if none is given.

    Raises:
        ConfigError: both a text and a file are given.
        CorpusError: the file cannot be read, or is not UTF-8.
    """
    if text is not None and file is not None:
        raise ConfigError("--prompt and --file are two prompts; give one")
    name = file if file is not None else text
    if name is None:
        return ""
    if name != "-":
        return name if file is None else _decode(_read_file(name), name)
    if sys.stdin is None:
        raise CorpusError("-: stdin is closed; name a file")
    return _decode(_read_all(sys.stdin.buffer, "stdin"), "stdin")


def as_typed(argument: str) -> str:
    """An argument decoded as UTF-8, whatever encoding Python took from the locale.

    >>> as_typed("é")
    'é'
    """
    try:
        return os.fsencode(argument).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # it does not come from a command line
        return argument


def unescape(text: str) -> str:
    r"""The text with the escapes \n, \t, \r, \0, \e, \\, \xHH and \uHHHH replaced.

    >>> unescape(r"one\ntwo\\n")
    'one\ntwo\\n'

    Raises:
        ConfigError: a backslash is followed by anything else.
    """

    def replace(match: re.Match[str]) -> str:
        digits = match[1] or match[2]
        if digits:
            return chr(int(digits, 16))
        if match[0][1:] not in ESCAPES:
            raise ConfigError(f"--escape: {match[0]} is not an escape; write \\\\ for a backslash")
        return ESCAPES[match[0][1:]]

    return re.sub(r"(?s)\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.?)", replace, text)


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b", "\\": "\\"}


MOST = 16 << 20  # bytes of a prompt; reading so many takes longer than anybody waits


def _read_file(name: str) -> bytes:
    if not name:
        raise CorpusError("'': an empty path; is a shell variable unset?")
    try:
        with Path(name).open("rb") as file:
            return _read_all(file, name)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror}") from None


def _read_all(file: IO[bytes], name: str) -> bytes:
    """What a file or stdin holds.

    Raises:
        CorpusError: it is too long for a prompt.
    """
    data = file.read(MOST + 1)
    if len(data) > MOST:
        raise CorpusError(
            f"{name}: a prompt of more than {MOST >> 20} MB; give its end, as with tail -c 10000"
        )
    return data


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{name}: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8; "
            "convert it first, as with iconv"
        ) from None
