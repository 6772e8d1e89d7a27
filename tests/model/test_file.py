"""Model files: round trips, an error for each corruption, bytes that do not change, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save as serialize

from charrnn.config import Cell, ModelConfig, TrainingConfig
from charrnn.errors import CharrnnError, ModelFileError
from charrnn.files import write_atomically
from charrnn.model.file import (
    ModelFile,
    load_model,
    load_state,
    save_model,
    save_state,
)
from charrnn.model.schema import LATER, PROGRESS, STATE, expected_shapes
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training.progress import Progress
from charrnn.training.state import TrainingState
from tests.conftest import ModelWriter, random_model

CELLS: list[Cell] = ["lstm", "gru", "rnn", "relu"]


def parse(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """A file's safetensors header, its JSON object of ours, and its numbers, read by the format's text."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["charrnn"]), data[8 + length :]


def build(header: dict[str, Any], description: Any, body: bytes) -> bytes:
    """The inverse of ``parse``."""
    header["__metadata__"] = {"charrnn": json.dumps(description)}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + body


def repack(data: bytes, replaced: dict[str, tuple[str, list[int], bytes] | None]) -> bytes:
    """The file with tensors replaced by (type, shape, bytes), added, or left out (None)."""
    header, description, body = parse(data)
    header.pop("__metadata__")
    description.pop("sha256")  # it would no longer match
    tensors = {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }
    packed, numbers = {}, b""
    for name, tensor in (tensors | replaced).items():
        if tensor is None:
            continue
        dtype, shape, content = tensor
        offsets = [len(numbers), len(numbers) + len(content)]
        packed[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        numbers += content
    return build(packed, description, numbers)


# -- round trips ---------------------------------------------------------------------------------------


@given(
    st.sampled_from(CELLS),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.one_of(st.none(), st.sets(st.characters(codec=None, exclude_categories=()), min_size=1)),
    st.booleans(),
)
def test_models_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    cell: Cell,
    layers: int,
    hidden: int,
    embedding: int,
    characters: set[str] | None,
    unknown: bool,
) -> None:
    """Saving and loading changes nothing: weights to the bit, shape, vocabulary, descriptions."""
    vocabulary = None if characters is None else "".join(sorted(characters))
    model = random_model(cell, layers, hidden, embedding, vocabulary, unknown=unknown)
    model = dataclasses.replace(
        model, corpus={"name": "é"}, training={"lr": 3e-3}, quality={"nats_per_character": 1.5}
    )
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(path, model)
    loaded = load_model(path)
    assert loaded.config == model.config
    assert loaded.tokenizer.describe() == model.tokenizer.describe()
    assert (loaded.corpus, loaded.training, loaded.quality) == (model.corpus, model.training, model.quality)
    assert loaded.weights.keys() == model.weights.keys()
    for name, weight in model.weights.items():
        assert loaded.weights[name].dtype == np.float32
        assert loaded.weights[name].tobytes() == weight.tobytes()


def test_equal_models_are_equal_bytes(write_model: ModelWriter) -> None:
    """The order in which weights and descriptions were gathered leaves no trace in the file."""
    model = random_model()
    shuffled = ModelFile(dict(reversed(model.weights.items())), model.config, model.tokenizer)
    shuffled = dataclasses.replace(shuffled, corpus={"b": 1, "a": 2})
    model = dataclasses.replace(model, corpus={"a": 2, "b": 1})
    assert write_model(model, "a").read_bytes() == write_model(shuffled, "b").read_bytes()


