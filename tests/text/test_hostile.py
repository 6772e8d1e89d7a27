"""Sources that never end, explode, change, or cannot be read."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import files
from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.files import SpilledArray
from charrnn.text import recorded as recorded_module
from charrnn.text import xz
from charrnn.text.corpus import read_corpus
from charrnn.text.recorded import find_recorded, recorded_split
from charrnn.text.scored import read_text
from charrnn.text.sources import Source, find_sources
from charrnn.text.tokenizer import CharTokenizer

BYTES = CorpusConfig(tokenizer="byte")


def recorded(path: Path, **changes: Any) -> dict[str, Any]:
    """The description of a corpus, as a model file has it."""
    return read_corpus([str(path)], CorpusConfig()).describe() | changes


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_devices_are_refused(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never ends is refused at once, named, as stdin, or among the paths of a model."""
    if not Path(device).exists():
        pytest.skip(f"no {device} on this system")
    with pytest.raises(CorpusError, match=f"^{device}: a device, not a text"):
        find_sources([device], BYTES)
    with Path(device).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(CorpusError, match=r"^-: a device, not a text"):
            find_sources(["-"], BYTES)
    (tmp_path / "text").write_text("abc")
    with pytest.raises(CorpusError, match=f"^{device}: not a file or a directory, though the model names it"):
        find_recorded(recorded(tmp_path / "text", paths=[device]), BYTES, "name a text")


def test_an_empty_device_is_an_empty_text() -> None:
    """The null device is read, since it ends."""
    assert [b"".join(source.chunks()) for source in find_sources([os.devnull], BYTES).sources] == [b""]


def test_a_pipe_of_a_model_is_not_opened(tmp_path: Path) -> None:
    """A path of a model that is a pipe or a socket is refused rather than waited for."""
    (tmp_path / "text").write_text("abc")
    described = recorded(tmp_path / "text")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="stdin or a pipe"):
        find_recorded(described | {"paths": [str(tmp_path / "pipe")]}, BYTES, "name a text")
    with pytest.raises(CorpusError, match="embedded null"):
        find_recorded(described | {"paths": ["a\0b"]}, BYTES, "name a text")


def test_no_more_of_a_file_is_read_than_the_model_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded file that has grown is refused as soon as it is too long, not at its end."""
    path = tmp_path / "text"
    path.write_text("abc" * 1000)
    described = recorded(path)
    with path.open("wb") as grown:
        grown.truncate(1 << 40)  # a terabyte, of which none is on the disk
    chunks = Source.chunks
    given: list[int] = []

    def count(source: Source) -> Any:
        for chunk in chunks(source):
            given.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Source, "chunks", count)
    with pytest.raises(CorpusError, match="changed since the model learnt it"):
        find_recorded(described, BYTES, "name a text")
    assert len(given) == 1


# -- room on the disk ------------------------------------------------------------------------------------


def little_room(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Makes every disk have room for so many bytes, and memory for none."""
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    free = SimpleNamespace(f_bavail=size, f_frsize=1 / files.FILLED, f_blocks=1)
    monkeypatch.setattr(os, "statvfs", lambda _: free)


class Endless(io.RawIOBase):
    """A stream that never ends, as of ``yes``."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer."""
        buffer[:] = b"y" * len(buffer)
        return len(buffer)


def test_an_endless_pipe_ends_before_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdin is copied as long as there is room; then it is one line with the size and the remedy."""
    little_room(monkeypatch, 3 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    place = tempfile.gettempdir()
    with pytest.raises(CorpusError, match=rf"^-: after 4 MB: {place}: too little free space: 3 MB .* TMPDIR"):
        find_sources(["-"], BYTES)


def test_a_copy_of_stdin_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy on the disk can be read twice, and is gone with the process, since it is in no directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 1000)
    data = np.random.default_rng(0).bytes(3 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    (source,) = find_sources(["-"], BYTES).sources
    assert isinstance(source.copy, np.memmap)
    assert list(tmp_path.iterdir()) == []
    assert b"".join(source.chunks()) == b"".join(source.chunks()) == data


def test_an_array_leaves_some_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that spills does not fill the disk."""
    little_room(monkeypatch, 1000)
    array = SpilledArray(np.dtype(np.uint8))
    array.add(np.zeros(1000, np.uint8))
    with pytest.raises(OSError, match="too little free space") as caught:
        array.add(np.zeros(1, np.uint8))
    assert caught.value.filename == tempfile.gettempdir()


@pytest.mark.parametrize("kept", [False, True])
def test_a_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """A small file whose text has no room is refused while it is counted; nothing is left."""
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"a" * (8 << 20)))
    little_room(monkeypatch, 2 << 20)
    directory = tmp_path / "run" if kept else None
    began = time.perf_counter()
    with pytest.raises(OSError, match="too little free space") as caught:
        read_corpus([str(tmp_path / "bomb.gz")], CorpusConfig(), directory=directory)
    assert caught.value.filename == str(directory or tempfile.gettempdir())
    assert time.perf_counter() - began < 5
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.gz"]


