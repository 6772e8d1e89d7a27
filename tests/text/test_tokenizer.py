"""Characters and bytes to ids and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, ModelFileError, UnknownCharacterError
from charrnn.text.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    VocabularyCounter,
    code_points,
    id_dtype,
    tokenizer_from,
)

# Every code point, lone surrogates and astral characters included.
any_text = st.text(st.characters(codec=None, exclude_categories=()))


def vocabulary_of(text: str) -> str:
    """The different characters of a text in code-point order, by sets."""
    return "".join(sorted(set(text)))


def counted(*chunks: str, min_count: int = 1) -> CharTokenizer:
    """The tokenizer that a counter makes of a text's chunks."""
    counter = VocabularyCounter()
    for chunk in chunks:
        counter.add(chunk)
    return counter.tokenizer(min_count)


@given(any_text.filter(bool))
def test_any_text_comes_back_from_its_own_vocabulary(text: str) -> None:
    """Encoding and decoding a text over the vocabulary counted from it changes nothing."""
    tokenizer = counted(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text


@given(any_text.filter(bool))
def test_ids_are_places_in_the_sorted_vocabulary(text: str) -> None:
    """A character's id is its place among the text's different characters in code-point order."""
    vocabulary = vocabulary_of(text)
    tokenizer = counted(text)
    assert tokenizer.vocabulary == vocabulary
    assert tokenizer.encode(text).tolist() == [vocabulary.index(character) for character in text]


@given(any_text, any_text)
def test_lookup_marks_exactly_what_the_vocabulary_lacks(known: str, text: str) -> None:
    """``lookup`` gives ``size`` for every character outside the vocabulary and for no other."""
    tokenizer = CharTokenizer(vocabulary_of(known + "m"))
    missing = (tokenizer.lookup(text) == tokenizer.size).tolist()
    assert missing == [character not in known + "m" for character in text]


@given(st.text())
def test_decoded_bytes_are_utf8(text: str) -> None:
    """What a character model writes out is the text in UTF-8, whatever the locale."""
    tokenizer = CharTokenizer(vocabulary_of(text + "\n"))
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()


@given(st.binary())
def test_any_bytes_come_back_unchanged(data: bytes) -> None:
    """The byte tokenizer gives back the bytes it was given, whether as an array or as a list."""
    tokenizer = ByteTokenizer()
    ids = tokenizer.lookup(data)
    assert ids.tolist() == list(data)
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode_bytes(ids.tolist()) == data


@given(st.binary())
def test_bytes_of_a_command_line_are_encoded_as_they_were_typed(data: bytes) -> None:
    """Bytes that Python could not decode, and keeps as surrogates, are the same bytes again as ids."""
    typed = data.decode("utf-8", "surrogateescape")
    assert ByteTokenizer().encode(typed).tolist() == list(data)


def test_bytes_decode_with_replacement() -> None:
    """As text, bytes that are no UTF-8 read U+FFFD and the others what they say."""
    assert ByteTokenizer().decode([0x61, 0xFF, 0xC3, 0xA9]) == "a\ufffdé"


def test_unknown_character_is_named_with_its_place() -> None:
    """A character outside the vocabulary raises an error with the first such and its position."""
    with pytest.raises(UnknownCharacterError, match=r"never saw é \(U\+00E9\), at position 2") as caught:
        CharTokenizer("ab").encode("abéaß")
    assert (caught.value.character, caught.value.position) == ("é", 2)


def test_unprintable_unknown_character_is_escaped() -> None:
    """An error's line shows a control character by its escape, so that it can garble no terminal."""
    with pytest.raises(UnknownCharacterError) as caught:
        CharTokenizer("ab").encode("a\x1b")
    assert "\\x1b (U+001B), at position 1" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_unknown_symbol_stands_for_what_is_missing() -> None:
    """With an unknown symbol, every missing character takes the last id and reads U+FFFD."""
    tokenizer = CharTokenizer("ab", unknown=True)
    assert (tokenizer.size, tokenizer.unknown) == (3, 2)
    assert tokenizer.encode("a\U0001f600bz").tolist() == [0, 2, 1, 2]
    assert tokenizer.decode([0, 2, 1]) == "a\ufffdb"


@given(st.text("abcdef", min_size=1), st.integers(1, 6))
def test_min_count_keeps_the_frequent(text: str, least: int) -> None:
    """Exactly the characters seen ``min_count`` times are kept; the symbol exists if others were seen."""
    kept = [c for c in vocabulary_of(text) if text.count(c) >= least]
    if not kept:
        with pytest.raises(ConfigError, match=f"--min-count {least} leaves no character"):
            counted(text, min_count=least)
        return
    tokenizer = counted(text, min_count=least)
    assert tokenizer.vocabulary == "".join(kept)
    assert (tokenizer.unknown is not None) == (len(kept) < len(set(text)))


@given(st.lists(any_text, min_size=1).filter(any))
def test_counting_in_chunks_is_counting_the_whole(chunks: list[str]) -> None:
    """A vocabulary does not depend on where a text is cut."""
    assert counted(*chunks).vocabulary == counted("".join(chunks)).vocabulary


@pytest.mark.parametrize("size", [1, 254, 255, 256, 257, 65_534, 65_535, 65_536, 70_000])
def test_large_vocabularies_round_trip(size: int) -> None:
    """Around the limits of each integer type, the last ids and the mark for "none" stay apart."""
    points = [point for point in range(0x4000, 0x4000 + size + 0x800) if not 0xD800 <= point < 0xE000]
    vocabulary = "".join(map(chr, points[:size]))
    tokenizer = CharTokenizer(vocabulary)
    ids = tokenizer.lookup(vocabulary + "a")
    assert ids.tolist() == [*range(size), size]
    assert tokenizer.decode(ids[:-1]) == vocabulary


@pytest.mark.parametrize(
    ("size", "bits"), [(0, 8), (255, 8), (256, 16), (65_535, 16), (65_536, 32), (1_114_112, 32)]
)
def test_ids_take_the_smallest_type(size: int, bits: int) -> None:
    """The type of ids has the fewest bits that hold the size itself."""
    assert id_dtype(size) == np.dtype(f"uint{bits}")
    assert size <= np.iinfo(id_dtype(size)).max


def test_code_points_beyond_the_plane() -> None:
    """An astral character is one code point, not a pair, and a lone surrogate passes."""
    assert code_points("a\U0001f600\ud800").tolist() == [0x61, 0x1F600, 0xD800]


@pytest.mark.parametrize("vocabulary", ["", "ba", "aa", "ab\nc"])
def test_unsorted_vocabularies_are_refused(vocabulary: str) -> None:
    """A vocabulary that is empty, unsorted or repeats a character is an error, not a wrong table."""
    with pytest.raises(ModelFileError, match="ascending order"):
        CharTokenizer(vocabulary)


@pytest.mark.parametrize(("vocabulary", "start"), [("\n ab", 0), ("\t\nab", 1), ("\t ab", 1), ("ab", 0)])
def test_texts_start_after_a_newline(vocabulary: str, start: int) -> None:
    """The start symbol is the newline, else the space, else the first character."""
    assert CharTokenizer(vocabulary).start == start


def test_bytes_start_after_a_newline() -> None:
    """A byte model's texts begin after a newline too."""
    assert bytes([ByteTokenizer().start]) == b"\n"


@given(any_text.filter(bool), st.booleans())
def test_descriptions_make_the_same_tokenizer(text: str, unknown: bool) -> None:
    """A tokenizer made from another's description encodes alike."""
    tokenizer = CharTokenizer(vocabulary_of(text), unknown=unknown)
    again = tokenizer_from(tokenizer.describe())
    assert again.describe() == tokenizer.describe()
    assert (again.size, again.start, again.unknown) == (tokenizer.size, tokenizer.start, tokenizer.unknown)
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_byte_description_makes_a_byte_tokenizer() -> None:
    """A byte tokenizer's description makes one."""
    assert tokenizer_from(ByteTokenizer().describe()).kind == "byte"


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"kind": "word"},
        {"kind": "char"},
        {"kind": "char", "vocabulary": ["a", "b"], "unknown": False},
        {"kind": "char", "vocabulary": "ab", "unknown": 0},
        {"kind": "char", "vocabulary": "ab"},
    ],
)
def test_garbled_descriptions_are_refused(description: dict[str, Any]) -> None:
    """A description that names no tokenizer, or lacks a part of one, is an error of the model file."""
    with pytest.raises(ModelFileError, match="expected a char or byte tokenizer"):
        tokenizer_from(description)


