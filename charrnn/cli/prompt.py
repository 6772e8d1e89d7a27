"""Reading the prompt: from an argument, a file, or, only when asked to, stdin."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import IO

from charrnn.errors import ConfigError, CorpusError


def read_prompt(
    text: str | None, file: str | None, *, encoding: str = "utf-8", any_bytes: bool = False
) -> str:
    """The prompt, unchanged, including a final newline; "" if none is given.

    Args:
        text: of the command line, or "-" for stdin.
        file: to read, or "-" for stdin.
        encoding: of the file and of stdin.
        any_bytes: for byte models: read any bytes, those that are not UTF-8 as Python's surrogate escapes.

    Raises:
        ConfigError: both a text and a file are given.
        CorpusError: the file cannot be read, or cannot be decoded.
    """
    if text is not None and file is not None:
        raise ConfigError("--prompt and --file are two prompts; give one")
    name = file if file is not None else text
    if name is None:
        return ""
    if name != "-" and file is None:
        return name
    if name == "-" and sys.stdin is None:
        raise CorpusError("-: stdin is closed; name a file")
    data, shown = (_read_file(name), name) if name != "-" else (_read_all(sys.stdin.buffer, "stdin"), "stdin")
    return data.decode("utf-8", "surrogateescape") if any_bytes else _decode(data, shown, encoding)


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

    Two \uHHHH that are a surrogate pair are one character, as in JSON:

    >>> unescape(r"\ud83d\udd14")
    '🔔'

    Raises:
        ConfigError: a backslash is followed by anything else, or half of a surrogate pair stands alone.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            pair = bytes.fromhex(match[1] + match[2])
            return pair.decode("utf-16-be")
        digits = match[3] or match[4]
        if digits and 0xD800 <= int(digits, 16) < 0xE000:
            raise ConfigError(f"--escape: {match[0]} is half of a surrogate pair, no character; leave it out")
        if digits:
            return chr(int(digits, 16))
        if match[0][1:] not in ESCAPES:
            raise ConfigError(f"--escape: {match[0]} is not an escape; write \\\\ for a backslash")
        return ESCAPES[match[0][1:]]

    return re.sub(ESCAPE, replace, text)


HEX = "[0-9a-fA-F]"
ESCAPE = rf"(?s)\\u([dD][89abAB]{HEX}{{2}})\\u([dD][c-fC-F]{HEX}{{2}})|\\(?:x({HEX}{{2}})|u({HEX}{{4}})|.?)"
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


def _decode(data: bytes, name: str, encoding: str) -> str:
    shown = "UTF-8" if encoding == "utf-8" else encoding
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{name}: byte 0x{data[error.start]:02x} at offset {error.start} is not {shown}, "
            "the encoding of the model's corpus; convert it first, as with iconv"
        ) from None
    except UnicodeError as error:  # of UTF-16, without a byte
        raise CorpusError(f"{name}: not {shown}: {error}; convert it first, as with iconv") from None
