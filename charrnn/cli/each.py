"""``charrnn sample --each``: lines in as they come, a text a line out, flushed as it is ready."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from charrnn.cli.output import byte_writer, note
from charrnn.cli.writing import json_object
from charrnn.errors import CorpusError, counted
from charrnn.model.file import ModelFile
from charrnn.sampling.each import EachLine, LineText
from charrnn.sampling.session import SamplingSession
from charrnn.text.tokenizer import Tokenizer
from charrnn.use_config import SamplingConfig

CHUNK = 1 << 16  # bytes read at a time: as much as a pipe holds


def read_blocks(name: str, tokenizer: Tokenizer) -> Iterator[list[str]]:
    """The lines of a file, or of stdin for "-": in each block those that have come since the last one.

    A line ends with a newline, or a carriage return and a newline; neither is part of it.

    Raises:
        CorpusError: the file cannot be read, or is not UTF-8.
    """
    if name == "-" and sys.stdin is None:
        raise CorpusError("-: stdin is closed; name a file")
    try:
        descriptor = sys.stdin.fileno() if name == "-" else os.open(name, os.O_RDONLY)
        rest: list[bytes] = []
        while chunk := os.read(descriptor, CHUNK):
            before, newline, after = chunk.rpartition(b"\n")
            if not newline:
                rest.append(chunk)
                continue
            yield _decoded(b"".join([*rest, before, newline]), name, tokenizer)
            rest = [after] if after else []
        if rest:
            yield _decoded(b"".join(rest), name, tokenizer)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror}") from None


def _decoded(data: bytes, name: str, tokenizer: Tokenizer) -> list[str]:
    """The lines of a block as text; bytes that are not UTF-8 are kept for a byte model."""
    errors = "surrogateescape" if tokenizer.kind == "byte" else "strict"
    try:
        text = data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise CorpusError(f"{name}: {byte}; convert it first, as with iconv") from None
    return split_lines(text)


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


REFUSED = {
    "lines": "--lines",
    "num_samples": "--num-samples",
    "distinct": "--distinct",
    "novel": "--novel",
    "logprobs": "--logprobs",
    "interactive": "--interactive",
    "copied": "--copied",
}


def sample_each(
    model: ModelFile, config: SamplingConfig, each: str | None, prompt: str, given: Mapping[str, Any]
) -> None:
    """Writes a text for each line of a file, or of the prompt of a model of pairs, which is its sources.

    Args:
        model: what writes.
        config: the settings; a model of pairs is greedy unless ``given`` has a temperature.
        each: the file, "-" for stdin; None: the prompt's lines.
        prompt: with ``each``, empty.
        given: the options that were given, by name.

    Raises:
        click.UsageError: an option has no meaning here, or a model of pairs has no source.
    """
    pairs = bool(model.corpus.get("pairs"))
    asked = "a model of pairs" if each is None else "--each"
    for name, flag in REFUSED.items():
        if name in given:
            raise click.UsageError(f"{asked} writes one text a line; leave out {flag}")
    if each is not None and prompt:
        raise click.UsageError("--each has a prompt on each line; leave out --prompt and --file")
    if each is None and not prompt:
        raise click.UsageError("this is a model of pairs: give it a source, with --prompt or --each FILE")
    if pairs and "temperature" not in given:
        config = dataclasses.replace(config, temperature=0.0)
    session = SamplingSession(model, config, against=given.get("against", ()))
    quiet = "quiet" in given
    if session.config.temperature and config.beam is None:
        note(f"seed {session.config.seed}", quiet=quiet)
    tokenizer = session.tokenizer
    blocks = iter([split_lines(prompt)]) if each is None else read_blocks(each, tokenizer)
    skips = bool(given.get("skip_unknown"))
    writer = EachLine(session, scored="as_json" in given, skip_unknown=skips)
    write_texts(writer.bursts(blocks), session, given)
    if writer.unknown:
        fate = "left out" if skips else "read as the unknown symbol"
        note(f"{counted(writer.unknown, 'character')} not in the vocabulary, {fate}", quiet=quiet)


def write_texts(bursts: Iterable[list[LineText]], session: SamplingSession, given: Mapping[str, Any]) -> None:
    """Writes each text on a line of its own, or as a JSON object, as soon as it is there.

    Texts that are there at the same time are written at once.
    """
    as_json, display_source = bool(given.get("as_json")), bool(given.get("display_prompt"))
    write = byte_writer(visible=False if as_json else None)
    between = "\t" if session.pairs else ""
    decode = session.tokenizer.decode_bytes
    for burst in bursts:
        lines = []
        for found in burst:
            if as_json:
                lines.append(json_object(describe(found)))
                continue
            shown = (found.source + between).encode("utf-8", "surrogateescape") if display_source else b""
            lines.append(shown + decode(found.ids) + b"\n")
        write(b"".join(lines))


def describe(found: LineText) -> dict[str, Any]:
    """What --json prints of a line."""
    described: dict[str, Any] = {
        "source": found.source,
        "text": found.text,
        "finish_reason": found.finish_reason,
        "seed": found.seed,
        "logprob": found.logprob,
    }
    if found.best:
        described["best"] = [{"text": one.text, "logprob": one.logprob} for one in found.best]
    return described
