"""Damaged training states: ``train --resume`` goes on, or refuses in one line that names the state."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import (
    JUNK,
    SHAPES,
    TYPES,
    cut,
    edit_header,
    flip_bits,
    overwrite,
    places,
    put,
    without,
)
from tests.fuzz.judge import judge
from tests.fuzz.zygote import HUNG, TEXT, TRAIN, Case, Outcome, Zygote
from tests.model.test_file import build, parse

RESUME = ("train", "--resume", "-o", "run", "-q", "--threads", "1")
STATE = "state.safetensors"


@pytest.fixture(scope="module")
def good(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a text and the run of a training that has one step to go."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "t.txt").write_text(TEXT)
    [outcome] = zygote([Case(TRAIN, str(folder))])
    assert outcome.status == 0, outcome
    path = folder / "run" / STATE
    header, description, body = parse(path.read_bytes())
    description["finished"] = False
    description["training"]["steps"] += 1
    path.write_bytes(build(header, description, body))
    return folder


def resume(
    good: Path,
    tmp_path: Path,
    zygote: Zygote,
    states: list[bytes],
    megabytes: int = 400,
    seconds: float = 6.0,
) -> list[Outcome]:
    """How resuming from each of these states ends, in so much memory and processor time."""
    cases = []
    for number, data in enumerate(states):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        (folder / "run" / STATE).write_bytes(data)
        cases.append(Case(RESUME, str(folder), megabytes=megabytes, seconds=seconds))
    return zygote(cases)


def problem_of(outcome: Outcome, *, paths: bool = False) -> str | None:
    """What is wrong with how resuming ended: beside what holds of every command, a refusal names the state.

    Where the text is another one, or has another name in the state, it may name the text instead.
    """
    texts = ("not the text this run", "if the text has moved", "the model's own text")
    named = paths or any(part in outcome.err for part in (STATE, *texts))
    if outcome.status and not named:
        return judge(outcome, memory=False) or f"does not name the state: {outcome.err[:-1]}"
    return judge(outcome, memory=False)


def test_the_sound_state_is_resumed(good: Path, tmp_path: Path, zygote: Zygote) -> None:
    """What the fuzzers damage is a state that goes on by one step."""
    [outcome] = resume(good, tmp_path, zygote, [(good / "run" / STATE).read_bytes()])
    assert outcome.status == 0, outcome
    assert "of 2)" in outcome.out


@pytest.mark.parametrize("damage", [flip_bits, cut, overwrite])
def test_damaged_states(
    damage: Callable[[bytes, random.Random], bytes], good: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz
) -> None:
    """Bits flipped, pieces lost or doubled, bytes overwritten anywhere."""
    data = (good / "run" / STATE).read_bytes()
    states = [damage(data, draw) for draw in fuzz.cases(5)]
    for outcome in resume(good, tmp_path, zygote, states):
        if problem := problem_of(outcome):
            fuzz.fail(damage.__name__, problem)
    fuzz.check()


def test_edited_headers(good: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """Shapes, types, offsets and names of tensors that lie, tensors that come twice or overlap."""
    data = (good / "run" / STATE).read_bytes()
    edited = [edit_header(data, draw) for draw in fuzz.cases(10)]
    outcomes = resume(good, tmp_path, zygote, [data for _, data in edited])
    for (what, _), outcome in zip(edited, outcomes, strict=True):
        if problem := problem_of(outcome):
            fuzz.fail(what, problem)
    fuzz.check()


SECTIONS = (
    "architecture", "corpus", "finished", "format", "kind", "precision", "progress", "sha256", "tokenizer",
    "training",
)  # fmt: skip


def test_every_section_is_tried(good: Path) -> None:
    """A section that is added to the state's description is one for the fuzzer, too."""
    assert sorted(parse((good / "run" / STATE).read_bytes())[1]) == sorted(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_junk_in_the_description(
    section: str, good: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz
) -> None:
    """Values of other types, huge, nested, hostile or none in each section of the description."""
    header, description, body = parse((good / "run" / STATE).read_bytes())
    every = [place for place in places(description) if place[0] == section]
    names, states = [], []
    for number, draw in enumerate(fuzz.cases(10)):
        # The first cases are one for each place; the junk is drawn.
        place = every[number % len(every)] if number < len(every) else draw.choice(every)
        junk = draw.choice(JUNK)
        removed = draw.random() < 0.1
        changed = without(description, place) if removed else put(description, place, junk)
        names.append(f"{'.'.join(map(str, place))} " + ("removed" if removed else f"= {junk!r:.60}"))
        states.append(build(dict(header), changed, body))
    for name, outcome in zip(names, resume(good, tmp_path, zygote, states), strict=True):
        long = name.startswith(("training.steps", "training.epochs", "training.time"))
        if long and outcome.status == HUNG:
            continue  # it goes on for as long as it was told to
        if problem := problem_of(outcome, paths=name.startswith("corpus.")):
            fuzz.fail(name, problem)
    fuzz.check()


def test_each_tensor_is_needed_as_it_is(good: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """A tensor that is missing, of another type or of another shape is refused, or does no harm."""
    header, description, body = parse((good / "run" / STATE).read_bytes())
    names = sorted(name for name in header if name != "__metadata__")
    titles, states = [], []
    for number, draw in enumerate(fuzz.cases(10)):
        name = names[number % len(names)]
        changed = json.loads(json.dumps(header))
        entry = changed[name]
        size = entry["data_offsets"][1] - entry["data_offsets"][0]
        kind = draw.choice(("missing", "type", "shape", "list"))
        if kind == "missing":
            del changed[name]  # its bytes remain, for a tensor that nobody asked for
            changed[f"other.{name}"] = entry
        elif kind == "type":
            same = {1: ("I8", "BOOL", "U8"), 2: ("F16", "I16"), 4: ("I32", "F32"), 8: ("F64", "I64")}
            count = 1
            for length in entry["shape"]:
                count *= length
            entry["dtype"] = draw.choice(same.get(size // max(count, 1), TYPES))
        elif kind == "shape":
            entry["shape"] = [1] * draw.choice((1, 3, 70)) + entry["shape"]
        else:
            entry["shape"] = draw.choice(SHAPES)
        titles.append(f"{name} {kind} {entry['dtype']} {entry['shape']!s:.60}")
        states.append(build(changed, description, body))
    for title, outcome in zip(titles, resume(good, tmp_path, zygote, states), strict=True):
        if problem := problem_of(outcome):
            fuzz.fail(title, problem)
    fuzz.check()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places that a state may name: 20,000 small files, what is no text, a large file, a pipe."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, content in (("texts", b"fox\n"), ("pictures", b"\0")):
        (folder / name).mkdir()
        for number in range(20_000):
            (folder / name / str(number)).write_bytes(content)
    (folder / "large").touch()
    os.truncate(folder / "large", 1 << 40)
    os.mkfifo(folder / "fifo")
    return folder


PLACES = (
    "/", "/proc", "/sys", "/dev", "/usr", "/dev/zero", "/dev/tty", "/proc/self/mem",
    "texts", "pictures", "large", "fifo", "missing", "a" * 5000,
)  # fmt: skip
CLAIMS: tuple[dict[str, Any], ...] = (
    {}, {"bytes": 2**62, "val_bytes": 2**62}, {"tokenizer": "byte"}, {"lines": True, "column": ["a"]},
)  # fmt: skip


def test_what_a_state_names_is_bounded(
    good: Path, elsewhere: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz
) -> None:
    """Devices, pipes, the whole disk and directories of many files: one line, soon, in little memory."""
    header, description, body = parse((good / "run" / STATE).read_bytes())
    cases = fuzz.some(list(itertools.product(PLACES, CLAIMS, ("paths", "val"))), 12)
    states = []
    for place, claim, key in cases:
        path = str(elsewhere / place) if place in ("texts", "pictures", "large", "fifo") else place
        named = {"paths": [path]} if key == "paths" else {"val": path, "val_sha256": "0" * 64}
        edited = description | {"corpus": description["corpus"] | claim | named}
        states.append(build(dict(header), edited, body))
    outcomes = resume(good, tmp_path, zygote, states, megabytes=200, seconds=20.0)
    for (place, claim, key), outcome in zip(cases, outcomes, strict=True):
        problem = judge(outcome, memory=False)
        if problem is None and (outcome.status != 1 or "the state" in outcome.err):
            problem = f"status {outcome.status}: {outcome.err}"
        if problem:
            fuzz.fail(f"{key} {place:.20} {claim}", problem)
    fuzz.check()


LOGS = (
    "[" * 200_000, '{"step": 1, "a": ' + "[" * 50_000 + "]" * 50_000 + "}", '{"step": "x", "val_loss": [1]}',
    '{"step": ' + "9" * 5000 + "}", '{"step": 1e999}', "\0" * 99, "x" * (1 << 20),
    "\n".join(f'{{"step": {n}, "val_loss": {-1e308 * (-1) ** n}, "train_loss": NaN}}' for n in range(9)),
    "\n".join(f'{{"step": {n}, "val_loss": {"9" * 400}, "lr": true, "\\u001b": 1}}' for n in range(9)),
    '{"step": 1}\n' * 50_000, "\n".join(f'{{"step": {n}}}' for n in range(50_000)),
)  # fmt: skip


def test_logs_of_all_kinds(good: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """A stranger's log beside a sound state: the training goes on, and inspect draws what can be drawn."""
    cases, names = [], []
    for number, (log, fifo) in enumerate([*((log, False) for log in fuzz.some(LOGS, 5)), ("", True)]):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        path = folder / "run" / "log.jsonl"
        path.unlink()
        if fifo:
            os.mkfifo(path)
        else:
            path.write_text(log)
        cases += [Case(args, str(folder), megabytes=400) for args in (("inspect", "-m", "run", "-q"), RESUME)]
        names += [(f"{args} {log:.40}", fifo and args == "resume") for args in ("inspect", "resume")]
    for (name, refused), outcome in zip(names, zygote(cases), strict=True):
        problem = judge(outcome, memory=False)
        if problem is None and outcome.status != refused:
            problem = f"status {outcome.status}: {outcome.err}"
        if problem:
            fuzz.fail(name, problem)
    fuzz.check()
