"""Reading safetensors files without the library: what it reads, what is no file, and files that change."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from charrnn.errors import ModelFileError
from charrnn.model import reading, schema
from charrnn.model.file import load_model, save_model
from tests.conftest import ModelWriter, random_model


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    """What a file says of itself, and its tensors."""
    with reading.opened(path) as file:
        header = reading.read_header(file)
        return header.described, reading.read_tensors(file, header)


def entry(type: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    """What a header says of a tensor."""
    return {"dtype": type, "shape": shape, "data_offsets": [begin, end]}


def write(path: Path, header: Any, body: bytes) -> Path:
    """A file with this header, an object or the text of one."""
    data = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + body)
    return path


SHAPES = st.lists(st.integers(0, 4), max_size=3)


@given(
    st.dictionaries(st.text(max_size=5), st.tuples(st.sampled_from(sorted(reading.TYPES)), SHAPES)),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1)),
)
def test_what_the_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    layout: dict[str, tuple[str, list[int]]],
    described: dict[str, str] | None,
) -> None:
    """Names, types, shapes and numbers of any file of the library's come back, and may be changed."""
    layout.pop("__metadata__", None)
    generator = np.random.default_rng(0)
    tensors = {name: generator.integers(0, 255, shape).astype(reading.TYPES[t])
               for name, (t, shape) in layout.items()}  # fmt: skip
    path = tmp_path_factory.mktemp("reading") / "file"
    path.write_bytes(save(tensors, described))
    found, loaded = read(path)
    assert (found or None) == (described or None)
    assert loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        assert (tensor.dtype, tensor.shape) == (tensors[name].dtype, tensors[name].shape)
        assert tensor.tobytes() == tensors[name].tobytes()
        tensor[...] = 1


def test_numbers_may_lie_anywhere(tmp_path: Path) -> None:
    """A tensor that does not begin at a multiple of its size is read as well."""
    header = {"a": entry("U8", [1], 0, 1), "b": entry("F32", [2], 1, 9)}
    _, tensors = read(write(tmp_path / "file", header, b"\7" + np.array([1.5, -2], "<f4").tobytes()))
    assert tensors["b"].tolist() == [1.5, -2]
    assert tensors["b"].flags.aligned


A = entry("F32", [1], 0, 4)


@pytest.mark.parametrize(
    "header",
    [
        [],
        5,
        "",
        "{",
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {}}',
        "\ufeff{}",
        {},
        {"a": A, "b": A},
        {"a": entry("F32", [1], 1, 4)},
        {"a": entry("F32", [1], 0, 3)},
        {"a": entry("F32", [1], 0, 5)},
        {"a": entry("F32", [2], 0, 4)},
        {"a": entry("F32", [], 0, 0), "b": A},
        {"a": entry("F32", [1], 4, 0)},
        {"a": entry("F32", [True], 0, 4)},
        {"a": entry("F32", [1.0], 0, 4)},
        {"a": entry("F32", "1", 0, 4)},
        {"a": entry("F32", [-1, -1], 0, 4)},
        {"a": entry("F32", [1 << 63], 0, 4)},
        {"a": entry("F32", None, 0, 4)},
        {"a": entry(5, [1], 0, 4)},
        {"a": entry("F32", [1], "0", 4)},
        {"a": entry("F32", [1], False, 4)},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": A | {"data_offsets": [0, 2, 4]}},
        {"a": None},
        {"a": "dtype"},
    ],
)
def test_headers_that_do_not_describe_the_file(header: Any, tmp_path: Path) -> None:
    """Gaps, overlaps, wrong sizes and types, keys that come twice and what is not JSON are refused."""
    path = write(tmp_path / "file", header, b"1234")
    with pytest.raises(ModelFileError, match=r"^not a whole safetensors file \("):
        read(path)


def test_a_file_that_is_cut_short_while_it_is_read(
    write_model: ModelWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may truncate the file, or overwrite it, at any moment: that is one line."""
    path = write_model()
    data = path.read_bytes()
    check = schema.check_tensors

    def cut(*args: Any) -> None:
        check(*args)
        os.truncate(path, len(data) // 2)

    monkeypatch.setattr("charrnn.model.file.check_tensors", cut)
    with pytest.raises(ModelFileError, match=r"became shorter while it was read"):
        load_model(path)

    def overwrite(*args: Any) -> None:
        check(*args)
        path.write_bytes(data[:-4] + b"\0" * 4)

    path.write_bytes(data)
    monkeypatch.setattr("charrnn.model.file.check_tensors", overwrite)
    with pytest.raises(ModelFileError, match=r"do not match their sha256"):
        load_model(path)


def test_a_loaded_model_does_not_need_its_file(write_model: ModelWriter) -> None:
    """What happens to the file after loading changes nothing: no weight lies in a map of it."""
    model = random_model(hidden=64)
    path = write_model(model)
    loaded = load_model(path)
    os.truncate(path, 0)
    for name, weight in loaded.weights.items():
        assert weight.tobytes() == model.weights[name].tobytes()


@pytest.mark.parametrize("half", [False, True])
def test_a_model_larger_than_memory(half: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not fit is refused in one line before it is read; float16 takes three times itself."""
    model, path = random_model(hidden=32), tmp_path / "m"
    save_model(path, model, half=half)
    needed = sum(weight.nbytes for weight in model.weights.values()) * (1.5 if half else 1)
    monkeypatch.setattr(reading, "SMALL", 1000)
    monkeypatch.setattr(reading, "available_memory", lambda: needed)
    load_model(path)
    monkeypatch.setattr(reading, "available_memory", lambda: needed - 1)
    with pytest.raises(ModelFileError, match=rf"^{path}: its tensors take .* MB of memory, of which .* free"):
        load_model(path)