def state_of(cell: Cell = "lstm", layers: int = 2, batch: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors and the description of a training state as the schema wants them, with random numbers."""
    model = random_model(cell, layers, vocabulary="ab")
    generator = np.random.default_rng(1)
    tensors: dict[str, NDArray[Any]] = {
        "random.cpu": generator.integers(0, 256, 16, np.uint8),
        "gradient_norm": np.array(0.5, np.float32),
    }
    for name, weight in model.weights.items():
        tensors[f"weights.{name}"] = weight
        if name.startswith("layers.") and weight.ndim == 2:
            tensors[f"optimizer.momentum.{name}"] = weight * 2
            continue
        tensors[f"optimizer.step.{name}"] = np.array(3.0, np.float32)
        tensors[f"optimizer.exp_avg.{name}"] = weight * 3
        tensors[f"optimizer.exp_avg_sq.{name}"] = weight**2
    for layer in range(layers):
        for part in range(2 if cell == "lstm" else 1):
            numbers = generator.normal(size=(1, batch, model.config.hidden_size))
            tensors[f"hidden.{layer}.{part}"] = numbers.astype(np.float32)
    description = {
        "architecture": dataclasses.asdict(model.config),
        "tokenizer": model.tokenizer.describe(),
        "training": dataclasses.asdict(TrainingConfig(steps=5, seed=1)),
        "precision": "fp32",
        "corpus": {"paths": ["/text"], "characters": 9, "sha256": "0" * 64},
        "progress": dataclasses.asdict(Progress(step=3)),
        "finished": False,
    }
    return tensors, description


@pytest.mark.parametrize("cell", CELLS)
def test_states_come_back_as_they_were(tmp_path: Path, cell: Cell) -> None:
    """A training state keeps every tensor's type, shape and bits, and its JSON object."""
    tensors, described = state_of(cell)
    path = tmp_path / "state"
    save_state(path, tensors, described)
    loaded, description = load_state(path)
    assert {key: description[key] for key in described} == described
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert loaded[name].tobytes() == tensor.tobytes()


def test_a_state_of_the_first_version_loads(tmp_path: Path) -> None:
    """What later versions added to the progress may be missing, the rest not."""
    tensors, metadata = state_of()
    first = {key: value for key, value in metadata["progress"].items() if key not in LATER}
    save_state(tmp_path / "state", tensors, metadata | {"progress": first})
    assert load_state(tmp_path / "state")[1]["progress"] == first
    for key in first:
        less = {name: value for name, value in first.items() if name != key}
        save_state(tmp_path / "state", tensors, metadata | {"progress": less})
        with pytest.raises(ModelFileError, match=rf"progress\.{key}: expected it, found none"):
            load_state(tmp_path / "state")


def test_the_schema_of_a_state_has_all_that_a_training_saves() -> None:
    """Every field of a state's description, and of its progress, has a check."""
    assert set(STATE) | {"tokenizer"} == {
        field.name for field in dataclasses.fields(TrainingState) if field.name != "tensors"
    }
    assert set(PROGRESS) == {field.name for field in dataclasses.fields(Progress)}


# -- the format ----------------------------------------------------------------------------------------

# Written out by hand from the README's description of the format: a reader must read formats 1 and 2 for
# ever, and a writer of format 2 must write it.
GOLDEN_SHAPES = {
    "embedding.weight": [2, 1],
    "layers.0.input.bias": [2],
    "layers.0.input.weight": [2, 1],
    "layers.0.recurrent.bias": [2],
    "layers.0.recurrent.weight": [2, 2],
    "output.bias": [2],
    "output.weight": [2, 2],
}
GOLDEN_DESCRIPTIONS = {
    1: '{"architecture": {"cell": "rnn", "dropout": 0.0, "embedding_size": 1, "hidden_size": 2, '
    '"num_layers": 1}, "corpus": {}, "format": 1, "kind": "model", "quality": {}, '
    '"tokenizer": {"kind": "char", "unknown": false, "vocabulary": "\\u00e9\\ud83d\\ude00"}, '
    '"training": {"lr": 0.5}}',
    2: '{"architecture": {"cell": "rnn", "dropout": 0.0, "embedding_size": 1, "hidden_size": 2, '
    '"num_layers": 1, "output": "top"}, "corpus": {}, "format": 2, "kind": "model", "quality": {}, '
    '"sha256": "3b55d774c48874aeb47067249942114aee2563c10bf0c64c1df12eb8aacb63ea", '
    '"tokenizer": {"kind": "char", "unknown": false, "vocabulary": "\\u00e9\\ud83d\\ude00"}, '
    '"training": {"lr": 0.5}}',
}


def golden(format: int) -> tuple[bytes, ModelFile]:
    """A file made without the writer, and the model that it holds."""
    header: dict[str, Any] = {"__metadata__": {"charrnn": GOLDEN_DESCRIPTIONS[format]}}
    weights, body = {}, b""
    for name, shape in GOLDEN_SHAPES.items():
        size = int(np.prod(shape))
        numbers = [(len(body) // 4 + place) / 4 - 2 for place in range(size)]
        weights[name] = np.array(numbers, np.float32).reshape(shape)
        offsets = [len(body), len(body) + 4 * size]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        body += struct.pack(f"<{size}f", *numbers)
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)  # safetensors pads its header so that numbers are aligned
    config = ModelConfig("rnn", 1, 2, 1, dropout=0.0)
    model = ModelFile(weights, config, CharTokenizer("é\U0001f600"), training={"lr": 0.5})
    return struct.pack("<Q", len(encoded)) + encoded + body, model


def test_the_writer_writes_the_golden_bytes(tmp_path: Path) -> None:
    """A tiny model's file is, byte for byte, what format 2 says."""
    data, model = golden(2)
    path = tmp_path / "golden"
    save_model(path, model)
    assert path.read_bytes() == data


@pytest.mark.parametrize("format", [1, 2])
def test_the_reader_reads_the_golden_bytes(tmp_path: Path, format: int) -> None:
    """A file put together from the format's description loads as the model it describes."""
    data, model = golden(format)
    path = tmp_path / "golden"
    path.write_bytes(data)
    loaded = load_model(path)
    assert loaded.config == model.config
    assert loaded.tokenizer.describe()["vocabulary"] == "é\U0001f600"
    assert loaded.training == {"lr": 0.5}
    for name, weight in model.weights.items():
        assert loaded.weights[name].tolist() == weight.tolist()


@pytest.mark.parametrize(
    ("cell", "gates"),
    [("lstm", 4), ("gru", 3), ("rnn", 1), ("relu", 1)],
)
def test_names_say_layer_and_role(cell: Cell, gates: int) -> None:
    """The tensors of a file are those of the README, and a tied output has no matrix of its own."""
    hidden, embedding, vocabulary = 6, 4, 9
    rows = gates * hidden
    expected = {
        "embedding.weight": (vocabulary, embedding),
        "layers.0.input.weight": (rows, embedding),
        "layers.0.input.bias": (rows,),
        "layers.0.recurrent.weight": (rows, hidden),
        "layers.0.recurrent.bias": (rows,),
        "layers.1.input.weight": (rows, hidden),
        "layers.1.input.bias": (rows,),
        "layers.1.recurrent.weight": (rows, hidden),
        "layers.1.recurrent.bias": (rows,),
        "output.weight": (vocabulary, hidden),
        "output.bias": (vocabulary,),
    }
    assert expected_shapes(ModelConfig(cell, 2, hidden, embedding), vocabulary) == expected
    tied = expected_shapes(ModelConfig(cell, 2, hidden, hidden), vocabulary)
    assert expected.keys() - tied.keys() == {"output.weight"}


# -- corruptions ---------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """The bytes of a small, sound model file."""
    path = tmp_path / "good"
    save_model(path, random_model(layers=1, hidden=3, embedding=2, vocabulary="ab"))
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """A function that loads bytes as a model and returns the error's message behind the file's name."""

    def load(data: bytes) -> str:
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(data)
        with pytest.raises(ModelFileError) as caught:
            load_model(path)
        name, _, message = str(caught.value).partition(": ")
        assert name == str(path)
        assert "\n" not in message
        return message

    return load


def test_files_cut_short_anywhere_are_refused(good: bytes, refused: Callable[[bytes], str]) -> None:
    """Whatever number of bytes of a file arrive, less than all of them are an error that says so."""
    (header,) = struct.unpack("<Q", good[:8])
    cuts = [0, 1, 7, 8, 9, 8 + header - 1, 8 + header, 8 + header + 1, len(good) - 1]
    for cut in [*cuts, *range(0, len(good), 37)]:
        assert refused(good[:cut]).startswith("not a whole safetensors file (")


def test_files_with_a_tail_are_refused(good: bytes, refused: Callable[[bytes], str]) -> None:
    """Bytes after the last tensor are an error."""
    assert refused(good + b"\0").startswith("not a whole safetensors file (")


@given(st.data())
def test_flipped_header_bits_never_crash(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A file with some bits flipped before its numbers loads whole, or is an error of the model file."""
    folder = tmp_path_factory.mktemp("flipped")
    path = folder / "m"
    save_model(path, random_model(layers=1, hidden=3, embedding=2, vocabulary="ab"))
    content = bytearray(path.read_bytes())
    (header,) = struct.unpack("<Q", content[:8])
    for place in data.draw(st.lists(st.integers(0, 8 + header - 1), min_size=1, max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    with contextlib.suppress(ModelFileError):
        loaded = load_model(path)
        shapes = expected_shapes(loaded.config, loaded.tokenizer.size)
        assert {name: weight.shape for name, weight in loaded.weights.items()} == shapes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"First Citizen:\nBefore we proceed any further, hear me speak.\n",
        b"\x80\x04K\x01.",
        b"PK\3\4" * 99,
    ],
)
def test_foreign_files_are_refused(data: bytes, refused: Callable[[bytes], str]) -> None:
    """A text, a pickle, a zip or nothing at all is no model."""
    assert refused(data).startswith("not a whole safetensors file (")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"charrnn": "not JSON"}])
def test_safetensors_of_others_are_refused(
    metadata: dict[str, str] | None, refused: Callable[[bytes], str]
) -> None:
    """A safetensors file that another program wrote is recognized as such."""
    data = serialize({"weight": np.zeros(2, np.float32)}, metadata)
    assert refused(data) == "a safetensors file, but not one that charrnn wrote"


@pytest.mark.parametrize("json_text", ["[" * 100_000, "9" * 5000, '{"format": 1'])
def test_json_beyond_the_decoder_is_refused(json_text: str, refused: Callable[[bytes], str]) -> None:
    """JSON that is too deep, too long a number or cut off is an error, not a crash."""
    data = serialize({}, {"charrnn": json_text})
    assert refused(data) == "a safetensors file, but not one that charrnn wrote"


def change(**values: Any) -> Callable[[dict[str, Any]], object]:
    """A change of the description's own keys."""
    return lambda description: description.update(values)


def architecture(**values: Any) -> Callable[[dict[str, Any]], object]:
    """A change of the description of the architecture."""
    return lambda description: description["architecture"].update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(format=3), "expected format 2 or less, found 3; use the charrnn that wrote it"),
        (change(format=True), "expected format 2 or less, found True; use the charrnn that wrote it"),
        (change(format=None), "expected format 2 or less, found None; use the charrnn that wrote it"),
        (change(kind="state"), "expected a model file, found a state file"),
        (change(architecture=None), "architecture: expected an object, found None"),
        (change(architecture=[]), "architecture: expected an object, found []"),
        (lambda d: d.pop("architecture"), "architecture: expected it, found none"),
        (lambda d: d.pop("tokenizer"), "tokenizer: expected it, found none"),
        (change(corpus=["x"]), "corpus: expected an object, found ['x']"),
        (change(quality=1), "quality: expected an object, found 1"),
        (
            architecture(cell="transformer"),
            "architecture.cell: expected one of lstm, gru, rnn, relu, found 'transformer'",
        ),
        (
            architecture(cell=["lstm"]),
            "architecture.cell: expected one of lstm, gru, rnn, relu, found ['lstm']",
        ),
        (architecture(hidden_size=3.0), "architecture.hidden_size: expected a whole number, found 3.0"),
        (architecture(hidden_size="3"), "architecture.hidden_size: expected a whole number, found '3'"),
        (architecture(num_layers=True), "architecture.num_layers: expected a whole number, found True"),
        (architecture(num_layers=10**9), "architecture.num_layers: expected from 1 to 64, found 1000000000"),
        (architecture(dropout=None), "architecture.dropout: expected a number, found None"),
        (change(tokenizer={"kind": "word"}), "expected a char or byte tokenizer, found {'kind': 'word'}"),
        (
            change(tokenizer={"kind": "char", "vocabulary": "ba", "unknown": False}),
            "the vocabulary must hold characters in ascending order, each once",
        ),
        (
            change(tokenizer={"kind": "char", "vocabulary": "abc", "unknown": False}),
            "embedding.weight: expected shape (3, 2), found (2, 2)",
        ),
        (architecture(hidden_size=4), "layers.0.input.weight: expected shape (16, 2), found (12, 2)"),
        (architecture(cell="gru"), "layers.0.input.weight: expected shape (9, 2), found (12, 2)"),
        (architecture(num_layers=2), "layers.1.input.bias: expected it, found none"),
    ],
)
def test_garbled_descriptions_are_refused(
    good: bytes,
    refused: Callable[[bytes], str],
    edit: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    """What a file says of itself is checked, and the message says what was expected and what was found."""
    header, description, body = parse(good)
    edit(description)
    assert refused(build(header, description, body)) == message


F32_NAN = struct.pack("<2f", 1.0, float("nan"))
F32_INF = struct.pack("<2f", float("inf"), 1.0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"output.bias": None}, "output.bias: expected it, found none"),
        ({"output.gain": ("F32", [1], bytes(4))}, "output.gain: expected no such tensor, found one"),
        ({"output.bias": ("F32", [3], bytes(12))}, "output.bias: expected shape (2,), found (3,)"),
        ({"output.bias": ("F32", [2, 1], bytes(8))}, "output.bias: expected shape (2,), found (2, 1)"),
        ({"output.bias": ("F64", [2], bytes(16))}, "output.bias: expected float32 or float16, found float64"),
        ({"output.bias": ("I32", [2], bytes(8))}, "output.bias: expected float32 or float16, found int32"),
        ({"output.bias": ("F32", [2], F32_NAN)}, "output.bias: expected finite numbers, found others"),
        ({"output.bias": ("F32", [2], F32_INF)}, "output.bias: expected finite numbers, found others"),
    ],
)
def test_wrong_tensors_are_refused(
    good: bytes,
    refused: Callable[[bytes], str],
    tensors: dict[str, tuple[str, list[int], bytes] | None],
    message: str,
) -> None:
    """A tensor that is missing, foreign, misshapen, of another type or not finite is named."""
    assert refused(repack(good, tensors)) == message


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_types_that_numpy_lacks_are_refused(good: bytes, refused: Callable[[bytes], str], dtype: str) -> None:
    """A tensor of a type that NumPy cannot hold is an error like any other wrong type."""
    size = 4 if dtype == "BF16" else 2
    message = refused(repack(good, {"output.bias": (dtype, [2], bytes(size))}))
    found = {"BF16": "bfloat16"}.get(dtype, dtype)
    assert message == f"output.bias: expected float32 or float16, found {found}"


