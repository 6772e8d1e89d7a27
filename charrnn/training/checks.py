"""What a request to train and one to count have in common, and are checked for. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.runs import RUNS
from charrnn.text.corpus import Corpus, corpus_name

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
