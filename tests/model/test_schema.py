"""Hostile model files and training states: one line with the file's name, from the header alone."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cli.output import LONGEST
from charrnn.errors import ModelFileError
from charrnn.files import STATE_FILE
from charrnn.model.file import load_model, load_state, read_header, save_model, save_state
from tests.conftest import ROOT, random_model, run_charrnn
from tests.model.test_file import build, parse, repack, state_of

TEXT = "the quick brown fox jumps over the lazy dog\n" * 8
SURROGATES = 0xD800
GIGABYTES = 3 << 30

# Values of every type of JSON, and what a careless reader trips over.
JUNK: tuple[Any, ...] = (
    None, True, 5, -1, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "x", "\0", "\ud800",
    "\x1b[31mred\r\n", "a" * 20_000, [], [None], ["\0"], {}, {"x": 1},
)  # fmt: skip


def put(value: Any, place: tuple[str, ...], junk: Any) -> Any:
    """A copy of a JSON object with something else at one place."""
    changed = copy.deepcopy(value)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    return changed


# -- memory and time -------------------------------------------------------------------------------------

# Loads each file in a process of its own; prints its message, seconds and greatest memory in MB.
LOADER = """
import json, os, resource, sys, time
from pathlib import Path
from charrnn.cli.output import LONGEST
from charrnn.errors import ModelFileError
from charrnn.model.file import load_model, read_header

