"""Where a prompt comes from; stdin is read only when it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from charrnn.errors import ConfigError, CorpusError


def read_prompt(text: str | None, file: str | None) -> str:
    """The prompt, verbatim, its last newline included; "" where none is given.

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
    return _decode(sys.stdin.buffer.read(), "stdin")


def _read_file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror}") from None


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{name}: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8; "
            "convert it first, as with iconv"
        ) from None
