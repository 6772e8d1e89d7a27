"""What a model file names is read no further than the text that it says it learnt."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import CorpusConfig, TokenizerKind
from charrnn.errors import CorpusError
from charrnn.text import bounds
from charrnn.text.bounds import COLUMN, LARGER, UNKNOWN, Bound, TooMuch, bound_of
from charrnn.text.corpus import read_corpus
from charrnn.text.recorded import find_recorded
from charrnn.text.sources import Source, find_sources
from charrnn.text.streams import CHUNK, HEAD

TEXT = "the quick brown fox\n"


def recorded(folder: Path) -> dict[str, Any]:
    """What a model says of a directory that it learnt."""
    text = TEXT.encode()
    return {"paths": [str(folder)], "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one text, and bounds that are soon reached."""
    monkeypatch.setattr(bounds, "MOST_FILES", 10)
    monkeypatch.setattr(bounds, "MOST_OPENED", 4)
    monkeypatch.setattr(bounds, "BESIDE", 3 << 20)
    path = tmp_path / "texts"
    path.mkdir()
    (path / "t.txt").write_text(TEXT)
    return path


def test_what_was_learnt_is_found(folder: Path) -> None:
    """A few other files that are no texts are no matter."""
    for number in range(2):
        (folder / f"{number}.png").write_bytes(b"\0")
    found = find_recorded(recorded(folder), CorpusConfig(), "name a text")
    assert [source.path for source in found] == [folder / "t.txt"]


def test_a_directory_of_many_files_is_given_up(folder: Path) -> None:
    """However little is in them, and even if they are hidden or empty."""
    for number in range(10):
        (folder / f".{number}").touch()
    with pytest.raises(CorpusError, match=rf"^{folder}: changed since the model learnt it; name a text"):
        find_recorded(recorded(folder), CorpusConfig(), "name a text")


@pytest.mark.parametrize(("content", "opens"), [(b"\0", 4), (b"", 0), (TEXT.encode() * (1 << 18), 1)])
def test_a_directory_of_much_text_is_given_up(
    content: bytes, opens: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether files are texts or not: those that come after the bound are not opened."""
    for number in range(7):
        (folder / f"{number}").write_bytes(content)
    opened = []
    real = Source.open

    def count(source: Source) -> Any:
        opened.append(source.name)
        return real(source)

    monkeypatch.setattr(Source, "open", count)
    if content:
        with pytest.raises(CorpusError, match=rf"^{folder}: changed since the model learnt it; name a text"):
            find_recorded(recorded(folder), CorpusConfig(), "name a text")
        assert len(opened) == opens
    else:
        assert [source.path for source in find_recorded(recorded(folder), CorpusConfig(), "name a text")]
        assert set(opened) == {str(folder / "t.txt")}


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_as_many_files_as_were_learnt_are_opened(folder: Path, tokenizer: TokenizerKind) -> None:
    """Of a directory with more than MOST_OPENED texts all are found again, since their number is recorded."""
    for number in range(8):
        (folder / f"{number}").write_text(TEXT)
    config = CorpusConfig(tokenizer=tokenizer)
    described = read_corpus([str(folder)], config).describe()
    assert described["files"] == len(find_recorded(described, config, "")) == 9
    del described["files"]
    with pytest.raises(CorpusError, match="changed since the model learnt it"):
        find_recorded(described, config, "")


@pytest.mark.parametrize("size", [1 << 13, 1 << 16])
def test_what_is_no_text_counts_as_far_as_it_is_read(folder: Path, size: int) -> None:
    """A picture is known by its beginning; a text with a NUL byte at its end is read up to there."""
    (folder / "a").write_bytes(b"x" * (size - 1) + b"\0")
    bound = Bound(characters=1 << 30)
    assert len(find_sources([str(folder)], CorpusConfig(), bound=bound).sources) == 1
    spent = (1 << 30) - bound.characters - len(TEXT)
    assert spent == (HEAD if size == 1 << 13 else HEAD + CHUNK)


def test_no_more_is_learnt_than_there_was(tmp_path: Path) -> None:
    """A file that has grown, or that expands, is read no further than the text went."""
    path = tmp_path / "t.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * (1 << 20)))
    bound = Bound(learnt=100)
    with pytest.raises(TooMuch, match="larger than the text"):
        read_corpus([str(path)], CorpusConfig(), bound=bound)
    assert bound.learnt == 100 - HEAD
    known = read_corpus([str(path)], CorpusConfig(), bound=Bound(learnt=len(TEXT) << 20))
    assert known.bytes == len(TEXT) << 20


def test_what_a_user_names_is_not_bounded(folder: Path) -> None:
    """Only what a file names is; and a table may be larger than its column."""
    for number in range(20):
        (folder / f"{number}").write_text(TEXT)
    assert len(find_sources([str(folder)], CorpusConfig()).sources) == 21
    with pytest.raises(TooMuch):
        find_sources([str(folder)], CorpusConfig(), bound=Bound(files=20))
    plain, table = bound_of({"bytes": 10}), bound_of({"bytes": 10, "column": ["a"]})
    assert table.characters - plain.characters == (COLUMN - LARGER) * 10
    assert (plain.learnt, table.learnt) == (10, 10)
    assert bound_of({}).learnt == UNKNOWN
