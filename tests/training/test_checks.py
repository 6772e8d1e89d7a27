"""What is checked of a request, whether it trains or counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import read_corpus
from charrnn.training.checks import require_enough, require_one_validation, run_directory
from tests.conftest import Charrnn

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


def test_it_needs_no_torch() -> None:
    """Counting checks a request in the same way, and must not wait for torch."""
    code = "import charrnn.training.checks, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