def test_a_text_in_memory_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a text can be read that is not kept there."""
    (tmp_path / "text").write_text("abc")
    memory = files.IN_MEMORY
    little_room(monkeypatch, 0)
    monkeypatch.setattr("charrnn.files.IN_MEMORY", memory)
    assert read_corpus([str(tmp_path / "text")], CorpusConfig()).characters == 3


def test_what_became_of_a_small_file_is_told(tmp_path: Path) -> None:
    """A text more than a thousand times its compressed file is listed with both sizes, others are not."""
    (tmp_path / "bomb.xz").write_bytes(lzma.compress(b"a" * 2_000_000))
    (tmp_path / "good.gz").write_bytes(gzip.compress(b"a" * 2000))
    (tmp_path / "plain").write_text("a")
    paths = [str(tmp_path / name) for name in ("bomb.xz", "good.gz", "plain")]
    size = (tmp_path / "bomb.xz").stat().st_size
    assert read_corpus(paths, CorpusConfig()).expanded == ((paths[0], size, 2_000_000),)


# -- .xz -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sampled_from([0, 4, 8]), st.integers(1, 50)
)
def test_xz_is_read_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], padding: int, size: int
) -> None:
    """Streams after one another, with padding that the format allows, are one text, read in any pieces."""
    path = tmp_path_factory.mktemp("xz") / "text.xz"
    path.write_bytes(b"".join(lzma.compress(text) + bytes(padding) for text in texts))
    with xz.XzFile(path) as own:
        pieces = list(iter(lambda: own.read(size), b""))
    assert all(len(piece) <= size for piece in pieces)
    assert b"".join(pieces) == b"".join(texts)


def test_memory_of_xz_is_bounded(tmp_path: Path) -> None:
    """A file that asks for gigabytes of memory is refused, with what helps."""
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    path = tmp_path / "greedy.xz"
    path.write_bytes(lzma.compress(b"abc", filters=greedy))
    with pytest.raises(CorpusError, match=r"greedy\.xz: takes more than 256 MB of memory to decompress"):
        read_corpus([str(path)], CorpusConfig())


# -- what changes while it is read -----------------------------------------------------------------------


@pytest.mark.parametrize("second", ["abd", "ab", "", "abcd", "xyz", None])
@pytest.mark.parametrize("given", [False, True])
def test_no_text_is_learnt_that_was_not_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str | None, given: bool
) -> None:
    """A file that is another one the second time it is read, even of the same length, is an error."""
    path = tmp_path / "text"
    path.write_text("abc")
    chunks = Source.chunks
    readings = iter(["abc", second])

    def changing(source: Source) -> Any:
        text = next(readings)
        if text is None:
            source.path.unlink()
        else:
            source.path.write_text(text)
        return chunks(source)

    monkeypatch.setattr(Source, "chunks", changing)
    expected = "No such file" if second is None else "changed while it was read"
    with pytest.raises(CorpusError, match=expected):
        read_corpus([str(path)], CorpusConfig(), CharTokenizer("abcdxyz") if given else None)


def test_a_text_that_changes_is_not_scored_twice(tmp_path: Path) -> None:
    """A scored text that is another one when it is read again is an error, not a figure of both."""
    path = tmp_path / "text"
    path.write_text("abcabc")
    text = read_text(str(path), CharTokenizer("abc"), CorpusConfig())
    assert "".join(map(str, text.pieces())) == "abcabc"
    for changed in ("abcabd", "abc", "", "abcabca"):
        path.write_text(changed)
        with pytest.raises(CorpusError, match="changed while it was read"):
            list(text.pieces())


@pytest.mark.parametrize("lines", [False, True])
def test_a_models_text_is_the_one_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bool
) -> None:
    """The text of a model that changes right after its sha256 was compared is not used."""
    path = tmp_path / "text"
    path.write_text("a\nb\n" * 100)
    corpus = read_corpus([str(path)], CorpusConfig(lines=lines))
    find = recorded_module.find_recorded

    def change(*arguments: Any) -> Any:
        found = find(*arguments)
        path.write_text("b\na\n" * 100)
        return found

    monkeypatch.setattr(recorded_module, "find_recorded", change)
    with pytest.raises(CorpusError, match="text: changed while it was read"):
        recorded_split(corpus.describe(), corpus.tokenizer, "validation")


# -- what cannot be read ---------------------------------------------------------------------------------


def test_an_unreadable_directory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that may not be looked into is not one without texts."""
    (tmp_path / "texts").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("texts"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CorpusError, match="texts: Permission denied"):
        find_sources([str(tmp_path)], CorpusConfig())


def test_what_a_run_writes_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock and the cache of a run that is made inside a directory of texts are not learnt."""
    from charrnn.training.lock import RunLock

    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    (tmp_path / "text").write_text("abc")
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    for _ in range(2):
        corpus = read_corpus([str(tmp_path)], BYTES, directory=tmp_path / "run")
        assert (corpus.characters, corpus.files, corpus.skipped.files) == (3, 1, 0)
    lock.release()
