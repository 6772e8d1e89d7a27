"""Reading and writing the model file and the training state.

Both are safetensors files, so loading one executes no code. Tensors hold the numbers; everything else is one
JSON object under the metadata key ``charrnn``. Files are written atomically: after a crash at any moment,
either the old file or the new one is there, complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, ModelFileError
from charrnn.files import write_atomically
from charrnn.settings import from_mapping
from charrnn.text.tokenizer import Tokenizer, tokenizer_from

FORMAT = 2
READABLE = (1, 2)  # format 1 has no checksum, and its output layer reads the top layer
Tensors = dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The contents of a model file.

    Attributes:
        weights: float32 arrays by name; names and shapes as in ``expected_shapes``.
        config: the network's shape.
        tokenizer: with the vocabulary.
        corpus: what it was trained on (name, paths, sizes, sha256), or empty.
        training: the settings it was trained with, or empty.
        quality: the losses it reached, or empty.
    """

    weights: Tensors
    config: ModelConfig
    tokenizer: Tokenizer
    corpus: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    quality: dict[str, Any] = dataclasses.field(default_factory=dict)


def expected_shapes(config: ModelConfig, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors, in the order in which data passes through them.

    >>> shapes = expected_shapes(ModelConfig(num_layers=1, hidden_size=8, embedding_size=8), 5)
    >>> shapes["layers.0.recurrent.weight"]
    (32, 8)
    """
    hidden, rows = config.hidden_size, config.gates * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary, config.embedding_size)}
    for layer in range(config.num_layers):
        below = config.embedding_size if layer == 0 else hidden
        shapes[f"layers.{layer}.input.weight"] = (rows, below)
        shapes[f"layers.{layer}.input.bias"] = (rows,)
        shapes[f"layers.{layer}.recurrent.weight"] = (rows, hidden)
        shapes[f"layers.{layer}.recurrent.bias"] = (rows,)
    if not config.tied:
        shapes["output.weight"] = (vocabulary, config.read_size)
    shapes["output.bias"] = (vocabulary,)
    return shapes


def save_model(path: Path, model: ModelFile, *, half: bool = False) -> None:
    """Writes a model file atomically, with float32 weights, or with float16 ones.

    Raises:
        OSError: the disk is full, or the file cannot be written; an existing file is unchanged.
        ModelFileError: ``load_model`` would refuse the file; nothing is written.
    """
    dtype = np.float16 if half else np.float32
    with np.errstate(over="ignore"):  # the check that follows reports what became infinite
        weights = {name: np.ascontiguousarray(w, dtype) for name, w in model.weights.items()}
    _check_tensors(path, weights, expected_shapes(model.config, model.tokenizer.size))
    metadata = {
        "format": FORMAT,
        "kind": "model",
        "architecture": dataclasses.asdict(model.config),
        "tokenizer": model.tokenizer.describe(),
        "corpus": model.corpus,
        "training": model.training,
        "quality": model.quality,
    }
    _write(path, weights, metadata)


def load_model(path: Path) -> ModelFile:
    """Reads a model file and checks its version, its vocabulary and all its tensors.

    Raises:
        ModelFileError: the file is missing, damaged or not a model; says what was expected and found.
    """
    tensors, metadata = _read(path, "model")
    try:
        config = _architecture(metadata["architecture"])
        tokenizer = tokenizer_from(metadata["tokenizer"])
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: its description lacks or garbles {error}") from None
    except (ModelFileError, ConfigError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    _check_tensors(path, tensors, expected_shapes(config, tokenizer.size))
    # float32 is not copied, which would double the memory of a large model.
    weights = {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
    rest = {key: metadata.get(key) or {} for key in ("corpus", "training", "quality")}
    for key, value in rest.items():
        if not isinstance(value, dict):
            raise ModelFileError(f"{path}: its description lacks or garbles {key!r}")
    return ModelFile(weights, config, tokenizer, **rest)


def _architecture(described: Any) -> ModelConfig:
    """The network's shape from its JSON object, types checked: 3.0 and true are not numbers of layers.

    Raises:
        TypeError: a value has the wrong type.
    """
    if not isinstance(described, dict):
        raise TypeError("'architecture'")
    for name, default in dataclasses.asdict(ModelConfig()).items():
        allowed = (int, float) if isinstance(default, float) else (type(default),)
        if type(described.get(name, default)) not in allowed:
            raise TypeError(f"{name!r}: {described[name]!a:.60}")
    config: ModelConfig = from_mapping(ModelConfig, described)
    return config


def _check_tensors(path: Path, tensors: Tensors, shapes: dict[str, tuple[int, ...]]) -> None:
    for name in sorted(shapes.keys() ^ tensors.keys()):
        expected, found = ("it", "none") if name in shapes else ("no such tensor", "one")
        raise ModelFileError(f"{path}: {name}: expected {expected}, found {found}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise ModelFileError(f"{path}: {name}: expected shape {shape}, found {tensor.shape}")
        if tensor.dtype not in (np.float32, np.float16):
            raise ModelFileError(f"{path}: {name}: expected float32 or float16, found {tensor.dtype}")
        if not np.isfinite(tensor).all():
            raise ModelFileError(f"{path}: {name}: expected finite numbers, found others")


def save_state(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: dict[str, Any]) -> None:
    """Writes a training state atomically.

    Raises:
        OSError: the disk is full, or the file cannot be written; an existing file is unchanged.
    """
    _write(path, dict(tensors), {"format": FORMAT, "kind": "state"} | metadata)


def load_state(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Reads a training state: its tensors and its JSON object.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or kind.
    """
    return _read(path, "state")


def _write(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    # One metadata key and sorted JSON make equal contents equal bytes.
    header = {"charrnn": json.dumps(metadata | {"sha256": checksum(tensors)}, sort_keys=True)}
    write_atomically(path, serialize(tensors, header))


def checksum(tensors: Tensors) -> str:
    """The sha256 of the tensors' bytes, little-endian and in the order of their names, as 64 hex digits.

    >>> checksum({"b": np.zeros(1, np.float32), "a": np.ones(1, np.float32)})[:16]
    '434b26042aff3fb8'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].data)
    return digest.hexdigest()


def _require_file(path: Path) -> None:
    """Checks that there is a file that can be read; safetensors says of each failure that there is none.

    Raises:
        ModelFileError: there is none, or it is of another type, or it cannot be opened.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError(f"{path}: no such file; train one, or name another with --model") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ModelFileError(f"{path}: not a file but a {_TYPES.get(stat.S_IFMT(mode), 'device')}")


_TYPES = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


def _read(path: Path, kind: str) -> tuple[Tensors, dict[str, Any]]:
    _require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = _description(path, file.metadata(), kind)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(
            f"{path}: not a whole safetensors file ({reason}); copy it again, or train anew"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (TypeError, AttributeError) as error:  # a type that NumPy lacks, such as bfloat16
        raise ModelFileError(f"{path}: expected float32 or float16, found others ({error})") from None
    if "sha256" in metadata and metadata["sha256"] != checksum(tensors):
        raise ModelFileError(f"{path}: damaged: its tensors do not match their sha256; copy it again")
    return tensors, metadata


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """The JSON object of a model file or a training state, without reading a tensor.

    A safetensors file begins with the length of its JSON header, 8 bytes little-endian, and that header.

    Raises:
        ModelFileError: as for ``load_model``, where the header shows it; the tensors are not looked at.
    """
    _require_file(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            whole = length <= os.fstat(file.fileno()).st_size - 8
            header = json.loads(file.read(length)) if whole else None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ModelFileError(f"{path}: not a whole safetensors file; copy it again, or train anew")
    return _description(path, header.get("__metadata__"), kind)


def _description(path: Path, described: Any, kind: str) -> dict[str, Any]:
    """A file's JSON object, once it is known to be of our format and of this kind."""
    try:
        metadata = json.loads((described or {})["charrnn"])
    except (
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
    ):  # ValueError: invalid JSON, or beyond its limits
        raise ModelFileError(f"{path}: a safetensors file, but not one that charrnn wrote") from None
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found not in READABLE or isinstance(found, bool):
        raise ModelFileError(
            f"{path}: expected format {FORMAT} or less, found {found}; use the charrnn that wrote it"
        )
    if metadata.get("kind") != kind:
        raise ModelFileError(f"{path}: expected a {kind} file, found a {metadata.get('kind')} file")
    checked: dict[str, Any] = metadata
    return checked
