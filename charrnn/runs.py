"""Run directories, and finding models by name."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from charrnn.errors import ModelFileError, RunError
from charrnn.files import (
    LOCK_FILE,
    LOG_FILE,
    MODEL_FILE,
    STATE_FILE,
    create_directories,
    holds_run,
    is_input,
    is_run_file,
    lock_owner,
    parts_in,
)
from charrnn.model.file import read_header
from charrnn.text.cache import is_cache

RUNS = Path("runs")
SHIPPED = Path(__file__).parent / "pretrained"  # models that are part of the package
OURS = (STATE_FILE, LOG_FILE, MODEL_FILE)  # what is worth most last, where they are removed in turn


def find_model(name: str | None) -> Path:
    """The model file that ``--model`` selects: a file, a run directory, a run's name, or a shipped model's.

    Without a name it is $CHARRNN_MODEL, else the newest model of a run under runs/, else a shipped model.

    Raises:
        ModelFileError: there is no such model.
    """
    if name == "":
        raise ModelFileError("'': an empty name of a model; is a shell variable unset?")
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
    for path in shipped_models():
        if path.stem == name:
            return path
    raise ModelFileError(f"{name}: no such model file, run directory, or run under {RUNS}/")


def shipped_models() -> list[Path]:
    """The models that are part of the package, by name."""
    return sorted(SHIPPED.glob("*.safetensors"))


def _newest_model() -> Path:
    found = []
    for path in RUNS.glob(f"*/{MODEL_FILE}"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    if found:
        return max(found)[1]
    if shipped := shipped_models():
        return shipped[0]
    raise ModelFileError(f"no model under {RUNS}/; train one (charrnn train TEXT) or name one with --model")


def is_occupied(directory: Path) -> bool:
    """Whether there is something in a directory that a new run must not replace unasked.

    What a training leaves that was killed before its first state does not count: its lock, its cache of ids,
    and files that it did not complete.

    Raises:
        OSError: the directory cannot be read.
    """
    if not directory.is_dir():
        return os.path.lexists(directory)
    left = set(parts_in(directory))
    return any(
        not (path in left or is_cache(path) or (path.name == LOCK_FILE and lock_owner(path)))
        for path in directory.iterdir()
    )


def refuse_occupied(directory: Path) -> None:
    """Checks that a new run would overwrite nothing; call it also before reading a long corpus.

    Raises:
        RunError: the directory is occupied, or cannot be read.
    """
    try:
        occupied = is_occupied(directory)
        resumable = occupied and (directory / STATE_FILE).exists()
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror}") from None
    if occupied:
        resume = "go on with --resume, replace it" if resumable else "replace the run in it, if there is one,"
        raise RunError(f"{directory}: exists; {resume} with --force, or write elsewhere with --output-dir")


def another_directory(directory: Path) -> Path:
    """A directory beside that of a run which is not there yet: NAME-2, NAME-3 and so on."""
    return next(path for n in itertools.count(2) if not (path := Path(f"{directory}-{n}")).exists())


def make_directory(directory: Path) -> list[Path]:
    """Creates the directory of a run, and returns those that did not exist before, the deepest first.

    Raises:
        RunError: it cannot be created.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        create_directories(directory)
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror}") from None
    return made


def prepare_run(
    directory: Path, *, force: bool, cache: Path | None = None, inputs: Iterable[Path] = ()
) -> None:
    """Creates the directory of a new run; ``force`` removes the files of a former run from it, nothing else.

    Args:
        directory: of the run.
        force: whether a run that is there may be replaced.
        cache: the new run's cache of ids, which stays.
        inputs: the files that the new run reads.

    Raises:
        RunError: it contains something and ``force`` is not set, it cannot be created, or an input would be
            removed.
    """
    if not force:
        refuse_occupied(directory)
    make_directory(directory)
    if force:
        former = [path for path in _own_files(directory) if path != cache]
        refuse_inputs(former, inputs)
        for path in former:
            path.unlink(missing_ok=True)
    clear_parts(directory)


def _own_files(directory: Path) -> Iterator[Path]:
    """The files of a run in its directory, but for its lock."""
    for path in directory.iterdir():
        named = is_run_file(path.name) and not path.name.startswith((LOCK_FILE, "ids-"))
        if named or is_cache(path):  # whose name alone does not tell that charrnn wrote it
            yield path


