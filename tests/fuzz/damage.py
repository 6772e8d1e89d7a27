"""How files are damaged: junk in place of JSON values, edits of a safetensors header, bytes changed."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Iterator
from typing import Any

from tests.model.test_file import parse

Place = tuple[str | int, ...]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# One of every JSON type, and what a careless reader trips over.
JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 1 << 31, 1 << 63, 10**30, -(10**30), 10**400, 0.0, -0.0, 0.5,
    1.5, 1e-320, 1e308, math.inf, -math.inf, math.nan, "", "x", "7", "nan", "lstm", "utf-16", "/dev/null",
    "\0", "\ud800", "\x1b[31mred\r\n\u202e", "a" * 20_000, [], [None], [[]], ["x", 5], ["\ud800"],
    list(range(2000)), nested(500), {}, {"": {}}, {"kind": "byte"}, {"x": nested(100)},
)  # fmt: skip


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value at which something stands, the first of a list's items for all of them."""
    children: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        children = list(enumerate(value))[:1]
    for key, child in children:
        yield (*place, key)
        yield from places(child, (*place, key))


def put(value: Any, place: Place, junk: Any) -> Any:
    """The JSON value with something else at one place; what lies on the way there is copied."""
    key, *rest = place
    changed = value.copy()
    changed[key] = put(changed[key], tuple(rest), junk) if rest else junk
    return changed


def without(value: Any, place: Place) -> Any:
    """The JSON value without what stands at one place."""
    *way, last = place
    inner = value
    for key in way:
        inner = inner[key]
    inner = inner.copy()
    del inner[last]
    return put(value, tuple(way), inner) if way else inner


def pack(header: str | bytes, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever it is, or with a wrong length of it."""
    data = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data) if length is None else length) + data + body


def flip_bits(data: bytes, draw: random.Random, end: int | None = None) -> bytes:
    """One to eight bits flipped before ``end``."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        changed[draw.randrange(len(data) if end is None else end)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(data: bytes, draw: random.Random) -> bytes:
    """The beginning of the file, or its end, or all but a piece of it, or a piece of it twice."""
    begin, end = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    return draw.choice((data[:begin], data[end:], data[:begin] + data[end:], data[:end] + data[begin:]))


def overwrite(data: bytes, draw: random.Random) -> bytes:
    """A few bytes replaced by zeros, ones, noise, or what JSON is made of."""
    begin = draw.randrange(len(data))
    length = draw.choice((1, 2, 8, 64))
    filling = draw.choice((b"\0" * length, b"\xff" * length, draw.randbytes(length), b'{"[9e' * length))
    return data[:begin] + filling[:length] + data[begin + length :]


SHAPES: tuple[Any, ...] = (
    [], [0], [1], [1] * 65, [1] * 200, [2**32, 2**32], [2**63], [2**64], [-1], [1.5], ["1"], None, "x", [[1]],
)  # fmt: skip
TYPES: tuple[Any, ...] = (
    "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8",
    "BOOL", "C64", "F4", "f32", "", None, 5, [],
)  # fmt: skip
OFFSETS: tuple[Any, ...] = (
    [0, 0],
    [0, 4],
    [4, 0],
    [-4, 0],
    [0, 2**63],
    [2**63, 2**64],
    [0],
    [],
    None,
    ["0", 4],
    7,
)


def edit_header(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    """What was done to the header's tensors, and the file."""
    header, _, body = parse(data)
    names = [name for name in header if name != "__metadata__"]
    name, other = draw.choice(names), draw.choice(names)
    kind = draw.randrange(9)
    if kind == 0:
        header[name]["shape"] = draw.choice(SHAPES)
    elif kind == 1:
        header[name]["dtype"] = draw.choice(TYPES)
    elif kind == 2:
        header[name]["data_offsets"] = draw.choice((*OFFSETS, header[other]["data_offsets"]))
    elif kind == 3:
        header[name] = draw.choice((None, [], 5, {}, "x", header[other]))
    elif kind == 4:
        header[draw.choice((name, "extra", "", "\ud800", "__metadata__", "a" * 9999))] = header.pop(name)
    elif kind == 5:  # zero elements need no bytes, however many dimensions say so
        header["extra"] = {
            "dtype": "F32",
            "shape": [0, *[2**40] * draw.randrange(70)],
            "data_offsets": [0, 0],
        }
    elif kind == 6:
        header["__metadata__"] = draw.choice((None, {}, [], {"charrnn": 5}, {"charrnn": None}, {"x": "y"}))
    elif kind == 7:
        length = draw.choice((0, 1, 2**31, 2**63, 2**64 - 1, 100_000_001))
        return f"length {length}", pack(json.dumps(header), body, length)
    else:  # a tensor twice in the header's text, the second time as another
        twice = json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[other])}}}"
        return f"{name} twice, as {other}", pack(twice, body)
    return f"edit {kind} of {name}", pack(json.dumps(header), body)
