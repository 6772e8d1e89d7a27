"""How generated texts are shown: plainly, shaded, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from charrnn.cli.output import Shader, byte_writer
from charrnn.errors import CharrnnError
from charrnn.sampling.lines import LineWriting
from charrnn.sampling.writer import Author, Choice, Writing, best_writing, pieces


@dataclasses.dataclass
class Show:
    """How to show texts.

    Attributes:
        author: who writes.
        prompt: the text to put before each; "" for none.
        color: whether to shade.
        keep: whether to remember what was written, as ``written``.
    """

    author: Author
    prompt: str = ""
    color: bool = False
    keep: bool = False
    written: list[str] = dataclasses.field(default_factory=list)

    def plainly(self) -> None:
        """Writes all texts to stdout as they are made.

        Raises:
            CharrnnError: fewer lines could be written than were wanted.
        """
        config = self.author.config
        write = byte_writer(visible=True if self.color else None)
        shaded = byte_writer(visible=False) if self.color else None
        for index in range(config.num_samples):
            if index:
                write(config.separator.encode("utf-8", "surrogateescape"))
            if self.prompt and config.lines != 0:
                write(self.prompt.encode("utf-8", "surrogateescape"))
            choices: deque[Choice] = deque()
            text = Text(self.author, index, choices if shaded else None, again=bool(self.prompt))
            ids = self._remembered(iter(text)) if self.keep else iter(text)
            if shaded:
                self._shade(ids, choices, shaded)
            else:
                for piece in pieces(ids, self.author.tokenizer.decode_bytes):  # type: ignore[arg-type]
                    write(piece)
            if text.shortfall:
                raise CharrnnError(text.shortfall)

    def _remembered(self, ids: Iterator[int]) -> Iterator[int]:
        kept: list[int] = []
        for id in ids:
            kept.append(id)
            yield id
        self.written.append(self.author.symbols(kept))

    def _shade(self, ids: Iterator[int], choices: deque[Choice], write: Callable[[bytes], None]) -> None:
        shader, decode = Shader(), self.author.tokenizer.decode_bytes
        try:
            for id in ids:
                write(shader(decode([id]), -choices.popleft().logprob / math.log(2)))
        finally:
            write(shader.end())

    def as_json(self) -> None:
        """Writes an object a text, or with ``--lines`` an object a line, each on a line of its own.

        Raises:
            CharrnnError: as for ``plainly``.
        """
        author, config = self.author, self.author.config
        write = byte_writer(visible=False)
        for index in range(config.num_samples):
            seed = (config.seed or 0) + index * config.best_of
            if config.lines is not None:
                self._json_lines(write, seed)
                continue
            choices: deque[Choice] = deque()
            text = Text(author, index, choices if config.logprobs else None)
            ids = list(text)
            self._remember(ids)
            write(self._object(ids, text.finish_reason, seed, choices))
            if text.shortfall:
                raise CharrnnError(text.shortfall)

    def _json_lines(self, write: Callable[[bytes], None], seed: int) -> None:
        choices: deque[Choice] = deque()
        writing = LineWriting(self.author, 0, choices.append if self.author.config.logprobs else None)
        for line in writing:
            self._remember(line.ids)
            write(self._object(line.ids, writing.finish_reason, seed, choices))
            choices.clear()
        if writing.shortfall:
            raise CharrnnError(writing.shortfall)

    def _remember(self, ids: list[int]) -> None:
        if self.keep:
            self.written.append(self.author.symbols(ids))

    def _object(self, ids: list[int], reason: str, seed: int, choices: deque[Choice]) -> bytes:
        decode = self.author.tokenizer.decode
        found: dict[str, Any] = {"text": decode(ids), "finish_reason": reason, "seed": seed}
        if self.prompt:
            found = {"prompt": self.prompt} | found
        if self.author.config.logprobs:
            found["logprobs"] = [
                {
                    "text": decode([choice.id]),
                    "logprob": choice.logprob,
                    "top": [{"text": decode([id]), "logprob": logprob} for id, logprob in choice.top],
                }
                for choice in list(choices)[: len(ids)]
            ]
        line = json.dumps(found, ensure_ascii=False) + "\n"
        try:
            return line.encode()
        except UnicodeEncodeError:  # a lone surrogate is no UTF-8, but JSON can escape it
            return (json.dumps(found) + "\n").encode()


class Text:
    """One text by whatever means the settings want: iterate once for its ids.

    Args:
        author: who writes.
        index: the text's number.
        choices: filled with a choice for every id, a little before it comes; None if nobody looks.
        again: whether a model of items shows the prompt before each line, not only the first.
    """

    def __init__(
        self, author: Author, index: int, choices: deque[Choice] | None = None, *, again: bool = False
    ) -> None:
        self._author, self._index, self._choices, self._again = author, index, choices, again
        self.finish_reason = "length"
        self.shortfall: str | None = None

    def __iter__(self) -> Iterator[int]:
        config = self._author.config
        watch = None if self._choices is None else self._choices.append
        if config.lines is not None or config.distinct or config.novel:
            yield from self._lines(LineWriting(self._author, self._index, watch))
        elif config.best_of > 1:
            ids, choices, self.finish_reason = best_writing(self._author, self._index)
            if self._choices is not None:
                self._choices.extend(choices)
            yield from ids
        else:
            writing = Writing(self._author, self._index, watch)
            yield from writing
            self.finish_reason = writing.finish_reason
            if self.finish_reason == "novelty":
                self.shortfall = (
                    "ended early: every character would have completed a run of the training text"
                )

    def _lines(self, writing: LineWriting) -> Iterator[int]:
        author = self._author
        repeat = author.prompt.tolist() if self._again and author.items else []
        for number, line in enumerate(writing):
            if number and author.config.lines is not None:
                if self._choices is not None:
                    self._choices.extendleft(Choice(id, 0.0, []) for id in repeat)
                yield from repeat
            yield from line.ids
            if line.ended and author.newline is not None:
                yield author.newline
        self.shortfall = writing.shortfall
