"""Files, directories, compressed files and pipes to ids."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text import sources as sources_module
from charrnn.text.corpus import Corpus, corpus_name, read_corpus
from charrnn.text.sources import Source, find_sources
from charrnn.text.tokenizer import CharTokenizer
from tests.conftest import SHARED

BOM = b"\xef\xbb\xbf"


def read(*paths: object, **settings: Any) -> Corpus:
    """The corpus at these paths."""
    return read_corpus([str(path) for path in paths], CorpusConfig(**settings))


def text_of(corpus: Corpus) -> str:
    """A corpus as text again."""
    return corpus.tokenizer.decode(corpus.ids)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where to write a corpus."""
    return tmp_path / "text.txt"


# -- decoding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "shift_jis", "utf-7"])
@given(st.text("ab\r\n", max_size=40), st.text("aéÿ漢\U0001f600\r\n", max_size=40), st.integers(1, 7))
def test_chunks_do_not_change_a_text(encoding: str, plain: str, varied: str, chunk: int) -> None:
    """However small the chunks, a text decodes to what it decodes to as a whole."""
    text = plain + "".join(c for c in varied if c.encode(encoding, "ignore")) + "!"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "CHUNK", chunk)
        path = Path(folder, "text")
        path.write_bytes(text.encode(encoding))
        assert text_of(read(path, encoding=encoding)) == text
        unix = text.replace("\r\n", "\n").replace("\r", "\n")
        assert text_of(read(path, encoding=encoding, newlines="unix")) == unix


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 1 << 20])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize(
    ("data", "offset", "byte"),
    [
        (b"caf\xe9 au lait", 3, "e9"),
        (b"\xff", 0, "ff"),
        ("漢字".encode() + b"\x80", 6, "80"),
        ("ab漢".encode()[:-1], 2, "e6"),
        (b"0123456789\xc3(", 10, "c3"),
    ],
)
def test_undecodable_bytes_are_named_with_their_offset(
    file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, mark: bytes, data: bytes, offset: int, byte: str
) -> None:
    """The first byte that is no UTF-8 is named with its true offset, mark and chunk borders or not."""
    monkeypatch.setattr(sources_module, "CHUNK", chunk)
    file.write_bytes(mark + data)
    with pytest.raises(CorpusError) as caught:
        read(file)
    assert str(caught.value) == (
        f"{file}: byte 0x{byte} is not utf-8, at offset {len(mark) + offset}; "
        "name the text's --encoding, or learn bytes with --tokenizer byte"
    )


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_nul_bytes_are_no_text(file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """A NUL byte, by which binary files are known, is refused with its offset."""
    monkeypatch.setattr(sources_module, "CHUNK", chunk)
    file.write_bytes(b"ab\ncd\0ef")
    with pytest.raises(CorpusError, match=r"a NUL byte, at offset 5; .*--tokenizer byte"):
        read(file)


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_utf16_errors_have_offsets_too(file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """In UTF-16, the offset of half a surrogate pair counts the mark and all bytes before it."""
    monkeypatch.setattr(sources_module, "CHUNK", chunk)
    file.write_bytes(b"\xff\xfe" + "abc".encode("utf-16-le") + b"\x00\xdc" + "d".encode("utf-16-le"))
    with pytest.raises(CorpusError, match="is not utf-16, at offset 8;"):
        read(file, encoding="utf-16")


def test_utf16_without_a_mark_is_refused(file: Path) -> None:
    """UTF-16 of unknown byte order is an error with a remedy, not a guess or a traceback."""
    file.write_bytes("abc".encode("utf-16-be"))
    with pytest.raises(CorpusError, match=r"at offset 0; name the text's --encoding"):
        read(file, encoding="utf-16")
    assert text_of(read(file, encoding="utf-16-be")) == "abc"


def test_a_mark_is_no_character(file: Path) -> None:
    """A UTF-8 byte-order mark at the beginning is dropped; one further on is a character."""
    file.write_bytes(BOM + "a\ufeffb".encode())
    corpus = read(file)
    assert text_of(corpus) == "a\ufeffb"
    assert corpus.characters == 3


def test_line_ends_stay_as_they_are(file: Path) -> None:
    """CR LF, CR and LF all come through, unless ``newlines`` makes them one."""
    file.write_bytes(b"a\r\nb\rc\n")
    assert text_of(read(file)) == "a\r\nb\rc\n"
    assert text_of(read(file, newlines="unix")) == "a\nb\nc\n"


def test_unknown_encodings_are_refused() -> None:
    """An encoding that does not exist, or that is none of text, is an error of the flag."""
    for name in ("utf-9", "rot13", "hex", "undefined"):
        with pytest.raises(ConfigError, match=f"--encoding {name}: no such encoding"):
            CorpusConfig(encoding=name)


# -- what a corpus knows of its text ---------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50))
def test_a_corpus_is_its_text(text: str) -> None:
    """Ids, vocabulary, counts and hash are those of the file's text."""
    text += "!"
    data = text.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text")
        path.write_bytes(data)
        corpus = read(path)
    if data.startswith(BOM):
        text = text[1:]
    assert text_of(corpus) == text
    assert corpus.tokenizer.size == len(set(text))
    assert (corpus.characters, corpus.bytes) == (len(text), len(text.encode()))
    assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_is_of_the_text_in_utf8(file: Path) -> None:
    """The same text in another encoding, or compressed, is the same corpus."""
    file.write_bytes("café".encode("latin-1"))
    corpus = read(file, encoding="latin-1")
    assert corpus.sha256 == hashlib.sha256("café".encode()).hexdigest()
    assert (corpus.characters, corpus.bytes) == (4, 5)


def test_bytes_are_learnt_as_they_are(file: Path) -> None:
    """With ``--tokenizer byte`` any file is a corpus of its bytes."""
    data = bytes(range(256)) + BOM + b"\r\n\xff"
    file.write_bytes(data)
    corpus = read(file, tokenizer="byte")
    assert corpus.tokenizer.kind == "byte"
    assert corpus.ids.dtype == np.uint8
    assert corpus.ids.tobytes() == data
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()


def test_nothing_of_the_text_is_in_the_description(file: Path) -> None:
    """A corpus describes itself by name, place, sizes, hash and settings, and never by its text."""
    file.write_text("secretword secretword")
    described = read(file, min_count=2).describe()
    assert "secretword" not in str(described)
    assert described["name"] == "text"
    assert described["paths"] == [str(file)]
    assert (described["min_count"], described["val_fraction"]) == (2, 0.1)


@pytest.mark.parametrize(("different", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_ids_are_as_small_as_the_vocabulary_allows(file: Path, different: int, dtype: type[Any]) -> None:
    """The ids' type is the smallest that holds the vocabulary's size."""
    text = "".join(chr(point) for point in range(0x10000, 0x10000 + different))
    file.write_text(text, encoding="utf-8")
    corpus = read(file)
    assert corpus.ids.dtype == dtype
    assert text_of(corpus) == text


def test_rare_characters_become_the_unknown_symbol(file: Path) -> None:
    """``min_count`` folds what is rarer into one id, the last."""
    file.write_text("aaabbbz")
    corpus = read(file, min_count=2)
    assert corpus.ids.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert corpus.tokenizer.unknown == 2


def test_a_given_tokenizer_is_used(file: Path) -> None:
    """With a tokenizer, its ids are used, and its unknown symbol for what it lacks."""
    file.write_text("ax")
    config = CorpusConfig()
    assert read_corpus([str(file)], config, CharTokenizer("abc", unknown=True)).ids.tolist() == [0, 3]
    with pytest.raises(CorpusError, match=r"it holds 'x'; give that text back"):
        read_corpus([str(file)], config, CharTokenizer("abc"))


def test_large_corpora_are_mapped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, ids live in a mapped file and are the same."""
    file.write_text("to be or not to be")
    in_memory = read(file)
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    mapped = read(file)
    assert isinstance(mapped.ids, np.memmap)
    assert not isinstance(in_memory.ids, np.memmap)
    assert mapped.ids.tolist() == in_memory.ids.tolist()


def test_large_corpora_are_kept_beside_the_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a directory the ids are written there once: a second reading hashes the text and maps them."""
    file.write_text("to be or not to be")
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    run = tmp_path / "runs" / "play"
    first = read_corpus([str(file)], CorpusConfig(), directory=run)
    assert first.cache is not None
    assert list(run.iterdir()) == [first.cache]
    with monkeypatch.context() as patch:
        patch.setattr("charrnn.text.cache.CachedIds.write", None)  # encoding would be an error
        second = read_corpus([str(file)], CorpusConfig(), first.tokenizer, run)
    assert isinstance(second.ids, np.memmap)
    assert text_of(second) == "to be or not to be"
    assert second.cache == first.cache


@pytest.mark.parametrize("changed", ["to be or not to bE", "to be"])
def test_kept_ids_are_those_of_the_text(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Ids that were kept of another text, or with another vocabulary, are not taken for this one's."""
    file.write_text("to be or not to be")
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    caches = {read_corpus([str(file)], CorpusConfig(), directory=tmp_path).cache}
    wider = read_corpus([str(file)], CorpusConfig(), CharTokenizer(" Ebenortx"), tmp_path)
    assert text_of(wider) == "to be or not to be"
    file.write_text(changed)
    other = read_corpus([str(file)], CorpusConfig(), directory=tmp_path)
    assert text_of(other) == changed
    assert len(caches | {wider.cache, other.cache}) == 3


def test_what_cannot_be_kept_leaves_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where encoding fails, neither a part of the ids nor a new directory is left."""
    file.write_text("to be")
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    run = tmp_path / "run"
    with pytest.raises(CorpusError, match="not the text this vocabulary was made from"):
        read_corpus([str(file)], CorpusConfig(), CharTokenizer(" bot"), run)
    assert not run.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_for_mapped_ids_names_the_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk of temporary files is an OSError that names the directory."""
    file.write_text("to be")
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left on device") as caught:
        read(file)
    assert caught.value.filename == tempfile.gettempdir()


@pytest.mark.parametrize(
    ("size", "fraction", "train"),
    [(1_115_394, 0.1, 1_003_854), (100, 0.0, 100), (10, 0.25, 7), (3, 0.1, 2)],
)
def test_splits_have_the_sizes_of_the_literature(file: Path, size: int, fraction: float, train: int) -> None:
    """The training part is the rounded-down share: tiny Shakespeare's is nanoGPT's, to the character."""
    file.write_text(("abcdefg" * size)[:size])
    corpus = read(file, val_fraction=fraction)
    assert (corpus.train_size, len(corpus.train), len(corpus.validation)) == (train, train, size - train)
    assert np.concatenate([corpus.train, corpus.validation]).tolist() == corpus.ids.tolist()


@pytest.mark.skipif(not SHARED.exists(), reason="the well-known corpora are not beside the project")
def test_tiny_shakespeare_splits_as_everywhere() -> None:
    """Tiny Shakespeare has 65 characters, 1,003,854 to learn from and 111,540 held out."""
    corpus = read(SHARED / "shakespeare.txt")
    assert corpus.tokenizer.size == 65
    assert (len(corpus.train), len(corpus.validation)) == (1_003_854, 111_540)


# -- where a text comes from -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files_are_read(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    """A compressed text is its content; cut short or garbled it is an error with its name."""
    text = "Full fathom five thy father lies;\n" * 40
    path = tmp_path / f"ariel.txt{suffix}"
    packed = compress(text.encode())
    path.write_bytes(packed)
    corpus = read(path)
    assert text_of(corpus) == text
    assert corpus.name == "ariel"
    for damaged in (packed[:-5], packed[: len(packed) // 2], b"not at all compressed", packed[:20] * 3):
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match=f"^{path}: "):
            read(path)


def test_several_files_are_joined_as_given(tmp_path: Path) -> None:
    """Files are read in the order of the command line, and each may begin with a mark."""
    (tmp_path / "b").write_bytes(BOM + b"second ")
    (tmp_path / "a").write_bytes(BOM + b"first")
    corpus = read(tmp_path / "b", tmp_path / "a")
    assert text_of(corpus) == "second first"
    assert (corpus.files, corpus.name) == (2, "b")


def test_directories_are_read_in_order(tmp_path: Path) -> None:
    """A directory's text files are read in the order of their paths; the others are counted."""
    root = tmp_path / "library"
    (root / "m").mkdir(parents=True)
    (root / ".git").mkdir()
    for name, data in {
        "z.txt": b"5",
        "a.txt": b"1",
        "m/deep.txt": b"3",
        "m.txt": b"2",
        "n.gz": gzip.compress(b"4"),
        "image.png": b"\x89PNG\0\0",
        "latin.txt": b"\xe9",
        "empty.txt": b"",
        ".hidden": b"hidden",
        ".git/config": b"hidden",
        "broken.gz": gzip.compress(b"text")[:-3],
    }.items():
        (root / name).write_bytes(data)
    (root / "dangling").symlink_to("nowhere")
    corpus = read(root)
    assert text_of(corpus) == "".join(
        {"a.txt": "1", "m.txt": "2", "m/deep.txt": "3", "n.gz": "4", "z.txt": "5"}[name]
        for name in sorted(["a.txt", "m.txt", "m/deep.txt", "n.gz", "z.txt"])
    )
    assert (corpus.files, corpus.name) == (5, "library")
    # The image, the Latin-1, the empty, the hidden, the broken and the dangling one; what lies in a hidden
    # directory is not looked at.
    assert corpus.skipped.files == 6


def test_directories_of_bytes_keep_binary_files(tmp_path: Path) -> None:
    """A byte corpus takes every file that is neither hidden nor empty."""
    (tmp_path / "image").write_bytes(b"\0\1")
    (tmp_path / "text").write_bytes(b"ab")
    (tmp_path / ".hidden").write_bytes(b"cd")
    corpus = read(tmp_path, tokenizer="byte")
    assert corpus.ids.tobytes() == b"\0\1ab"
    assert corpus.skipped.files == 1


def test_directories_without_text_are_refused(tmp_path: Path) -> None:
    """A directory that holds no text is an error that says how many files were passed over."""
    (tmp_path / "image").write_bytes(b"\0\1")
    with pytest.raises(CorpusError, match=r"no text files in this directory \(1 file skipped"):
        read(tmp_path)


def test_stdin_is_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads stdin to its end, once, and the corpus is named for it."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("piped é\n".encode())))
    corpus = read("-")
    assert text_of(corpus) == "piped é\n"
    assert (corpus.name, corpus.paths) == ("stdin", ("-",))


def test_closed_stdin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no stdin, ``-`` says so."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="stdin is closed"):
        read("-")


def test_a_named_pipe_is_a_corpus(tmp_path: Path) -> None:
    """A pipe, which gives its text only once, can be learnt like a file."""
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"once only",))
    writer.start()
    try:
        corpus = read(pipe)
    finally:
        writer.join(timeout=10)
    assert text_of(corpus) == "once only"


@pytest.mark.parametrize("data", [b"", BOM])
def test_empty_files_are_refused(file: Path, data: bytes) -> None:
    """A file without a character in it is an error that names it."""
    file.write_bytes(data)
    with pytest.raises(CorpusError, match=f"^{file}: empty; "):
        read(file)


def test_missing_files_are_refused(file: Path) -> None:
    """A path where nothing is is an error that names it, even after one that exists."""
    with pytest.raises(CorpusError, match=f"^{file}: no such file or directory"):
        read(__file__, file)


def test_unnamed_corpora_are_refused() -> None:
    """An empty name, as of a shell's unset variable, does not mean the current directory."""
    with pytest.raises(CorpusError, match="an empty path"):
        read("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_refused(file: Path) -> None:
    """A file without read permission is an error with the system's reason."""
    file.write_text("secret")
    file.chmod(0)
    with pytest.raises(CorpusError, match=f"^{file}: Permission denied"):
        read(file)


@pytest.mark.parametrize("second", ["abcd", "ab"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_text_that_changes_while_it_is_read_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, kept: bool
) -> None:
    """A file that another program is writing is an error, never a corpus with a false tail."""
    file.write_text("abc")
    chunks = Source.chunks
    readings = iter(["abc", second])

    def changing(source: Source) -> Any:
        source.path.write_text(next(readings))
        return chunks(source)

    monkeypatch.setattr(Source, "chunks", changing)
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0 if kept else 1 << 20)
    directory = tmp_path / "run" if kept else None
    with pytest.raises(CorpusError, match="changed while it was read"):
        read_corpus([str(file)], CorpusConfig(), CharTokenizer("abcd"), directory)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("shakespeare.txt", "shakespeare"),
        ("a/b/poems.md.xz", "poems"),
        ("data.tar.gz", "data.tar"),
        ("v1.2.txt", "v1.2"),
        ("program.py", "program.py"),
        (".txt", ".txt"),
        ("-", "stdin"),
        ("/", "corpus"),
    ],
)
def test_runs_are_named_after_their_text(path: str, name: str) -> None:
    """A corpus's name is its file's without directory, compression and text suffixes."""
    assert corpus_name(path) == name


def test_the_current_directory_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``.`` is named after the directory it stands for, suffixes and all."""
    (tmp_path / "notes.txt").mkdir()
    monkeypatch.chdir(tmp_path / "notes.txt")
    assert corpus_name(".") == "notes.txt"


def test_sources_keep_the_names_that_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages call a file what the user called it."""
    (tmp_path / "a").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert [source.name for source in find_sources(["a", "./a"], CorpusConfig()).sources] == ["a", "./a"]


def test_binary_files_are_not_latin_text(tmp_path: Path) -> None:
    """With an encoding in which every byte decodes, a NUL byte still tells what is not text."""
    (tmp_path / "text.txt").write_bytes("né\n".encode("latin-1") * 5)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    corpus = read(tmp_path, encoding="latin-1")
    assert (corpus.files, corpus.skipped.files) == (1, 1)
