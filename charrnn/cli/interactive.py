"""``charrnn sample -i``: user and model write a text together, turn by turn.

The dialogue is on stderr, the finished text on stdout, so that ``charrnn sample -i > story.txt`` works.
"""

from __future__ import annotations

import sys

from charrnn.cli.output import byte_writer, note, note_lines, show_controls
from charrnn.errors import ConfigError, CorpusError, UnknownCharacterError
from charrnn.sampling.sampler import Floats, add_bias, finite, forbid, log_probabilities
from charrnn.sampling.session import SamplingSession

CONTINUATIONS = 5
LONGEST_CONTINUATION = 40  # characters; most end earlier, with a word

HELP = (
    "type a beginning or what comes next; a number takes that continuation, an empty line the first; "
    ":u undoes, :e TEXT starts over with TEXT, :n ends the line, :: begins with a colon; end of file ends"
)


def continuations(session: SamplingSession, text: str, count: int = CONTINUATIONS) -> list[tuple[str, float]]:
    """The ``count`` most probable next characters, each continued greedily to the end of a word.

    Returns:
        The continuations, the one with the most probable first character first, each with the natural-log
        probability of all its characters.
    """
    stream, last = session.read(session.prompt(text))
    logs = _log_probabilities(session, stream.step(last), after=last)
    state, found = stream.save(), []
    for first in (-logs).argsort(kind="stable")[:count].tolist():
        stream.restore(state)
        written, id, score = [first], first, float(logs[first])
        while len(written) < LONGEST_CONTINUATION and not (
            len(written) > 1 and session.tokenizer.symbols([id]) in " \n"
        ):
            after = _log_probabilities(session, stream.step(id), after=id)
            id = int(after.argmax())
            written.append(id)
            score += float(after[id])
        found.append((session.tokenizer.decode(written), score))
    return found


def _log_probabilities(session: SamplingSession, logits: Floats, after: int) -> Floats:
    """Those of the model with ``bias`` and ``ban`` applied, where ``after`` is the last id."""
    logits = add_bias(finite(logits), list(session.bias), list(session.bias.values()))
    return log_probabilities(forbid(logits, [*session.forbidden, *session.barred_after(after)]))


def as_bytes(text: str) -> bytes:
    """A text as UTF-8, with the bytes that Python could not decode."""
    return text.encode("utf-8", "surrogateescape")


def converse(session: SamplingSession, text: str) -> None:
    """Reads turns from stdin until it ends, then writes the text to stdout."""
    if sys.stdin is None:
        raise CorpusError("-: stdin is closed; --interactive reads from it")
    write = byte_writer()
    note(HELP)
    former: list[str] = []
    options = show(session, text) if text else []
    for line in sys.stdin:
        turn = line.rstrip("\n")
        if turn == ":u":
            text = former.pop() if former else text
        else:
            try:
                added = answer(turn, text, options)
                session.prompt(added)
            except (ConfigError, UnknownCharacterError) as error:
                note(str(error))
                continue
            former.append(text)
            text = added
        options = show(session, text)
    write(as_bytes(text))


def answer(turn: str, text: str, options: list[tuple[str, float]]) -> str:
    """The text after the user's turn.

    >>> answer("2", "The ", [("cat ", -1.0), ("dog ", -2.0)]), answer("mouse", "The ", [])
    ('The dog ', 'The mouse')
    >>> answer(":e A", "The ", []), answer("::)", "Well ", [])
    ('A', 'Well :)')

    Raises:
        ConfigError: the turn begins with a colon, and is no command.
    """
    if turn == ":n":
        return text + "\n"
    if turn == ":e" or turn.startswith(":e "):
        return turn[3:]
    if turn.startswith("::"):
        return text + turn[1:]
    if turn.startswith(":"):
        raise ConfigError(
            f"{show_controls(as_bytes(turn[:40])).decode()}: no such command; "
            "there are :u, :e TEXT and :n; write :: to begin a text with a colon"
        )
    number = int(turn) if turn.isascii() and turn.isdecimal() else 1 if not turn else 0
    if 1 <= number <= len(options):
        return text + options[number - 1][0]
    return text + turn


def show(session: SamplingSession, text: str) -> list[tuple[str, float]]:
    """Prints the end of the text and what may follow; returns that."""
    options = continuations(session, text)
    note_lines("\n" + show_controls(as_bytes(text[-500:])).decode())
    for number, (continuation, score) in enumerate(options, 1):
        note(f"  {number}  {continuation!r}  ({score:.2f})")
    return options