def refuse_inputs(files: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks that none of the files that are to be replaced is an input.

    Raises:
        RunError: one is; names it.
    """
    inputs = list(inputs)
    for path in files:
        if is_input(path, inputs):
            raise RunError(f"{path}: is read, so it cannot be replaced; write elsewhere with --output-dir")


def clear_parts(directory: Path) -> None:
    """Removes what killed processes left incomplete in a run's directory, whose lock must be held."""
    for path in parts_in(directory):
        path.unlink(missing_ok=True)


def run_name(model: Path) -> str:
    """The shortest name by which ``find_model`` finds this file and that does not look like a flag.

    >>> run_name(Path("runs/shakespeare/model.safetensors")), run_name(Path("old/m.safetensors"))
    ('shakespeare', 'old/m.safetensors')
    """
    if model.parent == SHIPPED:
        return model.stem
    if model.name != MODEL_FILE:
        return str(model)
    directory = model.parent
    hidden = Path(directory.name).exists()  # by a text with the same name, for example
    short = directory.parent == RUNS and not hidden and not directory.name.startswith("-")
    return directory.name if short else str(directory)


# -- what there is: for charrnn list -------------------------------------------------------------------------

State = Literal["running", "stopped", "finished"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """A run or a model in a few figures; None is what is not known.

    Attributes:
        name: by which ``find_model`` finds it.
        path: the run directory, or the model file.
        modified: when it last changed, in seconds since 1970.
        size: of all its files, in bytes.
        cell, layers, units: the network's shape; of an n-gram the cell alone, "ngram".
        text: the name of what it learns.
        characters: of that text.
        bits_per_character: on held-out text, of the best model so far.
        state: whether it is being trained, can go on, or is done.
        error: why the rest is not known.
        order: of an n-gram, or of one beside the network.
    """

    name: str
    path: str
    modified: float
    size: int
    cell: str | None = None
    layers: int | None = None
    units: int | None = None
    text: str | None = None
    characters: int | None = None
    bits_per_character: float | None = None
    state: State | None = None
    error: str | None = None
    order: int | None = None


def summaries() -> list[Summary]:
    """The runs under runs/, newest first, then the shipped models; of what cannot be read, the reason."""
    found = [summarize_run(directory) for directory in _run_directories()]
    found.sort(key=lambda summary: summary.modified, reverse=True)
    return [*found, *(summarize_model(path.stem, path) for path in shipped_models())]


def _run_directories() -> Iterator[Path]:
    """What under runs/ holds a model or a state, or cannot be looked into."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for directory in RUNS.iterdir():
            with contextlib.suppress(PermissionError):
                if not holds_run(directory):
                    continue
            if directory.is_dir():
                yield directory


def summarize_run(directory: Path) -> Summary:
    """What a run's files say of it, tensors unread."""
    name = run_name(directory / MODEL_FILE)
    modified, size = 0.0, 0
    try:
        modified = directory.stat().st_mtime
        with os.scandir(directory) as entries:
            for entry in entries:
                status = entry.stat()
                size += status.st_size
                modified = max(modified, status.st_mtime)
        return Summary(name, str(directory), modified, size, **_described(directory))
    except OSError as error:
        reason = f"{error.filename or directory}: cannot be read: {error.strerror}"
    except ModelFileError as error:
        reason = str(error)
    return Summary(name, str(directory), modified, size, error=reason)


def summarize_model(name: str, path: Path) -> Summary:
    """What a model file says of itself, where it is not a run's."""
    try:
        status = path.stat()
        return Summary(name, str(path), status.st_mtime, status.st_size, **_facts(read_header(path, "model")))
    except OSError as error:
        return Summary(name, str(path), 0, 0, error=f"{path}: cannot be read: {error.strerror}")
    except ModelFileError as error:
        return Summary(name, str(path), status.st_mtime, status.st_size, error=str(error))


def _described(directory: Path) -> dict[str, Any]:
    """The facts that a run's headers hold, and its state.

    Raises:
        ModelFileError: a header cannot be read.
    """
    facts: dict[str, Any] = {}
    if os.path.lexists(directory / STATE_FILE):
        header = read_header(directory / STATE_FILE, "state")
        facts = _facts(header) | {"state": "finished" if header.get("finished") is True else "stopped"}
    if os.path.lexists(directory / MODEL_FILE):
        facts |= _facts(read_header(directory / MODEL_FILE, "model"))
        if "state" not in facts and facts.get("cell") == "ngram":  # counting leaves nothing to go on with
            facts["state"] = "finished"
    return facts | ({"state": "running"} if is_running(directory) else {})


def _facts(header: dict[str, Any]) -> dict[str, Any]:
    """The facts in a file's JSON object, those that are of their type."""
    places = {
        "cell": ("architecture", "cell", str),
        "layers": ("architecture", "num_layers", int),
        "units": ("architecture", "hidden_size", int),
        "order": ("architecture", "order", int),
        "text": ("corpus", "name", str),
        "characters": ("corpus", "characters", int),
        "bits_per_character": ("quality", "bits_per_character", float),
    }
    if "ngram" in header:
        places["order"] = ("ngram", "order", int)
    facts = {}
    for fact, (part, key, kind) in places.items():
        described = header.get(part)
        value = described.get(key) if isinstance(described, dict) else None
        if isinstance(value, kind) and (not isinstance(value, float) or math.isfinite(value)):
            facts[fact] = value
    return facts


def is_running(directory: Path) -> bool:
    """Whether a process holds the lock of the run in a directory.

    To find out, the lock is shared for a moment; a training that begins then may have to ask twice.
    """
    try:
        # Without waiting for who writes, if it is a pipe.
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # of a file system without locks nothing is known
        return False
    finally:
        os.close(descriptor)
    return False
