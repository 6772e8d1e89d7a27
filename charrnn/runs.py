"""Run directories, and finding models by name."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from pathlib import Path

from charrnn.errors import ModelFileError, RunError
from charrnn.files import CACHED_IDS, LOG_FILE, MODEL_FILE, PART, STATE_FILE

RUNS = Path("runs")
OURS = (MODEL_FILE, STATE_FILE, LOG_FILE)
BOARD = "events.out.tfevents.*"  # what --tensorboard writes


def find_model(name: str | None) -> Path:
    """The model file that ``--model`` selects: a file, a run directory, or the name of a run under runs/.

    Without a name it is $CHARRNN_MODEL, else the newest model of a run under runs/.

    Raises:
        ModelFileError: there is no such model.
    """
    name = name or os.environ.get("CHARRNN_MODEL") or None
    if name is None:
        return _newest_model()
    empty = []
    for path in (Path(name), RUNS / name):
        if path.is_dir():
            if (path / MODEL_FILE).exists():
                return path / MODEL_FILE
            empty.append(path)  # may be the texts of the run with the same name
        elif path.exists():
            return path
    if empty:
        raise ModelFileError(f"{empty[-1]}: no {MODEL_FILE} in this directory (yet)")
    raise ModelFileError(f"{name}: no such model file, run directory, or run under {RUNS}/")


def _newest_model() -> Path:
    found = []
    for path in RUNS.glob(f"*/{MODEL_FILE}"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    if not found:
        raise ModelFileError(
            f"no model under {RUNS}/; train one (charrnn train TEXT) or name one with --model"
        )
    return max(found)[1]


def refuse_occupied(directory: Path) -> None:
    """Checks that a new run would overwrite nothing; call it also before reading a long corpus.

    A cache of ids, left by a training that did not start, does not count: it is reused or replaced.

    Raises:
        RunError: the directory contains something, or cannot be read.
    """
    try:
        occupied = directory.exists() and (
            not directory.is_dir() or any(not _is_cache(path) for path in directory.iterdir())
        )
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror}") from None
    if occupied:
        raise RunError(
            f"{directory}: exists; go on with --resume, replace it with --force, "
            "or write elsewhere with --output-dir"
        )


def _is_cache(path: Path) -> bool:
    return fnmatch.fnmatch(path.name.removesuffix(PART), CACHED_IDS.format("*"))


def prepare_run(directory: Path, *, force: bool, cache: Path | None = None) -> None:
    """Creates the directory of a new run; ``force`` removes the files of a former run from it, nothing else.

    Caches of ids there are removed, except the new run's ``cache``.

    Raises:
        RunError: it contains something and ``force`` is not set, or it cannot be created.
    """
    if not force:
        refuse_occupied(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror}") from None
    for name in OURS:
        for left in (name, name + PART):  # the second is left by a process killed while writing
            (directory / left).unlink(missing_ok=True)
    for path in directory.iterdir():
        if (_is_cache(path) and path != cache) or fnmatch.fnmatch(path.name, BOARD):
            path.unlink()


def run_name(model: Path) -> str:
    """The shortest name by which ``find_model`` finds this file and that does not look like a flag.

    >>> run_name(Path("runs/shakespeare/model.safetensors")), run_name(Path("old/m.safetensors"))
    ('shakespeare', 'old/m.safetensors')
    """
    if model.name != MODEL_FILE:
        return str(model)
    directory = model.parent
    hidden = Path(directory.name).exists()  # by a text with the same name, for example
    short = directory.parent == RUNS and not hidden and not directory.name.startswith("-")
    return directory.name if short else str(directory)
