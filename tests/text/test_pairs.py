"""Pairs: what a file of them may hold, and how they are split."""

from __future__ import annotations

import doctest
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn.text.pairs
from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.pairs import LONGEST_PAIR, checked_pairs, target_mask
from charrnn.text.recorded import recorded_split
from charrnn.text.streams import CHUNK
from charrnn.text.tokenizer import Ids


def read(path: Path, data: bytes, **settings: object) -> Corpus:
    """The corpus of a file with these bytes."""
    path.write_bytes(data)
    return read_corpus([str(path)], CorpusConfig(pairs=True, **settings))  # type: ignore[arg-type]


def lines_of(corpus: Corpus, ids: Ids) -> list[str]:
    """The pairs that ids stand for."""
    return corpus.tokenizer.decode(ids).split("\n")[:-1]


def test_examples() -> None:
    """The examples in the docstrings hold."""
    assert doctest.testmod(charrnn.text.pairs).failed == 0


TOO_LONG = b"a\t" + b"b" * LONGEST_PAIR


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a\tb\nab\n", "line 2: no tab"),
        (b"a\tb\n\tb\n", "line 2: an empty source"),
        (b"a\tb\na\t\n", "line 2: an empty target"),
        (b"a\tb\na\tb\tc\n", "line 2: 2 tabs"),
        (b"a\tb\n\na\tb\n", "line 2: an empty line"),
        (b"a" + b"\t" * 1_000_000, "line 1: [0-9,]+ tabs"),
        (b"a" * 3_000_000, "line 1: no tab"),
        (b"a\tb\n" * 400_000 + b"a", "line 400001: no tab"),
        (b"a\tb\n" + TOO_LONG + b"\n", "line 2: longer than 2,047 symbols"),
    ],
)
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_what_is_no_pair_is_named(tmp_path: Path, data: bytes, complaint: str, tokenizer: str) -> None:
    """A line that is no pair is one error, with the file, the line's number and what is wrong."""
    with pytest.raises(CorpusError, match=f"x.tsv, {complaint}") as error:
        read(tmp_path / "x.tsv", data, tokenizer=tokenizer)
    assert "\n" not in str(error.value)


def test_each_file_counts_its_own_lines(tmp_path: Path) -> None:
    """Of several files, lines are counted in each, whether or not the one before ends with a newline."""
    (tmp_path / "a").write_text("a\tb\nc\td")
    (tmp_path / "b").write_text("e\tf\ng")
    with pytest.raises(CorpusError, match=r"b, line 2: no tab"):
        read_corpus([str(tmp_path / "a"), str(tmp_path / "b")], CorpusConfig(pairs=True))
    (tmp_path / "b").write_text("e\tf")
    corpus = read_corpus([str(tmp_path / "a"), str(tmp_path / "b")], CorpusConfig(pairs=True, val_fraction=0))
    assert lines_of(corpus, corpus.train) == ["a\tb", "c\td", "e\tf"]


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_line_ends_of_any_kind(tmp_path: Path, tokenizer: str) -> None:
    """CRLF and a missing newline at the end make no difference, and no carriage return is learnt."""
    plain = read(tmp_path / "a.tsv", "1+é\t2\n3+4\t7\n".encode(), tokenizer=tokenizer)
    other = read(tmp_path / "b.tsv", "1+é\t2\r\n3+4\t7".encode(), tokenizer=tokenizer)
    assert np.array_equal(plain.ids, other.ids)
    assert plain.config == other.config
    for corpus, name in ((plain, "a.tsv"), (other, "b.tsv")):
        assert corpus.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@given(st.lists(st.text("ab\t\r\n", max_size=9), max_size=6))
def test_chunks_make_no_difference(chunks: list[str]) -> None:
    """However a text comes, the same lines pass, or the same line is refused for the same reason."""

    def outcome(pieces: list[str]) -> str:
        try:
            return "".join(checked_pairs(pieces, "x"))
        except CorpusError as error:
            return str(error)

    assert outcome(chunks) == outcome(["".join(chunks)])
    assert CHUNK > LONGEST_PAIR


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.sampled_from("xyz")), min_size=2))
def test_no_held_out_source_is_learnt(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    """Whole pairs are held out, all those of a source together, and none is lost."""
    path = tmp_path_factory.mktemp("pairs") / "x.tsv"
    lines = [f"{source}\t{target}" for source, target in pairs]
    corpus = read(path, "\n".join(lines).encode(), val_fraction=0.3)
    training, held_out = (lines_of(corpus, part) for part in (corpus.train, corpus.validation))
    assert sorted(training + held_out) == sorted(lines)
    sources = [{line.split("\t")[0] for line in part} for part in (training, held_out)]
    assert not sources[0] & sources[1]
    assert len(sources[1]) == int(len({source for source, _ in pairs}) * 0.3)


def test_the_held_out_pairs_are_found_again(tmp_path: Path) -> None:
    """What a model records leads back to the same pairs."""
    data = "".join(f"{a}+{b}\t{a + b}\n" for a, b in itertools.product(range(12), repeat=2))
    corpus = read(tmp_path / "x.tsv", data.encode())
    assert corpus.describe()["pairs"] is True
    split = recorded_split(corpus.describe(), corpus.tokenizer, "validation")
    assert np.array_equal(split.ids, corpus.validation)


def test_a_last_pair_without_its_end_changes_no_hash(tmp_path: Path) -> None:
    """The sha256 is the file's, so the model finds its text again, though the last pair got its line end."""
    data = "\n".join(f"{number}\t{number + 1}" for number in range(40)).encode()
    corpus = read(tmp_path / "x.tsv", data)
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()
    split = recorded_split(corpus.describe(), corpus.tokenizer, "validation")
    assert np.array_equal(split.ids, corpus.validation)


def test_the_mask_is_that_of_a_loop() -> None:
    """Learnt is what comes after the tab, up to the newline and with it."""
    text = "ab\tc\nd\tefg\nhhh\ti\n"
    expected: list[bool] = []
    for line in text.splitlines(keepends=True):
        source, _, target = line.partition("\t")
        expected += [False] * (len(source) + 1) + [True] * len(target)
    points = np.frombuffer(text.encode(), np.uint8)
    assert target_mask(points, ord("\n"), ord("\t")).tolist() == expected


def test_pairs_and_lines_exclude_each_other() -> None:
    """--lines and --pairs are a contradiction; so is a vocabulary without the tab."""
    with pytest.raises(ConfigError, match="--pairs"):
        CorpusConfig(lines=True, pairs=True)


def test_the_tab_must_stay(tmp_path: Path) -> None:
    """A --min-count that would leave out the tab is refused."""
    with pytest.raises(CorpusError, match="--min-count"):
        read(tmp_path / "x.tsv", b"aaaaa\tb\n", min_count=3)
