"""Features of a text that a person would name, one number a character, to compare units with.

A feature's value at a character is what someone knows who has just read it: inside quotes begins with the
opening mark, and the position in the line is 0 at the line's end, 1 at the next line's first character. Three
features look ahead, because a model may expect what comes: the distance to the line's end, whether a newline
is next, and whether the line is a speaker's name.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokenizer import code_points

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

NEWLINE = 10
QUOTES = {"“": 1, "”": -1, "«": 1, "»": -1, '"': 0}
BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
BLANK = re.compile(r"\n[ \t\r]*\n")

# A speaker's name in a play, after a blank line: alone on its line before a colon, or in capitals.
SPEAKER = re.compile(
    r"(?:\A|\n\n)((?:[A-Z][A-Za-z0-9'’ -]{0,40}:)(?=\n\S)|(?:[A-Z][A-Z0-9'’ -]{1,40}[:.])(?=\s+\S))"
)

LANGUAGES = {
    "C": (
        re.compile(r"[;{}][ \t]*(?://.*|/\*.*)?$|^#(?:include|define|if)", re.MULTILINE),
        re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL),
        re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"),
    ),
    "Python": (
        re.compile(r"^[ \t]*(?:def|class|import|from|return|if|for|else|elif|try|@\w+)\b.*$", re.M),
        re.compile(r"#[^\n]*"),
        re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL),
    ),
}  # fmt: skip
# What the last character or two say.
LOCAL = frozenset({"capital letter", "digit", "vowel", "punctuation", "space", "after punctuation"})

CODE_LINES = 0.2  # share of lines from which on a text is taken for a program's


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a text.

    Attributes:
        name: what tables call it.
        values: (characters,); 0 and 1 where ``binary``.
        binary: whether it is a yes/no feature, for which the area under the curve is measured.
        local: whether the last two characters say it all, so that it takes no memory to follow it.
    """

    name: str
    values: Floats
    binary: bool
    local: bool = False


def features(text: str) -> list[Feature]:
    """All features of a text that do not depend on a model, in the order in which they are listed.

    Args:
        text: one character a symbol.
    """
    points = code_points(text)
    lines, kinds = _line_features(points), _kinds(points)
    punctuation = kinds["punctuation"]
    before = np.concatenate([np.zeros(1, np.bool_), punctuation[:-1]])[: len(text)]
    numbers = {
        **lines,
        "bracket depth": _bracket_depth(text),
        "word position": _run_lengths(kinds.pop("letter")),
        "time": np.arange(len(text), dtype=np.float32),
    }
    flags = {
        "inside quotes": _inside_quotes(text),
        **kinds,
        "after punctuation": before,
        "newline next": np.append(points[1:] == NEWLINE, False)[: len(text)],
        "speaker name": _spans(text, SPEAKER, group=1),
        **_code_features(text),
    }
    found = [Feature(name, values.astype(np.float32), False) for name, values in numbers.items()]
    return found + [Feature(name, v.astype(np.float32), True, name in LOCAL) for name, v in flags.items()]


def _line_features(points: NDArray[np.uint32]) -> dict[str, Floats]:
    """Position in the line, distance to its end, and indentation, in characters."""
    count = len(points)
    places = np.arange(count)
    newline = points == NEWLINE
    begin = np.maximum.accumulate(np.where(newline, places, -1))  # (characters,) the last newline's place
    ends = np.append(np.where(newline, places, count), count)
    end = np.minimum.accumulate(ends[::-1])[::-1][1:]  # (characters,) the next newline's, after this one
    position = (places - begin).astype(np.float32)
    blank = (points == 32) | (points == 9)
    # The place of the last character that is neither blank nor a line's end.
    text_seen = np.maximum.accumulate(np.where(blank | newline, -1, places))
    first = np.zeros(count, np.float32)
    inside = (text_seen > begin) & ~newline
    leading = ~inside
    first[leading] = position[leading]
    # Within the line's text the indentation is that at the line's first other character.
    starts = np.flatnonzero(inside & np.append(True, ~inside[:-1])[:count])
    first[starts] = position[starts] - 1
    latest = (
        np.maximum.accumulate(np.where(leading | np.isin(places, starts), places, 0)) if count else places
    )
    indentation = first[latest]
    indentation[newline] = 0
    return {
        "line position": position,
        "distance to line end": (end - places).astype(np.float32),
        "indentation": indentation,
    }


