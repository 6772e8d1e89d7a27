"""Corpora that are none: noise in every encoding, damaged archives, bombs, sparse files, strange names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.config import CorpusConfig, Newlines, TokenizerKind
from charrnn.errors import CharrnnError
from charrnn.text.corpus import read_corpus
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import cut, flip_bits, overwrite
from tests.fuzz.judge import judge
from tests.fuzz.zygote import TEXT, TRAIN, Case, Zygote

ENCODINGS = (
    "utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-7", "ascii", "shift_jis", "gb18030",
    "big5", "euc_jp", "iso2022_jp", "cp037", "utf-8-sig", "hz", "koi8-r", "idna", "punycode",
    "raw_unicode_escape",
)  # fmt: skip
KINDS: tuple[TokenizerKind, ...] = ("char", "char", "byte")
NEWLINES: tuple[Newlines, ...] = ("keep", "unix")


def problem_of(path: Path, config: CorpusConfig) -> str | None:
    """What is wrong with how a text is read, or None: it is read whole, or refused by its name."""
    began = time.process_time()
    try:
        corpus = read_corpus([str(path)], config)
        # Of lines, empty ones are left out, and the last one gets its end.
        if len(corpus.ids) != corpus.characters and not config.lines:
            return f"{len(corpus.ids)} ids of {corpus.characters} characters"
        if len(corpus.ids) and int(corpus.ids.max()) >= corpus.tokenizer.size:
            return "an id beyond the vocabulary"
    except CharrnnError as error:
        if path.name not in str(error) and "--" not in str(error):
            return f"names neither the text nor an option: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if time.process_time() - began < 1 else f"took {time.process_time() - began:.1f} s"


def content(draw: random.Random) -> bytes:
    """Noise, a text in some encoding, a damaged one, a byte-order mark, NUL bytes, one endless line."""
    kind = draw.randrange(7)
    if kind == 0:
        return draw.randbytes(draw.choice((1, 2, 3, 100, 5000)))
    if kind == 1:
        return bytes(draw.choices((0, 10, 13, 32, 0x80, 0xED, 0xA0, 0xEF, 0xBB, 0xBF, 0xFE, 0xFF), k=60))
    if kind == 2:
        return draw.choice(
            (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"+/v8")
        ) + b"x" * draw.randrange(9)
    if kind == 3:
        return draw.choice((b"\r", b"\n", b"\r\n", b"a", b"\0", b"\x1b[31m")) * draw.choice((1, 2, 3000))
    text = "na\u00efve \u2603 \U0001f4a9\n" * draw.choice((1, 50))
    data = text.encode(draw.choice(ENCODINGS[:-3]), "replace")
    return data if kind == 4 else draw.choice((flip_bits, cut, overwrite))(data, draw)


def test_noise_in_every_encoding(tmp_path: Path, fuzz: Fuzz) -> None:
    """Any bytes under any encoding are a text, or are refused with the text's name or the option's."""
    path = tmp_path / "some text"
    for draw in fuzz.cases(300):
        config = CorpusConfig(
            encoding=draw.choice(ENCODINGS),
            tokenizer=draw.choice(KINDS),
            newlines=draw.choice(NEWLINES),
            lines=draw.random() < 0.3,
            min_count=draw.choice((1, 2, 1000)),
            val_fraction=draw.choice((0.0, 0.1, 0.999)),
        )
        data = content(draw)
        path.write_bytes(data)
        if problem := problem_of(path, config):
            fuzz.fail(f"{data!r:.60} {config}", problem)
    fuzz.check()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_damaged_archives(suffix: str, tmp_path: Path, fuzz: Fuzz) -> None:
    """Compressed texts that are cut, altered, doubled, or none at all."""
    path = tmp_path / f"text{suffix}"
    whole = COMPRESSORS[suffix](TEXT.encode())
    for draw in fuzz.cases(100):
        damage = draw.choice((flip_bits, cut, overwrite))
        data = damage(whole, draw)
        if draw.random() < 0.2:
            data = draw.choice((whole + data, data + whole, whole + b"tail", b"", TEXT.encode()))
        path.write_bytes(data)
        if problem := problem_of(path, CorpusConfig(tokenizer=draw.choice(KINDS))):
            fuzz.fail(f"{damage.__name__} {data[:40]!r}", problem)
    fuzz.check()


BOMB = 3 << 20


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_small_bombs_need_little_memory(suffix: str, kind: str, zygote: Zygote, tmp_path: Path) -> None:
    """A few kilobytes that become 3 MB are learnt, or refused, in no more memory than their ids need."""
    (tmp_path / f"t{suffix}").write_bytes(COMPRESSORS[suffix](b"ab\n" * (BOMB // 3)))
    args = ["train", f"t{suffix}", *TRAIN[2:], "--tokenizer", kind, "--val-fraction", "0.00001"]
    [outcome] = zygote([Case(tuple(args), str(tmp_path), megabytes=100, seconds=20)])
    assert judge(outcome, memory=False) is None, outcome


def test_a_sparse_file_is_no_text(zygote: Zygote, tmp_path: Path) -> None:
    """A terabyte of nothing is refused at its first byte, by train, evaluate and sample."""
    (tmp_path / "t.txt").touch()
    os.truncate(tmp_path / "t.txt", 1 << 40)
    [outcome] = zygote([Case(TRAIN, str(tmp_path), seconds=20)])
    assert judge(outcome, memory=False) is None, outcome
    assert (outcome.status, outcome.seconds < 1) == (1, True)
    assert "t.txt" in outcome.err


NAMES = (
    "\x1b[31mred", "two\nlines", "\r", "a" * 250, "\u202eevil", " ", "\t", "-o", "--force", "\udcff\udcfe",
    "*", "$(x)", "\N{PILE OF POO}", "ids-0.npy", "run", ".hidden.txt", "con", "a\\b", "'", "~", "log.jsonl",
    "%s{}", "t.txt.gz",
)  # fmt: skip


@pytest.mark.parametrize("where", ["a file", "in a directory", "a directory"])
def test_strange_names(where: str, zygote: Zygote, tmp_path: Path, fuzz: Fuzz) -> None:
    """Whatever a text or its directory is called: it is learnt, or refused on one printable line."""
    cases = []
    for number, name in enumerate(fuzz.some(NAMES, 10)):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = folder / name if where == "a file" else folder / "texts" / name
        if where == "a directory":
            text = folder / name / "t.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(TEXT)
        corpus = "texts" if where == "in a directory" else f"./{name}"
        args = ["train", corpus, *(arg for arg in TRAIN[2:] if arg not in ("-o", "run"))]
        cases.append(Case(tuple(args), str(folder)))
        # The same, with something wrong in it, so that the name is told.
        broken = folder / "broken"
        (broken / name).parent.mkdir(parents=True, exist_ok=True)
        (broken / name).write_bytes(b"\xff\xfe\xfd")
        cases.append(Case((*args[:1], f"broken/{name}", *args[2:]), str(folder)))
    fuzz.tried = len(cases)
    for case, outcome in zip(cases, zygote(cases), strict=True):
        if problem := judge(outcome):
            fuzz.fail(ascii(case.args[1]), problem)
    fuzz.check()


def links(folder: Path) -> dict[str, str]:
    """What can stand in a directory beside texts."""
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "secret").write_text(TEXT)
    (folder / "t.txt").write_text(TEXT)
    return {"loop": "loop", "gone": "gone", "the directory": ".", "through a link": "up/texts/t.txt"}


def test_links_and_pipes(zygote: Zygote, tmp_path: Path, fuzz: Fuzz) -> None:
    """Links in a circle, links to nowhere and pipes without a writer neither hang nor trace."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for title, name in links(folder).items():
        fuzz.tried += 1
        args = ["train", name, *TRAIN[2:], "--force"]
        [outcome] = zygote([Case(tuple(args), str(folder), seconds=30)])
        if problem := judge(outcome):
            fuzz.fail(title, problem)
    fuzz.check()
