"""What is checked of a request, whether it trains or counts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError, RunError
from charrnn.text import bounds
from charrnn.text.corpus import read_corpus
from charrnn.text.streams import HEAD
from charrnn.text.tokenizer import Tokenizer
from charrnn.training.checks import read_again, require_enough, require_one_validation, run_directory
from tests.conftest import Charrnn
from tests.model.test_file import build, parse

BOTH = ((), ("--cell", "ngram"))


def test_where_a_run_is() -> None:
    """In the directory that is named, whatever the corpus; else under runs/."""
    assert run_directory([], Path("there")) == run_directory(["a.txt"], Path("there")) == Path("there")
    assert run_directory(["texts/a.txt"], None) == Path("runs/a")
    with pytest.raises(ConfigError, match="name a corpus"):
        run_directory([], None)


def test_one_text_to_validate_on() -> None:
    """Either --val or --val-fraction."""
    require_one_validation({"val": "b.txt"})
    require_one_validation({"val_fraction": 0.2})
    with pytest.raises(ConfigError, match="give one"):
        require_one_validation({"val", "val_fraction"})


@pytest.mark.parametrize(("text", "enough"), [("abcd", True), ("ab", False)])
def test_enough_to_learn_from(tmp_path: Path, text: str, enough: bool) -> None:
    """Three characters will do; the message names the paths as they are given."""
    (tmp_path / "a.txt").write_text(text)
    corpus = read_corpus([str(tmp_path / "a.txt")], CorpusConfig(val_fraction=0.0))
    if enough:
        return require_enough(corpus, ["a.txt"])
    with pytest.raises(CorpusError, match=r"^a\.txt: 2 characters to learn from is too few; give more text"):
        require_enough(corpus, ["a.txt"])
    return None


@pytest.mark.parametrize("kind", BOTH)
def test_training_and_counting_say_the_same(charrnn: Charrnn, tmp_path: Path, kind: tuple[str, ...]) -> None:
    """Without a corpus, with two validation texts, or with too little text, one line that says so."""
    (tmp_path / "a.txt").write_text("abc\n" * 9)
    (tmp_path / "b.txt").write_text("a")
    for arguments, complaint in (
        ((), "charrnn: name a corpus: a file, a directory, or - for stdin\n"),
        (("-o", "run"), "charrnn: name a corpus: a file, a directory, or - for stdin\n"),
        (("a.txt", "--val", "a.txt", "--val-fraction", "0.1"), "charrnn: --val and --val-fraction both say"),
    ):
        result = charrnn("train", *arguments, *kind)
        assert result.status == 2
        assert result.err.startswith(complaint), result.err
    result = charrnn("train", "b.txt", *kind)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.endswith("b.txt: 1 character to learn from is too few; give more text\n")


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Tokenizer, dict[str, Any]]:
    """A directory of nine texts, their tokenizer and what a state says of them; bounds are soon reached."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.txt").write_text(f"text {number}\n" * 20)
    corpus = read_corpus([str(folder)], CorpusConfig())
    monkeypatch.setattr(bounds, "MOST_OPENED", 2)
    monkeypatch.setattr(bounds, "BESIDE", 3 * HEAD)
    return folder, corpus.tokenizer, corpus.describe()


def test_a_run_finds_its_text_again(described: tuple[Path, Tokenizer, dict[str, Any]]) -> None:
    """All of its files, however many, with two more beside them; a third is more than there may be."""
    folder, tokenizer, recorded = described
    for name in "ab":
        (folder / name).write_bytes(b"\0")
    found = read_again((), None, Path("run"), tokenizer, recorded)
    assert (found.sha256, found.files, found.skipped.files) == (recorded["sha256"], 9, 2)
    (folder / "c").write_bytes(b"\0")
    with pytest.raises(RunError) as caught:
        read_again((), None, Path("run"), tokenizer, recorded)
    assert str(caught.value) == (
        f"{folder}: not the text this run learns: more is in its directory than in the text; if it is, "
        "charrnn train NEWPATH --resume -o run"
    )
    assert read_again((str(folder),), None, Path("run"), tokenizer, recorded).sha256 == recorded["sha256"]


@pytest.mark.parametrize("claim", [{"bytes": 20}, {"files": 1}, {"bytes": 20, "files": 2**62}])
def test_a_state_that_lies_is_refused(
    described: tuple[Path, Tokenizer, dict[str, Any]], claim: dict[str, Any]
) -> None:
    """A text that is larger than the state says, or has more files, is not read to its end."""
    folder, tokenizer, recorded = described
    (folder / "more.txt").write_text("text 1\n" * 100)
    with pytest.raises(RunError, match="not the text this run learns: "):
        read_again((), None, Path("run"), tokenizer, recorded | claim)


def test_a_state_names_files_and_directories(described: tuple[Path, Tokenizer, dict[str, Any]]) -> None:
    """Anything else, or nothing, is refused with the command that names a text."""
    _, tokenizer, recorded = described
    for paths, complaint in (
        ([], "its state names no text"),
        (["/dev/zero"], "not a file or a directory"),
        (["missing"], "no such file or directory"),
    ):
        with pytest.raises(RunError, match=f"{complaint}.*; .*charrnn train NEWPATH --resume -o run$"):
            read_again((), None, Path("run"), tokenizer, recorded | {"paths": paths})


def test_the_text_to_validate_on_is_bounded_too(
    described: tuple[Path, Tokenizer, dict[str, Any]], tmp_path: Path
) -> None:
    """Of what a state names no more is read than there was; of what is named, all."""
    folder, _, _ = described
    path = tmp_path / "val.txt"
    path.write_text("text 5\n")
    corpus = read_corpus([str(folder)], CorpusConfig(val=str(path)))
    recorded = corpus.describe()
    assert (recorded["val_bytes"], recorded["val_files"]) == (7, 1)
    again = read_again((), None, Path("run"), corpus.tokenizer, recorded)
    assert again.val_sha256 == recorded["val_sha256"] == hashlib.sha256(b"text 5\n").hexdigest()
    path.write_text("text 5\ntext 6\n")
    with pytest.raises(
        CorpusError, match="changed since the model learnt it; name where it is now with --val"
    ):
        read_again((), None, Path("run"), corpus.tokenizer, recorded)
    assert read_again((), str(path), Path("run"), corpus.tokenizer, recorded).val_bytes == 14


@pytest.mark.slow
def test_a_run_of_many_files_goes_on(charrnn: Charrnn, tmp_path: Path) -> None:
    """Of more files than may be opened beside a text all are found again, without naming them."""
    (tmp_path / "texts").mkdir()
    for number in range(bounds.MOST_OPENED + 10):
        (tmp_path / "texts" / f"{number}.txt").write_text("fox\n")
    shape = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 2, "--val-fraction", 0)
    first = charrnn("train", "texts", "-o", "run", "--steps", 1, "--seq-length", 8, "-q", *shape)
    assert first.status == 0, first.err
    longer = charrnn("train", "--resume", "-o", "run", "--steps", 2, "-q")
    assert (longer.status, longer.err) == (0, "")
    path = tmp_path / "run" / "state.safetensors"
    header, description, body = parse(path.read_bytes())
    assert description["progress"]["step"] == 2
    description["corpus"]["files"] = 1
    path.write_bytes(build(header, description, body))
    refused = charrnn("train", "--resume", "-o", "run", "--steps", 3, "-q")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "texts: not the text this run learns: more is in its directory" in refused.err


def test_it_needs_no_torch() -> None:
    """Counting checks a request in the same way, and must not wait for torch."""
    code = "import charrnn.training.checks, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