for path in sys.argv[2:]:
    sys.stdout.flush()
    if not os.fork():
        began = time.process_time()
        try:
            load_model(Path(path)) if sys.argv[1] == "load" else read_header(Path(path), "model")
            message = ""
        except ModelFileError as error:
            message = str(error)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps([message, time.process_time() - began, memory]))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def sparse(good: bytes, tensor: str, path: Path) -> None:
    """Writes the model with three gigabytes of zeros as one tensor, which take no room on the disk."""
    header, description, body = parse(good)
    if tensor in header:
        header["unused"] = header[tensor]
    offsets = [len(body), len(body) + GIGABYTES]
    header[tensor] = {"dtype": "F32", "shape": [GIGABYTES // 4], "data_offsets": offsets}
    path.write_bytes(build(header, description, body))
    os.truncate(path, path.stat().st_size + GIGABYTES)


def hostile(good: bytes, folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that claim much, and what the refusal has to say; "" where they may load."""
    header, description, body = parse(good)
    for tensor, message in (
        ("extra", "extra: expected no such"),
        ("output.bias", "output.bias: expected sh"),
    ):
        sparse(good, tensor, folder / f"sparse-{tensor}")
        yield folder / f"sparse-{tensor}", message if tensor == "extra" else "unused: expected no such"
    wide = {"embedding.weight": ("F32", [1 << 20, 600], b"")}  # its numbers are only claimed
    data = repack(good, {"embedding.weight": None})
    other, described, rest = parse(data)
    kind, shape, _ = wide["embedding.weight"]
    size = 4 * shape[0] * shape[1]
    other["embedding.weight"] = {
        "dtype": kind, "shape": shape, "data_offsets": [len(rest), len(rest) + size]
    }  # fmt: skip
    path = folder / "wide"
    path.write_bytes(build(other, described, rest))
    os.truncate(path, path.stat().st_size + size)
    yield path, "embedding.weight: expected shape (2, 2), found (1048576, 600)"
    claims: dict[str, tuple[tuple[str, ...], Any, str]] = {
        "hidden": (("architecture", "hidden_size"), 65536, "layers.0.input.weight: expected shape (262144"),
        "vocabulary": (
            ("tokenizer", "vocabulary"),
            "".join(map(chr, range(SURROGATES))),
            "embedding.weight:",
        ),
        "json": (("x",), "y" * 20_000_000, ""),
        "too much json": (("x",), "y" * 30_000_000, "is larger than that of any model"),
        "objects": (("x",), [{}] * 1_000_000, "is larger than that of any model"),
        "some objects": (("x",), [{"a": 0}] * 140_000, ""),
    }
    for name, (place, junk, message) in claims.items():
        (folder / name).write_bytes(build(dict(header), put({"x": 0} | description, place, junk), body))
        yield folder / name, message
    many = {f"t{number}": ("F32", [0], b"") for number in range(40_000)}
    (folder / "many").write_bytes(repack(good, dict(many)))
    yield folder / "many", "t0: expected no such tensor"
    (folder / "long").write_bytes((1 << 31).to_bytes(8, "little"))
    os.truncate(folder / "long", 1 << 32)
    yield folder / "long", "its header, of 2,147,483,648 bytes, is larger than that of any model"


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """The bytes of a small, sound model file."""
    save_model(tmp_path / "good", random_model(layers=1, hidden=3, embedding=2, vocabulary="ab"))
    return (tmp_path / "good").read_bytes()


@pytest.mark.parametrize("how", ["load", "header"])
def test_hostile_models_cost_neither_time_nor_memory(good: bytes, tmp_path: Path, how: str) -> None:
    """Gigabytes of wrong tensors or of JSON are refused within a second and 200 MB, Python included."""
    cases = dict(hostile(good, tmp_path))
    runs = []
    for _ in range(2):  # another program on the same core makes processor time longer, too
        done = subprocess.run(
            [sys.executable, "-c", LOADER, how, *map(str, cases)],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        runs.append([json.loads(line) for line in done.stdout.splitlines()])
    assert len(runs[0]) == len(cases)
    for (path, expected), (message, seconds, megabytes), again in zip(cases.items(), *runs, strict=True):
        assert min(seconds, again[1]) < 1, path
        assert megabytes < 200, path
        if how == "load" or "larger" in expected:
            assert expected in message, path
            assert bool(message) == bool(expected)


@pytest.mark.parametrize("dimensions", [33, 65, 200])
@pytest.mark.parametrize("name", ["output.bias", "extra"])
def test_tensors_of_more_dimensions_than_numpy_has(
    good: bytes, tmp_path: Path, dimensions: int, name: str
) -> None:
    """A tensor of any number of dimensions is named as misshapen or foreign."""
    path = tmp_path / "m"
    path.write_bytes(repack(good, {name: ("F32", [2] + [1] * (dimensions - 1), bytes(8))}))
    with pytest.raises(ModelFileError, match=rf"^{path}: {name}: expected (shape|no such tensor)") as caught:
        load_model(path)
    assert len(str(caught.value)) < len(str(path)) + 150


# -- types -----------------------------------------------------------------------------------------------

PLACES = [
    ("corpus", "encoding", [5, None, ["utf-8"]]),
    ("corpus", "paths", [5, "x", [5], ["\0"], ["\ud800"], None]),
    ("corpus", "val_fraction", ["x", 1.0, -0.5, float("nan"), 10**400, None]),
    ("corpus", "sha256", [None, 5, "", "x" * 64, "A" * 64]),
    ("corpus", "characters", ["5", -1, 0.5, True, 10**400]),
    ("corpus", "newlines", ["dos", 5]),
    ("corpus", "lines", [1, "yes", None]),
    ("corpus", "name", [5, None, []]),
    ("training", "lr", ["x", [], True]),
    ("training", "seconds", ["x", float("nan"), -1]),
    ("training", "window", [0.5, None]),
    ("quality", "bits_per_character", ["x", None, [1], 10**400]),
    ("quality", "characters", [1.5, "x"]),
]


@pytest.mark.parametrize(("section", "key", "values"), PLACES)
def test_types_within_a_model_s_sections_are_checked(
    good: bytes, tmp_path: Path, section: str, key: str, values: list[Any]
) -> None:
    """What a model says of text, training and quality is of its type, or file and key are named."""
    header, description, body = parse(good)
    path = tmp_path / "m"
    for value in values:
        path.write_bytes(build(dict(header), put(description, (section, key), value), body))
        with pytest.raises(
            ModelFileError, match=rf"^{path}: {section}\.{key}: expected .*, found "
        ) as caught:
            load_model(path)
        assert str(caught.value).isprintable()


def test_a_diverged_model_still_loads(good: bytes, tmp_path: Path) -> None:
    """A loss that is not a number is a figure like any other; keys of later versions are passed over."""
    header, description, body = parse(good)
    description["quality"] = {"nats_per_character": float("nan"), "new": [1]}
    description["corpus"] = None
    (tmp_path / "m").write_bytes(build(header, description, body))
    assert load_model(tmp_path / "m").quality["new"] == [1]
    assert load_model(tmp_path / "m").corpus == {}


def test_headers_that_are_too_long_are_refused_by_the_list(tmp_path: Path) -> None:
    """Reading only the header is bounded, too."""
    (tmp_path / "m").write_bytes((1 << 31).to_bytes(8, "little"))
    os.truncate(tmp_path / "m", 1 << 32)
    with pytest.raises(ModelFileError, match="larger than that of any model"):
        read_header(tmp_path / "m", "model")


# -- training states -------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def says(*place: str, **values: Any) -> Change:
    """Changes values of the description, or of a section of it; a value of ABSENT takes one away."""

    def change(_: dict[str, Any], description: dict[str, Any]) -> None:
        for key in place:
            description = description[key]
        for key, value in values.items():
            description.pop(key) if value is ABSENT else description.update({key: value})

    return change


def holds(name: str, array: Any) -> Change:
    """Changes a tensor, or takes it away."""

    def change(tensors: dict[str, Any], _: dict[str, Any]) -> None:
        tensors.pop(name) if array is ABSENT else tensors.update({name: array})

    return change


ABSENT = object()
BIAS = "weights.output.bias"
COUNTS = "expected a whole number from 0 to 2^63 - 1"
STATE_CHANGES: list[tuple[Change, str]] = [
    (says(architecture=None), "architecture: expected an object, found None"),
    (says(architecture=ABSENT), "architecture: expected it, found none"),
    (says("architecture", cell=ABSENT), "architecture.cell: expected it, found none"),
    (says(tokenizer=5), "expected a char or byte tokenizer, found 5"),
    (says(tokenizer=ABSENT), "tokenizer: expected it, found none"),
    (says(precision="fp8"), "precision: expected one of fp32, bf16, found 'fp8'"),
    (says(finished=1), "finished: expected True or False, found 1"),
    (says("progress", step=-1), f"progress.step: {COUNTS}, found -1"),
    (says("progress", step=2**63), f"progress.step: {COUNTS}, found 9223372036854775808"),
    (says("progress", seconds=float("nan")), "progress.seconds: expected at least 0, found nan"),
    (says("progress", rate_scale=0), "progress.rate_scale: expected greater than 0 and at most 1, found 0"),
    (says("progress", best="low"), "progress.best: expected a number or null, found 'low'"),
    (says("progress", stale=ABSENT), "progress.stale: expected it, found none"),
    (says("training", lr=10**400), "training.lr: expected a finite number, found 1000"),
    (says("training", batch_size=0), "training.batch_size: expected greater than 0, found 0"),
    (says("training", seed=ABSENT), "training.seed: expected it, found none"),
    (says("training", optimizer="sgd"), "training.optimizer: expected one of muon, adamw, found 'sgd'"),
    (says("corpus", sha256=ABSENT), "corpus.sha256: expected it, found none"),
    (says("corpus", paths=None), "corpus.paths: expected a list of paths, found None"),
    (holds(BIAS, ABSENT), f"{BIAS}: expected it, found none"),
    (holds("gradient_norm", ABSENT), "gradient_norm: expected it, found none"),
    (holds("optimizer.step.output.bias", ABSENT), "optimizer.step.output.bias: expected it, found none"),
    (holds("hidden.1.0", ABSENT), "hidden.1.0: expected it, found none"),
    (holds("other", np.zeros(1)), "other: expected no such tensor, found one"),
    (
        holds("optimizer.momentum.output.bias", np.zeros(2)),
        "optimizer.momentum.output.bias: expected no such",
    ),
    (holds(BIAS, np.zeros(2, np.int32)), f"{BIAS}: expected float32, found int32"),
    (holds(BIAS, np.zeros(2, np.float16)), f"{BIAS}: expected float32, found float16"),
    (holds(BIAS, np.zeros(3, np.float32)), f"{BIAS}: expected shape (2,), found (3,)"),
    (
        holds("hidden.0.0", np.zeros((1, 3, 9), np.float32)),
        "hidden.0.0: expected shape (1, any, 8), found (1, 3, 9)",
    ),
    (holds("random.cpu", np.zeros(16, np.int8)), "random.cpu: expected uint8, found int8"),
]


@pytest.mark.parametrize(("change", "message"), STATE_CHANGES)
def test_wrong_states_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    """A value or tensor of a state that is wrong or missing is named, with what was expected."""
    tensors, description = state_of()
    change(tensors, description)
    path = tmp_path / "state"
    save_state(path, tensors, description)
    with pytest.raises(ModelFileError) as caught:
        load_state(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_state_before_its_first_step_has_fewer_tensors(tmp_path: Path) -> None:
    """Neither optimizers nor a hidden state need be there, but all of each or none."""
    tensors, description = state_of()
    few = {name: array for name, array in tensors.items() if not name.startswith(("optimizer", "hidden"))}
    save_state(tmp_path / "state", few, description)
    assert load_state(tmp_path / "state")[0].keys() == few.keys()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a text and the run of a training that has one step to go."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "t.txt").write_text(TEXT)
    small = ("--hidden-size", 4, "--num-layers", 1, "--embedding-size", 3, "--threads", 1)
    result = run_charrnn(
        *("train", "t.txt", "-o", "run", "--steps", 1, *small, "--batch-size", 2, "--seq-length", 8, "-q"),
        cwd=folder,
    )
    assert result.status == 0, result.err
    path = folder / "run" / STATE_FILE
    header, description, body = parse(path.read_bytes())
    description["finished"] = False
    description["training"]["steps"] = 2
    path.write_bytes(build(header, description, body))
    return folder


RESUME = """
import sys
from pathlib import Path
from charrnn.cli.main import run

for name in sys.argv[1:]:
    print(run(["train", "--resume", "-o", name, "-q", "--threads", "1"]), file=sys.stderr, flush=True)
"""


def test_no_junk_in_a_state_is_a_traceback(stopped: Path, tmp_path: Path) -> None:
    """At every place of a state's description, any junk is resumed from or refused in one line."""
    header, description, body = parse((stopped / "run" / STATE_FILE).read_bytes())
    places: list[tuple[str, ...]] = [(key,) for key in description]
    places += [(key, inner) for key in description if isinstance(description[key], dict)
               for inner in description[key]]  # fmt: skip
    names: list[str] = []
    tried: list[tuple[str, ...]] = []
    for number, place in enumerate(places):
        for junk in JUNK[number % 4 :: 4]:
            folder = tmp_path / f"run{len(names)}"
            folder.mkdir()
            (folder / STATE_FILE).write_bytes(build(dict(header), put(description, place, junk), body))
            names.append(str(folder))
            tried.append(place)
    done = subprocess.run(
        [sys.executable, "-c", RESUME, *names], capture_output=True, text=True, check=False, cwd=stopped,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    said: list[str] = []
    ends: list[list[str]] = []
    for line in lines:
        if line.isdigit():
            ends.append([*said, line])
            said = []
        else:
            said.append(line)
    assert len(ends) == len(names)
    for name, place, (*messages, status) in zip(names, tried, ends, strict=True):
        assert (len(messages), status) in ((0, "0"), (1, "1"), (1, "2")), (name, messages, status)
        if messages:
            # Another text's path or hash is what the message is about, where the state says so.
            about = "sha256" in messages[0] or place == ("corpus", "paths")
            about = about or place[0] == "corpus"  # what is said of its text, or of --val
            assert name in messages[0] or about, messages
            assert len(messages[0]) <= LONGEST
