"""Every option of every command at the edges of its range and beyond them, and pairs of options."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import os
import random
import shutil
from pathlib import Path

import click
import pytest

from charrnn.cli.main import cli
from charrnn.model.file import save_model
from tests.conftest import random_model
from tests.fuzz.conftest import Fuzz
from tests.fuzz.edges import ANY, EDGES, HOSTILE, ODD, USUAL, WRONG, Edge, Flag
from tests.fuzz.judge import judge
from tests.fuzz.zygote import TEXT, Case, Outcome, Zygote

ENDLESS = 2_000  # bytes after which a file is full that is written without end


def names(command: str) -> list[str]:
    """The options of a command by their longest names, and its arguments."""
    found = []
    for param in cli.commands[command].params:
        if isinstance(param, click.Argument):
            found.append(str(param.name))
        else:
            found += [next(name for name in param.opts if name.startswith("--")), *param.secondary_opts]
    return found


def test_every_command_and_option_has_edges() -> None:
    """A command or option without a line in edges.py fails, and so does a line without its option."""
    assert set(EDGES) == set(USUAL) == set(cli.commands)
    for command, options in EDGES.items():
        assert sorted(options) == sorted(names(command)), command


@pytest.fixture(scope="module")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all that the edges name: texts, a model, a run, damaged files."""
    folder = tmp_path_factory.mktemp("furniture")
    (folder / "t.txt").write_text(TEXT)
    (folder / ODD).write_text(TEXT)
    (folder / "short.txt").write_text(TEXT[:44])
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)) * 4)
    (folder / "zeros").write_bytes(b"")
    os.truncate(folder / "zeros", 1 << 23)
    (folder / "compressed.gz").write_bytes(gzip.compress(TEXT.encode()))
    (folder / "cut.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    (folder / "folder").mkdir()
    (folder / "folder" / "t.txt").write_text(TEXT)
    for run in ("old", "old\udcff"):
        (folder / run).mkdir()
    model = random_model(layers=1, hidden=4, embedding=3, vocabulary="".join(sorted(set(TEXT))))
    save_model(folder / "m.safetensors", model)
    for run in ("old", "old\udcff"):
        save_model(folder / run / "model.safetensors", model)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "zeros" and not path.parent.name.startswith("old"):
            INPUTS[path.relative_to(folder)] = path.read_bytes()
    return folder


INPUTS: dict[Path, bytes] = {}  # what no command may change


def line(command: str, edge: Edge) -> tuple[str, ...]:
    """The usual command line with the edge in it."""
    usual = [args for name, args in USUAL[command].items() if name not in edge.drop]
    return (command, *itertools.chain(*usual), *edge.args)


def run(command: str, edges: list[Edge], furniture: Path, tmp_path: Path, zygote: Zygote) -> list[Outcome]:
    """How each edge ends, in a directory of its own with links to all that the edges name."""
    cases = []
    for number, edge in enumerate(edges):
        folder = tmp_path / str(number)
        shutil.copytree(furniture, folder, copy_function=os.link)
        size = ENDLESS if edge.endless else 64 << 20
        cases.append(Case(line(command, edge), str(folder), stdin=TEXT, file_bytes=size))
    return zygote(cases)


def problems(edges: list[Edge], outcomes: list[Outcome], tmp_path: Path, fuzz: Fuzz) -> None:
    """Notes what is wrong with how the edges ended; what was there must still be there, unchanged."""
    for number, (edge, outcome) in enumerate(zip(edges, outcomes, strict=True)):
        talk = "--interactive" in edge.args  # so that its last line is the one to judge
        last = "".join(outcome.err.splitlines(keepends=True)[-1:])
        judged = dataclasses.replace(outcome, err=last) if talk else outcome
        found = judge(judged, quiet=not {"--copied", "--interactive"} & set(edge.args))
        if found is None and outcome.status not in edge.statuses:
            found = f"status {outcome.status}, expected {sorted(edge.statuses)}: {outcome.err[:-1]}"
        for path, content in INPUTS.items():
            kept = tmp_path / str(number) / path
            if not kept.exists() or kept.read_bytes() != content:
                found = f"{path} was changed or removed; status {outcome.status}: {outcome.err[:-1]}"
        if found:
            fuzz.fail(" ".join(edge.args).encode("unicode_escape").decode(), found)
    shutil.rmtree(tmp_path)


OPTIONS = [(command, name) for command in EDGES for name in EDGES[command]]


@pytest.mark.parametrize(("command", "name"), OPTIONS, ids=map(" ".join, OPTIONS))
def test_edges(command: str, name: str, furniture: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """Each value ends with a status that its range allows; a refusal is one line; no input is changed."""
    edges = fuzz.some(EDGES[command][name].edges(name), 4)
    problems(edges, run(command, edges, furniture, tmp_path, zygote), tmp_path, fuzz)
    fuzz.check()


@pytest.mark.parametrize("command", sorted(EDGES))
def test_hostile_values(command: str, furniture: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """What is said of escapes, newlines and thousands of characters as a value is one short line."""
    edges = []
    for (name, values), text in itertools.product(EDGES[command].items(), HOSTILE):
        if not isinstance(values, Flag) and (name, text[0]) != ("--best-of", "9"):
            args = (name, text, *values.beside) if name.startswith("-") else (text,)
            edges.append(Edge(args, ANY, (*values.drop, name), endless=True))
    edges = fuzz.some(edges, 25)
    problems(edges, run(command, edges, furniture, tmp_path, zygote), tmp_path, fuzz)
    fuzz.check()


@pytest.mark.parametrize("page", ["t.txt", "m.safetensors"])
def test_no_page_replaces_what_is_read(
    page: str, furniture: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz
) -> None:
    """Not even ``--force`` lets the page take the place of the text or the model that it is made from."""
    edges = fuzz.some([Edge(("--html", page, "--force"), WRONG)], 1)
    problems(edges, run("evaluate", edges, furniture, tmp_path, zygote), tmp_path, fuzz)
    fuzz.check()


def draw_pair(command: str, draw: random.Random) -> Edge:
    """Two options at edges of their ranges, seldom three."""
    chosen = draw.sample(sorted(EDGES[command]), min(draw.choice((2, 2, 2, 3)), len(EDGES[command])))
    edges = []
    for name in chosen:
        values = EDGES[command][name].edges(name)
        sound = [edge for edge in values if 2 not in edge.statuses or draw.random() < 0.1]
        edges.append(draw.choice(sound or values))
    args = tuple(itertools.chain(*(edge.args for edge in edges)))
    drop = tuple(itertools.chain(*(edge.drop for edge in edges)))
    return Edge(args, ANY, drop, endless=any(edge.endless for edge in edges))


@pytest.mark.parametrize("command", sorted(EDGES))
def test_pairs(command: str, furniture: Path, tmp_path: Path, zygote: Zygote, fuzz: Fuzz) -> None:
    """Any two or three options together either mean something or are refused in one line."""
    edges = [draw_pair(command, draw) for draw in fuzz.cases(15)]
    problems(edges, run(command, edges, furniture, tmp_path, zygote), tmp_path, fuzz)
    fuzz.check()
