"""Damaged model files: each loads and writes text, or is refused in one line, within a second and 200 MB."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.model.file import save_model
from tests.conftest import random_model
from tests.fuzz.conftest import SECONDS, Fuzz
from tests.fuzz.damage import JUNK, Place, cut, edit_header, flip_bits, overwrite, pack, places, put, without
from tests.fuzz.judge import judge
from tests.fuzz.zygote import TEXT, Case, Zygote
from tests.model.test_file import build, parse, repack

MEGABYTES = 200


def sound(directory: Path) -> bytes:
    """The bytes of a model file with everything in it that a training writes."""
    model = random_model(layers=2, hidden=3, embedding=2, vocabulary="\n abcdef", unknown=True)
    corpus = {
        "name": "t", "paths": [str(directory / "t.txt")], "characters": len(TEXT), "bytes": len(TEXT),
        "sha256": "0" * 64, "tokenizer": "char", "min_count": 2, "encoding": "utf-8", "newlines": "keep",
        "val_fraction": 0.1, "lines": False,
    }  # fmt: skip
    training = {"lr": 0.01, "steps": 3, "seconds": 1.5, "seed": 1, "optimizer": "muon"}
    quality = {"nats_per_character": 2.5, "bits_per_character": 3.6}
    path = directory / "sound"
    save_model(path, dataclasses.replace(model, corpus=corpus, training=training, quality=quality))
    return path.read_bytes()


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """A sound model file, whose text stands beside it."""
    (tmp_path / "t.txt").write_text(TEXT)
    return sound(tmp_path)


def test_the_sound_file_loads(good: bytes, load: Callable[[bytes], str | None]) -> None:
    """What the fuzzers damage is sound."""
    assert load(good) is None


@pytest.mark.parametrize("damage", [flip_bits, cut, overwrite])
def test_damaged_bytes(damage: Callable[..., bytes], good: bytes, load: Callable[[bytes], str | None],
                       fuzz: Fuzz) -> None:  # fmt: skip
    """Bits flipped, pieces lost or doubled, bytes overwritten anywhere."""
    for draw in fuzz.cases(100):
        if problem := load(damage(good, draw)):
            fuzz.fail(damage.__name__, problem)
    fuzz.check()


def test_damaged_headers(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Bits flipped in the header alone, where each of them means something."""
    end = 8 + int.from_bytes(good[:8], "little")
    for draw in fuzz.cases(150):
        if problem := load(flip_bits(good, draw, end)):
            fuzz.fail("header bits", problem)
    fuzz.check()


def test_edited_headers(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Shapes, types, offsets and names of tensors that lie, tensors that come twice or overlap."""
    for draw in fuzz.cases(200):
        what, data = edit_header(good, draw)
        if problem := load(data):
            fuzz.fail(what, problem)
    fuzz.check()


DESCRIPTION_PLACES = [
    *["format", "kind", "architecture", "architecture.cell", "architecture.dropout"],
    *[
        "architecture.embedding_size",
        "architecture.hidden_size",
        "architecture.num_layers",
        "architecture.output",
        "corpus",
        "sha256",
    ],
    *["corpus.bytes", "corpus.characters", "corpus.encoding", "corpus.lines", "corpus.min_count"],
    *["corpus.name", "corpus.newlines", "corpus.paths", "corpus.paths.0", "corpus.sha256"],
    *["corpus.tokenizer", "corpus.val_fraction", "quality", "quality.bits_per_character"],
    *["quality.nats_per_character", "tokenizer", "tokenizer.kind", "tokenizer.unknown"],
    *["tokenizer.vocabulary", "training", "training.lr", "training.optimizer", "training.seconds"],
    *["training.seed", "training.steps"],
]


def edits(good: bytes, place: str) -> Iterator[tuple[str, bytes]]:
    """The file with each kind of junk at one place of its description, and without that place."""
    header, description, body = parse(good)
    path = next(p for p in places(description) if ".".join(map(str, p)) == place)
    for junk in JUNK:
        yield f"{place} = {junk!r:.60}", build(header, put(description, path, junk), body)
    yield f"without {place}", build(header, without(description, path), body)


def test_every_place_of_the_description_is_tried(good: bytes) -> None:
    """A field that is added to the description is one for the fuzzer, too."""
    found = {".".join(map(str, place)) for place in places(parse(good)[1])}
    assert found == set(DESCRIPTION_PLACES)


@pytest.mark.parametrize("place", DESCRIPTION_PLACES)
def test_junk_in_the_description(
    place: str, good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz
) -> None:
    """Values of other types, huge, nested, hostile, or none, at every place of the description."""
    for what, data in fuzz.some(list(edits(good, place)), 24):
        if problem := load(data):
            fuzz.fail(what, problem)
    fuzz.check()


def test_junk_in_several_places(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Junk at two or three places of the description at once."""
    header, description, body = parse(good)
    for draw in fuzz.cases(100):
        changed, chosen = description, draw.sample(list(places(description)), 2)
        for place in chosen:
            try:
                changed = put(changed, place, draw.choice(JUNK))
            except (KeyError, TypeError, IndexError, AttributeError):  # junk stands where this place was
                continue
        if problem := load(build(header, changed, body)):
            fuzz.fail(str(chosen), problem)
    fuzz.check()


USES = {
    "evaluate": ("evaluate", "-m", "m.safetensors", "-q"),
    "evaluate a text": ("evaluate", "-m", "m.safetensors", "-q", "t.txt"),
    "sample": ("sample", "-m", "m.safetensors", "-q", "-n", "9", "--seed", "1"),
    "sample novel lines": ("sample", "-m", "m.safetensors", "-q", "-n", "9", "--novel", "--lines", "1"),
    "train from it": (
        *("train", "t.txt", "-o", "new", "--init-from", "m.safetensors"),
        *("--steps", "1", "-q", "--threads", "1"),
    ),
}


@pytest.mark.parametrize("use", USES)
def test_commands_with_junk_in_the_description(
    use: str, good: bytes, zygote: Zygote, tmp_path: Path, fuzz: Fuzz
) -> None:
    """What a command reads of a model beyond loading it is checked, too: its corpus, above all."""
    header, description, body = parse(good)
    every = [place for place in places(description) if place[0] in ("corpus", "training", "quality")]
    cases, names = [], []
    for number, draw in enumerate(fuzz.cases(12)):
        place, junk = draw.choice(every), draw.choice(JUNK)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "t.txt").write_text(TEXT)
        (folder / "m.safetensors").write_bytes(build(header, put(description, place, junk), body))
        cases.append(Case(USES[use], str(folder), megabytes=600 if use.startswith("train") else MEGABYTES))
        names.append(f"{'.'.join(map(str, place))} = {junk!r:.60}")
    for name, outcome in zip(names, zygote(cases), strict=True):
        if problem := judge(outcome):
            fuzz.fail(name, problem)
    fuzz.check()


