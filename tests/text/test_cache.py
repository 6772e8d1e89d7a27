"""Kept ids are used only if they are those of the text."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import CorpusConfig
from charrnn.text.cache import HEADER, MAGIC, CachedIds, is_cache
from charrnn.text.corpus import read_corpus
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer

TEXT = "to be or not to be"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
TOKENIZER = CharTokenizer("".join(sorted(set(TEXT))))


def cached(directory: Path, text: str = TEXT, tokenizer: Tokenizer = TOKENIZER) -> CachedIds:
    """The cache of a text, written."""
    cache = CachedIds(directory, hashlib.sha256(text.encode()).hexdigest(), len(text), tokenizer)
    cache.write([tokenizer.fold(tokenizer.to_symbols(text))[0]])
    return cache


def test_written_ids_are_read(tmp_path: Path) -> None:
    """Ids come back, memory-mapped, under a name of sixteen hexadecimal digits."""
    cache = cached(tmp_path)
    ids = cache.load()
    assert isinstance(ids, np.memmap)
    assert TOKENIZER.decode_symbols(ids) == TEXT
    assert is_cache(cache.path)
    assert list(tmp_path.iterdir()) == [cache.path]


def test_ids_of_anything_else_are_not_read(tmp_path: Path) -> None:
    """Under the name of one text's cache, that of another text, vocabulary or length is not taken."""
    cache = cached(tmp_path / "a")
    for other in (
        cached(tmp_path / "b", TEXT[::-1]),
        cached(tmp_path / "c", TEXT + "e"),
        cached(tmp_path / "d", TEXT, CharTokenizer(" benortxyz")),
        cached(tmp_path / "e", TEXT, ByteTokenizer()),
    ):
        cache.path.write_bytes(other.path.read_bytes())
        assert cache.load() is None


@given(st.data())
def test_no_damage_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut off anywhere, empty, or with any byte changed, the file is made anew."""
    cache = cached(tmp_path_factory.mktemp("cache"))
    whole = bytearray(cache.path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole.copy()
        damaged[place] ^= data.draw(st.integers(1, 255))
    cache.path.write_bytes(damaged)
    found = cache.load()
    padding = whole[:HEADER].rstrip().endswith(b"}") and len(whole[:HEADER].rstrip()) <= place < HEADER
    assert found is None or (padding and TOKENIZER.decode_symbols(found) == TEXT)


def test_ids_beyond_the_vocabulary_are_not_read(tmp_path: Path) -> None:
    """A file that fits in all but its ids, checksum included, is not taken."""
    cache = CachedIds(tmp_path, DIGEST, len(TEXT), TOKENIZER)
    cache.write([np.full(len(TEXT), TOKENIZER.size, np.uint8)])
    assert cache.load() is None


@pytest.mark.parametrize("content", [b"", b"x" * 1000, MAGIC, MAGIC + b"[" * 100_000])
def test_a_training_does_not_trust_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Whatever lies under the cache's name, the ids that are learnt are those of the text."""
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    (tmp_path / "text").write_text(TEXT)
    first = read_corpus([str(tmp_path / "text")], CorpusConfig(), directory=tmp_path / "run")
    assert first.cache is not None
    first.cache.write_bytes(content)
    second = read_corpus([str(tmp_path / "text")], CorpusConfig(), directory=tmp_path / "run")
    assert second.cache == first.cache
    assert second.tokenizer.decode_symbols(second.ids) == TEXT


def test_what_is_no_cache(tmp_path: Path) -> None:
    """Neither a name nor a beginning alone makes a file ours, and a pipe is not waited for."""
    ours = cached(tmp_path).path
    for name in ("ids-train.npy", "ids-1.bin", ours.name + "x", "x" + ours.name, ours.name.upper()):
        (tmp_path / name).write_bytes(ours.read_bytes())
        assert not is_cache(tmp_path / name)
    ours.write_bytes(b"mine")
    assert not is_cache(ours)
    assert not is_cache(tmp_path / f"ids-{'0' * 16}.bin")


def test_lines_of_other_files_have_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are the same text together, but have other lines, do not share their ids."""
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    found = []
    for parts in (("ab\nc", "d\nef"), ("ab\ncd\ne", "f")):
        paths = [tmp_path / str(number) for number in range(2)]
        for path, part in zip(paths, parts, strict=True):
            path.write_text(part)
        config = CorpusConfig(lines=True, val_fraction=0)
        corpus = read_corpus([str(path) for path in paths], config, directory=tmp_path / "run")
        found.append((corpus.sha256, corpus.tokenizer.decode_symbols(corpus.ids), corpus.cache))
    assert len({sha256 for sha256, _, _ in found}) == 1
    assert [text for _, text, _ in found] == ["ab\nc\nd\nef\n", "ab\ncd\ne\nf\n"]
    assert len({cache for _, _, cache in found}) == 2
