"""Features of small texts, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.inspection.features import Floats, features, language


def values(text: str, name: str) -> list[float]:
    """One feature of a text."""
    found: dict[str, Floats] = {feature.name: feature.values for feature in features(text)}
    return [float(value) for value in found[name]]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("line position", "ab\n\ncd", [1, 2, 0, 0, 1, 2]),
        ("distance to line end", "ab\nc\nd", [2, 1, 2, 1, 2, 1]),
        ("indentation", "a\n  b c\n \n d", [0, 0, 1, 2, 2, 2, 2, 0, 1, 0, 1, 1]),
        ("word position", "ab c1d", [1, 2, 0, 1, 0, 1]),
        ("time", "abc", [0, 1, 2]),
        ("inside quotes", 'a "b" c', [0, 0, 1, 1, 0, 0, 0]),
        ("inside quotes", "«a» “b”", [1, 1, 0, 0, 1, 1, 0]),
        ("inside quotes", '"a\n\nb', [1, 1, 0, 0, 0]),
        ("bracket depth", "(a[b])c)d(", [1, 1, 2, 2, 1, 0, 0, 0, 0, 1]),
        ("bracket depth", "(a\n\nb", [1, 1, 0, 0, 0]),
        ("capital letter", "aBÉ1", [0, 1, 1, 0]),
        ("digit", "a1", [0, 1]),
        ("vowel", "aBéU", [1, 0, 1, 1]),
        ("punctuation", "a, b!", [0, 1, 0, 0, 1]),
        ("after punctuation", "a, b!", [0, 0, 1, 0, 0]),
        ("space", "a b\n", [0, 1, 0, 0]),
        ("newline next", "a\n\nb", [1, 1, 0, 0]),
        ("speaker name", "Tom:\nA: b\n\nAB. c", [1] * 4 + [0] * 7 + [1] * 3 + [0] * 2),
    ],
)  # fmt: skip
def test_features(name: str, text: str, expected: list[float]) -> None:
    """Each feature's value is what someone knows who has just read the character."""
    assert values(text, name) == expected


def test_prose_names_no_speakers() -> None:
    """A paragraph's short first sentence is no speaker."""
    assert sum(values("It was late. Then came he.\n\nHe said.\n", "speaker name")) == 0


def test_programs() -> None:
    """Comments and strings of C and Python are found, each within the other left alone."""
    c = 'int a; // "no"\nchar *s = "/* no";\n/* x */\n'
    assert language(c) == "C"
    comment = np.array(values(c, "C comment"), bool)
    assert "".join(np.array(list(c))[comment]) == '// "no"/* x */'
    string = np.array(values(c, "C string"), bool)
    assert "".join(np.array(list(c))[string]) == '"/* no'
    python = "import os\ndef f():\n    return '#' # no 'x'\n"
    assert language(python) == "Python"
    comment = np.array(values(python, "Python comment"), bool)
    assert "".join(np.array(list(python))[comment]) == "# no 'x'"
    assert (
        language("for all the world,\nTo be or not to be.\nA line.\nA line.\nAnd more.\nAnd more.\n") is None
    )


@pytest.mark.parametrize("text", ["", "a", "\n", " "])
def test_the_shortest_texts(text: str) -> None:
    """Every feature has a value for each character, however few there are."""
    for feature in features(text):
        assert feature.values.shape == (len(text),), feature.name
        assert feature.values.dtype == np.float32
