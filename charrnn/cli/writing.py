"""How generated texts are displayed: as they are, shaded by surprise, or as JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from charrnn.cli.output import Shader, byte_writer
from charrnn.sampling.session import Prompt, SamplingSession, TokenChoice
from charrnn.sampling.writer import Sample, TextStream, pieces, samples


@dataclasses.dataclass
class TextDisplay:
    """Writes all texts of a session to stdout.

    Attributes:
        session: the model and the settings.
        prompt: what the texts continue.
        shown_prompt: the text to print before each; "" for none.
        color: whether to shade.
        keep: whether to keep what was written, as ``written``.
        written: the texts, one character per symbol.
    """

    session: SamplingSession
    prompt: Prompt
    shown_prompt: str = ""
    color: bool = False
    keep: bool = False
    written: list[str] = dataclasses.field(default_factory=list)

    def as_text(self) -> None:
        """Writes the texts while they are generated.

        Raises:
            ShortfallError: less could be written than was asked for.
        """
        config = self.session.config
        write = byte_writer(visible=True if self.color else None)
        shaded = byte_writer(visible=False) if self.color else None
        for index in range(config.num_samples):
            if index:
                write(config.separator.encode("utf-8", "surrogateescape"))
            if self.shown_prompt and config.lines != 0:
                write(self.shown_prompt.encode("utf-8", "surrogateescape"))
            text = TextStream(self.session, self.prompt, index, repeat_prompt=bool(self.shown_prompt))
            ids: list[int] = []
            if shaded:
                self._shade(text.choices(), shaded, ids)
            else:
                source = self._collected(text, ids) if self.keep else text
                for piece in pieces(source, self.session.tokenizer.decode_bytes):
                    write(piece)
            self._keep(ids)
            text.require_complete()

    def as_json(self) -> None:
        """Writes a JSON object per text, or with ``--lines`` per line, each on a line of its own.

        Raises:
            ShortfallError: less could be written than was asked for.
        """
        write = byte_writer(visible=False)
        for sample in samples(self.session, self.prompt):
            self._keep(sample.ids)
            write(json_line(sample, self.shown_prompt))

    def _collected(self, text: Iterable[int], ids: list[int]) -> Iterator[int]:
        for id in text:
            ids.append(id)
            yield id

    def _keep(self, ids: list[int]) -> None:
        if self.keep:
            self.written.append(self.session.tokenizer.symbols(ids))

    def _shade(self, choices: Iterator[TokenChoice], write: Callable[[bytes], None], ids: list[int]) -> None:
        shader, decode = Shader(), self.session.tokenizer.decode_bytes
        try:
            for choice in choices:
                write(shader(decode([choice.id]), -choice.logprob / math.log(2)))
                if self.keep:
                    ids.append(choice.id)
        finally:
            write(shader.end())


def json_line(sample: Sample, prompt: str) -> bytes:
    """One text as a line of JSON, after its prompt if that is shown.

    Where a text is not all of what a byte model wrote, since that is not UTF-8, ``bytes`` is beside it, in
    base64; and ``prompt_bytes`` beside such a prompt.
    """
    found: dict[str, Any] = {}
    if prompt:
        data = prompt.encode("utf-8", "surrogateescape")
        shown = data.decode("utf-8", "replace")
        found = {"prompt": shown} | exact_bytes(shown, data, "prompt_bytes")
    found |= {"text": sample.text} | exact_bytes(sample.text, sample.bytes)
    found |= {"finish_reason": sample.finish_reason, "seed": sample.seed}
    if sample.logprobs is not None:
        found["logprobs"] = [
            {
                "text": one.text,
                **exact_bytes(one.text, one.bytes),
                "logprob": one.logprob,
                "top": [
                    {"text": text, **exact_bytes(text, data), "logprob": logprob}
                    for (text, logprob), data in zip(one.top, one.top_bytes, strict=True)
                ],
            }
            for one in sample.logprobs
        ]
    return json_object(found)


def json_object(found: dict[str, Any]) -> bytes:
    """An object as a line of JSON."""
    try:
        return (json.dumps(found, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate is not valid UTF-8, but JSON can escape it
        return (json.dumps(found) + "\n").encode()


def exact_bytes(text: str, data: bytes, name: str = "bytes") -> dict[str, str]:
    """A field with the data in base64, if the text is not the whole of it; else none.

    >>> exact_bytes("aé", b"a\\xc3\\xa9"), exact_bytes("a\\ufffd", b"a\\xe9")
    ({}, {'bytes': 'Yek='})
    """
    if text.encode("utf-8", "surrogatepass") == data:
        return {}
    return {name: base64.b64encode(data).decode()}