def test_repacked_files_load(good: bytes, tmp_path: Path) -> None:
    """The tests' own packing is sound: a file taken apart and put together again is a model."""
    path = tmp_path / "repacked"
    path.write_bytes(repack(good, {}))
    assert load_model(path).config.hidden_size == 3


def test_missing_files_are_refused(tmp_path: Path) -> None:
    """A model that does not exist, or lies below a file, is an error with its name."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file" / "none"):
        with pytest.raises(ModelFileError, match=f"^{path}: no such file"):
            load_model(path)


def test_states_are_no_models_and_models_no_states(tmp_path: Path, model_path: Path) -> None:
    """Each kind of file is recognized by both readers."""
    state = tmp_path / "state"
    save_state(state, *state_of())
    with pytest.raises(ModelFileError, match="expected a model file, found a state file"):
        load_model(state)
    with pytest.raises(ModelFileError, match="expected a state file, found a model file"):
        load_state(model_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_could_not_be_loaded_is_not_saved(model_path: Path, value: float) -> None:
    """A model with numbers that are not finite does not replace a sound one."""
    before = model_path.read_bytes()
    model = random_model()
    model.weights["output.bias"][0] = value
    with pytest.raises(ModelFileError, match=r"output\.bias: expected finite numbers"):
        save_model(model_path, model)
    assert model_path.read_bytes() == before


# -- whole or not at all -------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["fsync", "replace", "write"])
@pytest.mark.parametrize("kind", ["full disk", "interrupt"])
def test_a_failed_write_leaves_the_old_file(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, kind: str
) -> None:
    """A full disk or an interrupt while writing leaves the old file whole and nothing beside it."""
    before = model_path.read_bytes()
    error: BaseException = KeyboardInterrupt()
    if kind == "full disk":
        error = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object, **__: object) -> None:
        raise error

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(Path, "open", lambda *_: FailingFile(error))
    with pytest.raises(type(error)):
        save_model(model_path, random_model(seed=1))
    monkeypatch.undo()
    assert model_path.read_bytes() == before
    assert list(model_path.parent.iterdir()) == [model_path]
    if isinstance(error, OSError):
        assert error.filename == str(model_path)


class FailingFile:
    """A file that fails when written to."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, _: bytes) -> None:
        """Fails."""
        raise self._error