def test_unseen_counts_the_rest_of_unicode() -> None:
    """What a character vocabulary does not name is Unicode's 1,112,064 characters less its own."""
    assert CharTokenizer("abc").unseen == 1_112_064 - 3
    assert ByteTokenizer().unseen == 0


@given(st.binary(max_size=40), st.integers(1, 5))
def test_decoding_in_pieces_is_decoding_the_whole(data: bytes, size: int) -> None:
    """A tokenizer's decoder, fed piece by piece, returns the text that ``decode`` returns for all ids."""
    tokenizer = ByteTokenizer()
    decoder = tokenizer.text_decoder()
    found = [decoder.decode(data[i : i + size]) for i in range(0, len(data), size)]
    assert "".join(found) + decoder.decode(b"", final=True) == tokenizer.decode(list(data))


@given(st.text(min_size=1, max_size=20))
def test_symbols_are_one_character_per_id(text: str) -> None:
    """``symbols`` of a text's ids is ``text_symbols`` of the text, and has a character per id."""
    for tokenizer in (counted(text), ByteTokenizer()):
        ids = tokenizer.encode(text)
        assert tokenizer.symbols(ids) == tokenizer.text_symbols(text)
        assert len(tokenizer.symbols(ids)) == len(ids)


def test_the_newline_is_none_where_there_is_none() -> None:
    """``newline`` is the id of the newline, or None, whatever the start symbol is."""
    assert CharTokenizer("\t\nab").newline == 1
    assert CharTokenizer(" ab").newline is None
    assert ByteTokenizer().newline == 10
