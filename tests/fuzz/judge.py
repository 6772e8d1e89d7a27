"""What must hold of every command line, however hostile: a known status, and one printable line of error."""

from __future__ import annotations

from tests.fuzz.zygote import Outcome

LONGEST = 1000  # characters of a message, the file's name included

MEMORY = "not enough memory"


def bad_line(message: str) -> str | None:
    """What is wrong with an error message, or None."""
    if not message.isprintable():
        return f"not one printable line: {message!a:.300}"
    if len(message) > LONGEST:
        return f"{len(message)} characters: {message:.200}"
    return None


def judge(outcome: Outcome, *, memory: bool = True, quiet: bool = True) -> str | None:
    """What is wrong with how a command ended, or None.

    Args:
        outcome: of the command.
        memory: whether running out of memory is an answer.
        quiet: whether nothing may be on stderr if it succeeded.
    """
    if outcome.status == 0:
        return f"said {outcome.err!r:.300} with --quiet" if quiet and outcome.err else None
    if outcome.status not in (1, 2):
        return f"{outcome.status}: {' | '.join(outcome.err.splitlines()[-2:])}"
    if not outcome.err.endswith("\n") or outcome.err.count("\n") != 1:
        return f"status {outcome.status}, not one line: {outcome.err!a:.300}"
    if not outcome.err.startswith("charrnn"):
        return f"not our line: {outcome.err!a:.300}"
    if not memory and MEMORY in outcome.err:
        return "out of memory"
    return bad_line(outcome.err[:-1])
