"""Damaged files of n-grams: each loads and writes text, or is refused in one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.config import CorpusConfig, NGramConfig
from charrnn.training.counting import count_run
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import JUNK, cut, edit_header, flip_bits, overwrite, places, put, without
from tests.fuzz.zygote import TEXT
from tests.model.test_file import build, parse, repack


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """A sound file of a 4-gram."""
    (tmp_path / "t.txt").write_text(TEXT)
    found = count_run([str(tmp_path / "t.txt")], tmp_path / "run", CorpusConfig(), NGramConfig(order=4))
    return found.path.read_bytes()


def unsigned(data: bytes) -> bytes:
    """The file without its checksum, so that damage is met by what reads the tensors."""
    header, description, body = parse(data)
    description.pop("sha256", None)
    return build(header, description, body)


def test_the_sound_file_loads(good: bytes, load: Callable[[bytes], str | None]) -> None:
    """What is damaged here is sound, with its checksum and without."""
    assert load(good) is None
    assert load(unsigned(good)) is None


@pytest.mark.parametrize("damage", [flip_bits, cut, overwrite])
def test_damaged_bytes(damage: Callable[..., bytes], good: bytes, load: Callable[[bytes], str | None],
                       fuzz: Fuzz) -> None:  # fmt: skip
    """Bits flipped, pieces lost or doubled, bytes overwritten anywhere, where no checksum tells."""
    data = unsigned(good)
    for draw in fuzz.cases(60):
        if problem := load(damage(data, draw)):
            fuzz.fail(damage.__name__, problem)
    fuzz.check()


def test_damaged_numbers(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Bits flipped in the tensors alone."""
    data = unsigned(good)
    begin = 8 + int.from_bytes(data[:8], "little")
    for draw in fuzz.cases(100):
        if problem := load(data[:begin] + flip_bits(data[begin:], draw)):
            fuzz.fail("numbers", problem)
    fuzz.check()


def test_edited_headers(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Shapes, types, offsets and names of tensors that lie, tensors that come twice or overlap."""
    data = unsigned(good)
    for draw in fuzz.cases(100):
        what, changed = edit_header(data, draw)
        if problem := load(changed):
            fuzz.fail(what, problem)
    fuzz.check()


def test_junk_in_the_description(good: bytes, load: Callable[[bytes], str | None], fuzz: Fuzz) -> None:
    """Values of other types, huge, nested, hostile, or none, at every place, those of the n-gram first."""
    header, description, body = parse(good)
    every = sorted(places(description), key=lambda place: place[0] != "architecture")
    assert ("architecture", "order") in every
    cases = [(place, junk) for place in every[:3] for junk in (*JUNK, 1, 3, 5, 8, 9, "ngram", "lstm")]
    cases += [(place, junk) for place in every[3:] for junk in JUNK]
    for place, junk in [*cases[:60], *fuzz.some(cases[60:], 60)]:
        if problem := load(build(dict(header), put(description, place, junk), body)):
            fuzz.fail(f"{place} = {junk!r:.60}", problem)
    for place in every:
        if problem := load(build(dict(header), without(description, place), body)):
            fuzz.fail(f"without {place}", problem)
    fuzz.check()


def test_a_claim_of_many_children(good: bytes, load: Callable[[bytes], str | None]) -> None:
    """Children that would fill the memory are refused from their sum."""
    count = parse(good)[0]["grams.2.children"]["shape"][0]
    claim = {"grams.2.children": ("U32", [count], b"\xff" * 4 * count)}
    assert load(repack(good, dict(claim))) is None
