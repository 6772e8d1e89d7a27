"""Reading and writing the model file and the training state.

Both are safetensors files, so loading one executes no code. Tensors hold the numbers; everything else is one
JSON object under the metadata key ``charrnn``. Files are written atomically: after a crash at any moment,
either the old file or the new one is there, complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig, NGramConfig
from charrnn.errors import ConfigError, ModelFileError
from charrnn.files import write_atomically
from charrnn.model import reading
from charrnn.model.grams import GRAMS, pack, unpack
from charrnn.model.ngram import KneserNey
from charrnn.model.schema import (
    OPTIONAL,
    check_description,
    check_tensors,
    check_weights,
    expected_shapes,
    is_ngram,
)
from charrnn.settings import from_mapping
from charrnn.text.tokenizer import Tokenizer, tokenizer_from

FORMAT = 2
READABLE = (1, 2)  # format 1 has no checksum, and its output layer reads the top layer
NETWORKS = "lstm, gru, rnn or relu"
Tensors = dict[str, NDArray[Any]]
# Of a model's quality: its validation loss, and that of the network alone where an n-gram is beside it.
NATS, NETWORK_NATS = "nats_per_character", "network_nats_per_character"


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The contents of a model file, a network or an n-gram; or several of them as one.

    Attributes:
        weights: float32 arrays by name; names and shapes as in ``expected_shapes``. Of an n-gram none.
        architecture: the network's shape, or the n-gram's; None of a mixture.
        tokenizer: with the vocabulary.
        corpus: what it was trained on (name, paths, sizes, sha256), or empty.
        training: the settings it was trained with, or empty.
        quality: the losses it reached, or empty.
        grams: the n-gram, if it is one.
        parts: the models whose probabilities are mixed, if it is a mixture (see ``mixture``). A file may hold
            a network with an n-gram beside it: then weights and architecture are the network's.
        mix: their weights, whose sum is 1.
    """

    weights: Tensors
    architecture: ModelConfig | NGramConfig | None
    tokenizer: Tokenizer
    corpus: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    quality: dict[str, Any] = dataclasses.field(default_factory=dict)
    grams: KneserNey | None = None
    parts: tuple[ModelFile, ...] = ()
    mix: tuple[float, ...] = ()

    @property
    def config(self) -> ModelConfig:
        """The network's shape.

        Raises:
            ConfigError: there is no network, which only a few commands need.
        """
        if not isinstance(self.architecture, ModelConfig):
            what = "several models are not one network" if self.parts else "an n-gram has no network"
            raise ConfigError(f"{what}, which this needs; name one model of --cell {NETWORKS} with --model")
        return self.architecture

    @property
    def ngram(self) -> KneserNey | None:
        """The n-gram that it is, or that is beside its network."""
        return self.parts[1].grams if self.parts else self.grams


def joined(network: ModelFile, grams: KneserNey, mix: tuple[float, ...]) -> ModelFile:
    """A network and an n-gram with its vocabulary as one model, which one file can hold.

    Args:
        network: the model, which everything that needs a network uses alone.
        grams: the n-gram.
        mix: the weights of both, whose sum is 1.
    """
    ngram = ModelFile({}, NGramConfig(order=grams.highest), network.tokenizer, network.corpus, grams=grams)
    return dataclasses.replace(network, parts=(network, ngram), mix=mix)


def network_alone(model: ModelFile) -> ModelFile:
    """The network of a model that may have an n-gram beside it, with the quality that it has by itself."""
    if not model.parts:
        return model
    quality = {name: value for name, value in model.quality.items() if name != NETWORK_NATS}
    if NETWORK_NATS in model.quality:
        quality |= figures(model.quality[NETWORK_NATS])
    return dataclasses.replace(model, quality=quality, parts=(), mix=())


def figures(nats: float) -> dict[str, float]:
    """A validation loss as a model's quality has it."""
    return {NATS: nats, "bits_per_character": nats / math.log(2)}


