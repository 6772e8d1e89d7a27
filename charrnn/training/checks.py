"""What a request to train and one to count have in common, and are checked for. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError, RunError, counted
from charrnn.runs import RUNS
from charrnn.text.bounds import Bound, TooMuch, bound_of
from charrnn.text.corpus import Corpus, corpus_name, read_corpus
from charrnn.text.recorded import find_recorded, recorded_val
from charrnn.text.sources import gone
from charrnn.text.tokenizer import Tokenizer

FEWEST = 3  # characters to learn from


def require_paths(paths: Sequence[str]) -> None:
    """Checks that a corpus is named.

    Raises:
        ConfigError: none is.
    """
    if not paths:
        raise ConfigError("name a corpus: a file, a directory, or - for stdin")


def run_directory(paths: Sequence[str], directory: Path | None) -> Path:
    """Where a run is or will be: in the directory that is named, or in runs/NAME after the corpus.

    Raises:
        ConfigError: neither a corpus nor a directory is named.
    """
    if directory is not None:
        return directory
    require_paths(paths)
    return RUNS / corpus_name(paths[0])


def require_one_validation(asked: Collection[str]) -> None:
    """Checks the settings that are asked for, by name.

    Raises:
        ConfigError: two of them say what to validate on.
    """
    if "val" in asked and "val_fraction" in asked:
        raise ConfigError("--val and --val-fraction both say what to validate on; give one")


def require_enough(corpus: Corpus, paths: Sequence[str]) -> None:
    """Checks that there is something to learn from.

    Raises:
        CorpusError: there are not FEWEST characters; names the ``paths``.
    """
    if corpus.train_size < FEWEST:
        raise CorpusError(
            f"{', '.join(paths)}: {counted(corpus.characters, 'character')} to learn from is too few; "
            "give more text"
        )


def read_again(
    named: Sequence[str], val: str | None, directory: Path, tokenizer: Tokenizer, recorded: Mapping[str, Any]
) -> Corpus:
    """The corpus with which a run goes on; whether it is the run's own, its sha256 tells.

    A state may come from anywhere, and so may the paths in it: of these no more is read than the text that
    was learnt could be. What is named is read whatever it is.

    Args:
        named: the paths of the text; those that the run's state has, if there are none.
        val: the path of the text to validate on, if it is named.
        directory: the run's.
        tokenizer: the run's.
        recorded: the corpus as the state describes it.

    Raises:
        RunError: a text is not where it was, or there is more in its place.
        CorpusError: as ``read_corpus`` and ``find_recorded``.
    """
    again = shlex.join(["charrnn", "train", "NEWPATH", "--resume", "-o", str(directory)])
    paths = list(named) or _recorded_paths(recorded, directory, again)
    for path in paths:
        if path != "-" and not Path(path).exists():
            raise RunError(f"{path}: no such file or directory; if the text has moved, {again}")
    config = CorpusConfig.recorded(recorded, **({} if val is None else {"val": val}))
    if val is None and config.val is not None:
        find_recorded(recorded_val(recorded), config, "name where it is now with --val")
    bound = Bound() if named else bound_of(recorded)
    try:
        return read_corpus(paths, config, tokenizer, directory, bound)
    except TooMuch as error:
        names = ", ".join(paths)
        raise RunError(f"{names}: not the text this run learns: {error}; if it is, {again}") from None


def _recorded_paths(recorded: Mapping[str, Any], directory: Path, again: str) -> list[str]:
    """The paths of the text that a run's state names.

    Raises:
        RunError: there are none, or one is neither a file nor a directory; says what to do ``again``.
    """
    paths = list(recorded["paths"])
    if not paths:
        raise RunError(f"{directory}: its state names no text; {again}")
    if gone(paths):
        raise RunError(f"{directory}: its corpus came from stdin or a pipe; pipe it in again and name -")
    for path in map(Path, paths):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise RunError(f"{path}: not a file or a directory, though the run names it; {again}")
    return paths
