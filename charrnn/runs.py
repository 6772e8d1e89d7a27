"""Run directories: where a training writes, and which model a command means."""

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
    """The model file that ``--model`` means: a file, a run directory, or the name of a run under runs/.

    Without a name: $CHARRNN_MODEL, else the run under runs/ whose model is newest.

    Raises:
        ModelFileError: there is none.
    """
    name = name or os.environ.get("CHARRNN_MODEL") or None
    if name is None:
        return _newest_model()
    empty = []
    for path in (Path(name), RUNS / name):
        if path.is_dir():
            if (path / MODEL_FILE).exists():
                return path / MODEL_FILE
            empty.append(path)  # perhaps the texts that the run of the same name learnt
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
    """Lets a new run begin only where nothing is; to be asked before a long corpus is read, too.

    Ids that were kept for a training which then did not begin are nothing: they are taken or replaced.

    Raises:
        RunError: something is there, or cannot be looked at.
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
    """Makes the directory of a new run; ``force`` removes a former run's files from it, nothing else.

    Ids kept there are removed unless they are the new run's ``cache``.

    Raises:
        RunError: it holds something and ``force`` is not set, or it cannot be made.
    """
    if not force:
        refuse_occupied(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror}") from None
    for name in OURS:
        for left in (name, name + PART):  # a kill while writing leaves the second
            (directory / left).unlink(missing_ok=True)
    for path in directory.iterdir():
        if (_is_cache(path) and path != cache) or fnmatch.fnmatch(path.name, BOARD):
            path.unlink()


def run_name(model: Path) -> str:
    """The shortest name by which ``find_model`` finds this file, and no command takes for a flag.

    >>> run_name(Path("runs/shakespeare/model.safetensors")), run_name(Path("old/m.safetensors"))
    ('shakespeare', 'old/m.safetensors')
    """
    if model.name != MODEL_FILE:
        return str(model)
    directory = model.parent
    hidden = Path(directory.name).exists()  # behind a text, say, of which the run has its name
    short = directory.parent == RUNS and not hidden and not directory.name.startswith("-")
    return directory.name if short else str(directory)