KILLED = """
import os, signal, sys
from pathlib import Path
from charrnn.files import write_atomically

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{place} = die
write_atomically(Path(sys.argv[1]), b"new" * 100_000)
"""


@pytest.mark.parametrize("place", ["os.fsync", "Path.replace"])
def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path, place: str) -> None:
    """Whoever is killed before the rename leaves the old file, and the next write succeeds."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = KILLED.format(place=place)
    died = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newest")
    assert path.read_bytes() == b"newest"
    assert list(tmp_path.iterdir()) == [path]


def test_data_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed whole before it takes its place, and the directory after."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    events = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        if found.st_ino == tmp_path.stat().st_ino:
            events.append(("directory", path.read_bytes()))
        else:
            assert found.st_size == len(b"newer")
            events.append(("file", path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"newer")
    assert events == [("file", b"old"), ("directory", b"newer")]


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Writing where no directory is raises the system's error, with the name."""
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "none" / "file", b"x")
    assert str(tmp_path / "none") in str(caught.value.filename)


def test_all_errors_are_of_one_family() -> None:
    """Whoever catches CharrnnError catches what is wrong with files."""
    assert issubclass(ModelFileError, CharrnnError)


def test_a_flipped_bit_in_the_tensors_is_refused(tmp_path: Path) -> None:
    """Whichever bit of the numbers is flipped, the file is refused as damaged, or as not finite."""
    path = tmp_path / "model"
    save_model(path, random_model())
    data = path.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    for place in np.random.default_rng(0).integers(8 * begin, 8 * len(data), 200).tolist():
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="damaged: its tensors do not match their sha256"):
            load_model(path)


def test_half_the_size_for_half_the_precision(tmp_path: Path) -> None:
    """A model saved as float16 loads as its weights rounded to float16."""
    model, path = random_model(hidden=32, embedding=16), tmp_path / "model"
    save_model(path, model, half=True)
    for name, weight in load_model(path).weights.items():
        assert weight.dtype == np.float32
        assert weight.tolist() == model.weights[name].astype(np.float16).tolist()


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission and type are told apart from a file that is not there."""
    path = tmp_path / "model"
    with pytest.raises(ModelFileError, match=f"^{path}: no such file"):
        load_model(path)
    with pytest.raises(ModelFileError, match=f"^{tmp_path}: not a file but a directory"):
        load_model(tmp_path)
    os.mkfifo(path)
    with pytest.raises(ModelFileError, match=f"^{path}: not a file but a pipe"):
        load_model(path)
    path.unlink()
    save_model(path, random_model())

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # whoever runs the tests may be allowed to read everything
    with pytest.raises(ModelFileError, match=f"^{path}: cannot be read: Permission denied"):
        load_model(path)