def _kinds(points: NDArray[np.uint32]) -> dict[str, Flags]:
    """Whether each character is a capital, digit, vowel, punctuation mark, space or letter."""
    distinct, where = np.unique(points, return_inverse=True)
    characters = [chr(point) for point in distinct.tolist()]
    kinds = {
        "capital letter": [c.isupper() for c in characters],
        "digit": [c.isdigit() for c in characters],
        "vowel": [unicodedata.normalize("NFD", c)[0].lower() in "aeiou" for c in characters],
        "punctuation": [unicodedata.category(c).startswith("P") for c in characters],
        "space": [c == " " for c in characters],
        "letter": [c.isalpha() for c in characters],
    }
    return {name: np.array(flags, np.bool_)[where.ravel()] for name, flags in kinds.items()}


def _run_lengths(flags: Flags) -> Floats:
    """How many of these in a row end at each place."""
    places = np.arange(len(flags))
    last = np.maximum.accumulate(np.where(flags, -1, places))
    lengths: Floats = (places - last).astype(np.float32)
    return lengths


def _inside_quotes(text: str) -> Flags:
    """From an opening mark up to the character before its closing one; a blank line closes what was open."""
    depth, changes = 0, []
    for place, mark in _marks(text, "".join(QUOTES)):
        step = QUOTES.get(mark)
        depth = 0 if step is None or step < 0 else 1 if step > 0 else 1 - depth
        changes.append((place, depth))
    return _held(len(text), changes) > 0


def _bracket_depth(text: str) -> Floats:
    """How many brackets are open; outside programs, a blank line closes them all."""
    depth, changes = 0, []
    code = language(text) is not None
    for place, mark in _marks(text, "".join(BRACKETS)):
        if mark in BRACKETS:
            depth = max(0, depth + BRACKETS[mark])
        elif not code:
            depth = 0
        changes.append((place, depth))
    return _held(len(text), changes)


def _marks(text: str, characters: str) -> Iterator[tuple[int, str]]:
    """Places of these characters and of blank lines, in order."""
    for match in re.finditer(f"[{re.escape(characters)}]|{BLANK.pattern}", text):
        yield match.start(), match.group()


def _held(count: int, changes: list[tuple[int, int]]) -> Floats:
    """A number for each place: the one set last; 0 before the first."""
    values = np.array([0] + [value for _, value in changes], np.float32)
    places = np.array([place for place, _ in changes], np.int64)
    held: Floats = values[np.searchsorted(places, np.arange(count), side="right")]
    return held


def _spans(text: str, pattern: re.Pattern[str], group: int = 0, inner: int = 0) -> Flags:
    """Where a pattern's matches stand; ``inner`` characters at each match's end are left out."""
    flags = np.zeros(len(text), np.bool_)
    for match in pattern.finditer(text):
        flags[match.start(group) : match.end(group) - inner] = True
    return flags


def language(text: str) -> str | None:
    """Which language's program a text seems to be, or None.

    >>> language("int main() {\\n  return 0;\\n}\\n"), language("Call me Ishmael.\\n")
    ('C', None)
    """
    lines = sum(1 for line in text.splitlines() if line.strip())
    shares = {
        name: sum(1 for _ in hint.finditer(text)) / max(1, lines) for name, (hint, *_) in LANGUAGES.items()
    }
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > CODE_LINES else None


def _code_features(text: str) -> dict[str, Flags]:
    """Comment and string state, of texts that are programs."""
    found = language(text)
    if found is None:
        return {}
    _, comment, string = LANGUAGES[found]
    # One pass for both, since each may hold what looks like the other's beginning.
    either = re.compile(f"(?P<comment>{comment.pattern})|(?P<string>{string.pattern})", re.DOTALL)
    comments, strings = np.zeros(len(text), np.bool_), np.zeros(len(text), np.bool_)
    for match in either.finditer(text):
        if match.lastgroup == "comment":
            comments[match.start() : match.end()] = True
        else:
            strings[match.start() : match.end() - 1] = True
    return {f"{found} comment": comments, f"{found} string": strings}