def save_model(path: Path, model: ModelFile, *, half: bool = False) -> None:
    """Writes a model file atomically, with float32 weights, or with float16 ones; an n-gram's are integers.

    Raises:
        OSError: the disk is full, or the file cannot be written; an existing file is unchanged.
        ModelFileError: ``load_model`` would refuse the file; nothing is written.
    """
    dtype = np.float16 if half else np.float32
    with np.errstate(over="ignore"):  # the check that follows reports what became infinite
        weights: Tensors = {name: np.ascontiguousarray(w, dtype) for name, w in model.weights.items()}
    grams = model.ngram
    tensors = weights if grams is None else weights | pack(grams)
    metadata = {
        "format": FORMAT,
        "kind": "model",
        "architecture": dataclasses.asdict(model.architecture or model.config),
        "tokenizer": model.tokenizer.describe(),
        "corpus": model.corpus,
        "training": model.training,
        "quality": model.quality,
    }
    if model.parts and grams is not None:
        metadata |= {"ngram": {"order": grams.highest}, "mix": list(model.mix)}
    with _named(path):
        check_description(metadata, "model")
        if isinstance(model.architecture, ModelConfig):
            layout = {name: ("F16" if half else "F32", weight.shape) for name, weight in weights.items()}
            check_weights(layout, expected_shapes(model.config, model.tokenizer.size))
        _check_finite(weights)
    _write(path, tensors, metadata)


def load_model(path: Path) -> ModelFile:
    """Reads a model file and checks its version, its description and all its tensors.

    Raises:
        ModelFileError: the file is missing, damaged or not a model; says what was expected and found.
    """
    tensors, metadata = _read(path, "model")
    with _named(path):
        _check_finite(tensors)
        alone = is_ngram(metadata)
        config: Any = from_mapping(NGramConfig if alone else ModelConfig, metadata["architecture"])
        tokenizer = tokenizer_from(metadata["tokenizer"])
        counts = {name: tensors.pop(name) for name in list(tensors) if name.startswith(GRAMS)}
        grams = unpack(counts, tokenizer.size) if counts else None
    # float32 is not copied, which would double the memory of a large model.
    weights = {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
    about: dict[str, Any] = {key: metadata.get(key) or {} for key in OPTIONAL}
    model = ModelFile(weights, config, tokenizer, **about, grams=grams if alone else None)
    if grams is None or alone:
        return model
    first, second = metadata["mix"]
    return joined(model, grams, (first / (first + second), second / (first + second)))


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name before the message of what is wrong with it."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


def _check_finite(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFileError(f"{name}: expected finite numbers, found others")


def save_state(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: dict[str, Any]) -> None:
    """Writes a training state atomically.

    Raises:
        OSError: the disk is full, or the file cannot be written; an existing file is unchanged.
    """
    _write(path, dict(tensors), {"format": FORMAT, "kind": "state"} | metadata)


def load_state(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Reads a training state: its tensors and its JSON object, both checked.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or kind.
    """
    return _read(path, "state")


def _write(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    from safetensors.numpy import save as serialize  # here, since whoever reads needs none of it

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


def _read(path: Path, kind: str) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and the JSON object of a file; nothing of the first is read before both are checked."""
    with _named(path), reading.opened(path) as file:
        header = reading.read_header(file)
        metadata = _description(header.described, kind)
        check_description(metadata, kind)
        layout = {name: (entry.type, entry.shape) for name, entry in header.tensors.items()}
        check_tensors(layout, kind, metadata)
        tensors = reading.read_tensors(file, header)
        if "sha256" in metadata and metadata["sha256"] != checksum(tensors):
            raise ModelFileError("damaged: its tensors do not match their sha256; copy it again")
    return tensors, metadata


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """The JSON object of a model file or a training state, without reading a tensor.

    Raises:
        ModelFileError: it is missing, damaged, or of another version or kind, as far as the header shows.
    """
    with _named(path), reading.opened(path) as file:
        return _description(reading.read_header(file).described, kind)


def _description(described: Any, kind: str) -> dict[str, Any]:
    """A file's JSON object, once it is known to be of our format and of this kind."""
    try:
        metadata = json.loads((described or {})["charrnn"])
    except (KeyError, TypeError, ValueError, RecursionError):  # ValueError: invalid, or beyond JSON's limits
        raise ModelFileError("a safetensors file, but not one that charrnn wrote") from None
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found not in READABLE or isinstance(found, bool):
        raise ModelFileError(
            f"expected format {FORMAT} or less, found {found!s:.60}; use the charrnn that wrote it"
        )
    if metadata.get("kind") != kind:
        raise ModelFileError(f"expected a {kind} file, found a {metadata.get('kind')!s:.60} file")
    checked: dict[str, Any] = metadata
    return checked