HOSTILE = ("\x1b[31mred\r\n\u202e", "\ud800", "a" * 20_000)


def test_what_a_file_says_reaches_the_terminal_on_one_line(
    good: bytes, zygote: Zygote, tmp_path: Path, fuzz: Fuzz
) -> None:
    """Escapes, newlines, surrogates and endless names in a model file are shown harmlessly."""
    header, description, body = parse(good)
    files = {
        f"{'.'.join(map(str, place))} = {text!r:.40}": build(
            dict(header), put(description, place, text), body
        )
        for place in places(description)
        for text in HOSTILE
    }
    for text in (HOSTILE[0], HOSTILE[2]):
        files[f"a tensor {text!r:.40}"] = repack(good, {text: ("F32", [1], b"\0" * 4)})
    cases, chosen = [], fuzz.some(list(files), 40)
    for number, name in enumerate(chosen):
        (tmp_path / f"{number}").write_bytes(files[name])
        cases.append(Case(("sample", "-m", f"{number}", "-n", "3", "-q"), str(tmp_path), megabytes=MEGABYTES))
    for name, outcome in zip(chosen, zygote(cases), strict=True):
        if problem := judge(outcome):
            fuzz.fail(name, problem)
    fuzz.check()


# -- files that are large, or say so -------------------------------------------------------------------


def described(place: Place, junk: Any) -> Callable[[bytes], bytes]:
    """Puts something into the description."""

    def change(good: bytes) -> bytes:
        header, description, body = parse(good)
        return build(header, put({"x": None} | description, place, junk), body)

    return change


def packed(**tensors: tuple[str, list[int], bytes]) -> Callable[[bytes], bytes]:
    """Adds or replaces tensors; a double underscore stands for a point."""
    return lambda good: repack(good, {name.replace("__", "."): tensor for name, tensor in tensors.items()})


SURROGATES = 0xD800
CLAIMS: dict[str, Callable[[bytes], bytes]] = {
    "hidden_size 65536": described(("architecture", "hidden_size"), 65536),
    "embedding_size 65536": described(("architecture", "embedding_size"), 65536),
    "64 layers": described(("architecture", "num_layers"), 64),
    "a large vocabulary": described(("tokenizer", "vocabulary"), "".join(map(chr, range(SURROGATES)))),
    "the highest character": described(("tokenizer", "vocabulary"), "\n abcde\U0010ffff"),
    "20 MB of JSON": described(("x",), "y" * 20_000_000),
    "a million objects": described(("x",), [{}] * 1_000_000),
    "20,000 empty tensors": packed(**{f"t{number}": ("F32", [0], b"") for number in range(20_000)}),
    "65 dimensions": packed(extra=("F32", [1] * 65, b"\0" * 4)),
    "a bias of 65 dimensions": packed(output__bias=("F32", [8] + [1] * 64, b"\0" * 32)),
    "NaN": packed(output__bias=("F16", [8], b"\0" * 14 + b"\xff\xff")),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_files_that_ask_for_much(claim: str, good: bytes, zygote: Zygote, tmp_path: Path) -> None:
    """A file that claims to be huge is refused, or loads, within a second and 200 MB."""
    (tmp_path / "m.safetensors").write_bytes(CLAIMS[claim](good))
    [outcome] = zygote([Case(USES["sample"], str(tmp_path), megabytes=MEGABYTES)])
    assert judge(outcome, memory=False) is None, outcome
    assert outcome.status == 0 or "m.safetensors: " in outcome.err
    assert outcome.seconds < SECONDS


@pytest.mark.parametrize("tensor", ["extra", "output.bias"])
def test_a_sparse_file_is_refused_from_its_header(
    tensor: str, good: bytes, zygote: Zygote, tmp_path: Path
) -> None:
    """3 GB of a tensor that does not belong there are refused before they are read."""
    header, _, body = parse(good)
    size = 3 << 30
    header[tensor] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [len(body), len(body) + size]}
    if tensor == "output.bias":  # its own numbers are then nobody's, which is no business of ours
        header["unused"] = {
            "dtype": "F32",
            "shape": [8],
            "data_offsets": parse(good)[0][tensor]["data_offsets"],
        }
    path = tmp_path / "m.safetensors"
    path.write_bytes(pack(json.dumps(header), body))
    os.truncate(path, path.stat().st_size + size)
    [outcome] = zygote([Case(USES["sample"], str(tmp_path), megabytes=MEGABYTES)])
    assert judge(outcome, memory=False) is None, outcome
    assert (outcome.status, outcome.seconds < SECONDS) == (1, True)
    assert "m.safetensors: " in outcome.err
