"""``charrnn sample -i``: a person and a model write a text together, turn by turn.

The dialogue is on stderr, the finished text on stdout, so that ``charrnn sample -i > story.txt`` works.
"""

from __future__ import annotations

import sys

from charrnn.cli.output import byte_writer, note, show_controls
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.sampling.sampler import forbid, log_probabilities
from charrnn.sampling.writer import Author, encode_prompt

CHOICES = 5
LONGEST = 40  # characters of a continuation, which else ends with a word

HELP = (
    "type a beginning or what comes next; a number takes that continuation, an empty line the first; "
    ":u undoes, :e TEXT starts over with TEXT, :n ends the line; end of file ends"
)


def continuations(author: Author, text: str, count: int = CHOICES) -> list[tuple[str, float]]:
    """The ``count`` most probable next characters, each continued greedily to the end of a word.

    Returns:
        continuations with the natural-log probability of all their characters, by their first character's.
    """
    stream = author.engine.stream()
    ids, _ = encode_prompt(text, author.tokenizer)
    for id in [author.tokenizer.start, *ids.tolist()][:-1]:
        stream.advance(id)
    logits = stream.step(ids.tolist()[-1] if len(ids) else author.tokenizer.start)
    logs = log_probabilities(forbid(logits, author.forbidden))
    state, found = stream.save(), []
    for first in (-logs).argsort(kind="stable")[:count].tolist():
        stream.restore(state)
        written, id, score = [first], first, float(logs[first])
        while len(written) < LONGEST and not (len(written) > 1 and author.symbols([id]) in " \n"):
            after = log_probabilities(forbid(stream.step(id), author.forbidden))
            id = int(after.argmax())
            written.append(id)
            score += float(after[id])
        found.append((author.tokenizer.decode(written), score))
    return found


def converse(author: Author, text: str) -> None:
    """Reads turns from stdin until it ends, then writes the text to stdout."""
    if sys.stdin is None:
        raise CorpusError("-: stdin is closed; --interactive reads from it")
    write = byte_writer()
    note(HELP)
    former: list[str] = []
    options = show(author, text) if text else []
    for line in sys.stdin:
        turn = line.rstrip("\n")
        if turn == ":u":
            text = former.pop() if former else text
        else:
            try:
                added = answer(turn, text, options)
                encode_prompt(added, author.tokenizer)
            except UnknownCharacterError as error:
                note(str(error))
                continue
            former.append(text)
            text = added
        options = show(author, text)
    write(text.encode("utf-8", "surrogateescape"))


def answer(turn: str, text: str, options: list[tuple[str, float]]) -> str:
    """The text after a person's turn.

    >>> answer("2", "The ", [("cat ", -1.0), ("dog ", -2.0)]), answer("mouse", "The ", [])
    ('The dog ', 'The mouse')
    """
    if turn == ":n":
        return text + "\n"
    if turn.startswith(":e"):
        return turn[2:].removeprefix(" ")
    number = int(turn) if turn.isdecimal() else 1 if not turn else 0
    if 1 <= number <= len(options):
        return text + options[number - 1][0]
    return text + turn


def show(author: Author, text: str) -> list[tuple[str, float]]:
    """Prints the end of the text and what may follow; returns that."""
    options = continuations(author, text)
    note("\n" + show_controls(text[-500:].encode("utf-8", "surrogateescape")).decode())
    for number, (continuation, score) in enumerate(options, 1):
        note(f"  {number}  {continuation!r}  ({score:.2f})")
    return options
