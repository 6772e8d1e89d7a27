"""What a model file names is read no further than the text that it says it learnt."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text import bounds
from charrnn.text.bounds import Bound, TooMuch, bound_of
from charrnn.text.recorded import find_recorded
from charrnn.text.sources import Source, find_sources

TEXT = "the quick brown fox\n"


def recorded(folder: Path) -> dict[str, Any]:
    """What a model says of a directory that it learnt."""
    text = TEXT.encode()
    return {"paths": [str(folder)], "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one text, and bounds that are soon reached."""
    monkeypatch.setattr(bounds, "MOST_FILES", 10)
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


@pytest.mark.parametrize("content", [b"\0", TEXT.encode() * (1 << 18)])
def test_a_directory_of_much_text_is_given_up(
    content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(CorpusError, match=rf"^{folder}: changed since the model learnt it; name a text"):
        find_recorded(recorded(folder), CorpusConfig(), "name a text")
    assert 1 <= len(opened) <= 4


def test_what_a_user_names_is_not_bounded(folder: Path) -> None:
    """Only what a file names is; and a table may be larger than its column."""
    for number in range(20):
        (folder / f"{number}").write_text(TEXT)
    assert len(find_sources([str(folder)], CorpusConfig()).sources) == 21
    with pytest.raises(TooMuch):
        find_sources([str(folder)], CorpusConfig(), bound=Bound(files=20))
    assert bound_of(10, column=True).characters > bound_of(10, column=False).characters
    assert bound_of(None, column=False).characters > 1 << 30
