"""The README says what the programs do, and its map is the package as it is."""

from __future__ import annotations

import configparser
import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import benchmarks.readme
from benchmarks.readme import README, with_help
from charrnn.cli.main import cli
from charrnn.config import ModelConfig
from charrnn.model.file import FORMAT
from charrnn.model.schema import expected_shapes
from tests.test_house import PACKAGE, TORCH

TEXT = README.read_text(encoding="utf-8")
WIDTH = 120  # columns of the map, so that no line of it is wrapped on a wide screen


def section(title: str) -> str:
    """The README from a heading to the next one of the same level."""
    return TEXT[TEXT.index(f"## {title}\n") :].split("\n## ", 1)[0]


def map_of(text: str) -> Iterator[tuple[str, bool, str]]:
    """The path, whether it is marked with a dagger, and the description on each line of the README's map.

    >>> list(map_of("a/\\n  b/ †  TITLE\\n    c.py  what it is"))
    [('a/', False, ''), ('a/b/', True, 'TITLE'), ('a/b/c.py', False, 'what it is')]
    >>> list(map_of("a/\\n  b/\\n    c.py\\n  d.py"))[-1]
    ('a/d.py', False, '')
    """
    folders: list[str] = []
    for line in text.splitlines():
        found = re.fullmatch(r"( *)(\S+)( †)?(?: {2,}(\S.*))?", line)
        assert found, f"not a line of the map: {line!r}"
        indent, name, dagger, what = found.groups()
        del folders[len(indent) // 2 :]
        yield "".join(folders) + name, dagger is not None, what or ""
        if name.endswith("/"):
            folders.append(name)


@pytest.fixture(scope="module")
def mapped() -> dict[str, tuple[bool, str]]:
    """The map: each path with its dagger and its description."""
    block = section("The map").split("```text\n")[1].split("```")[0]
    lines = list(map_of(block))
    assert len({path for path, _, _ in lines}) == len(lines)
    return {path: (dagger, what) for path, dagger, what in lines}


def modules() -> set[str]:
    """Every module of the package, as a path from the root, without empty ``__init__.py`` files."""
    return {
        path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py") if path.stat().st_size
    }


def test_examples() -> None:
    """The examples in this file's and the generator's docstrings hold."""
    for module in (benchmarks.readme, sys.modules[__name__]):
        assert doctest.testmod(module).failed == 0


def test_help_in_readme_is_the_help_of_the_commands() -> None:
    """The README's help is what the commands print; else run python -m benchmarks.readme."""
    assert with_help(TEXT) == TEXT


def test_the_help_is_folded() -> None:
    """Each command's help is in a ``<details>`` element of its own, which opens with a click."""
    for name in cli.commands:
        summary = f"<details>\n<summary><code>charrnn {name} --help</code></summary>"
        assert TEXT.count(f"{summary}\n\n```text\nUsage: charrnn {name} ") == 1
    assert TEXT.count("<details>") == TEXT.count("\n```\n\n</details>") == len(cli.commands)


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_option_is_in_the_readme(name: str) -> None:
    """Each option's every spelling stands in the README, with a help text of its own."""
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            for spelling in parameter.opts + parameter.secondary_opts:
                assert spelling in TEXT


def test_the_format_names_every_tensor() -> None:
    """The README's format section names the version and every tensor that a file has."""
    text = section("A model is one file")
    assert f"`format`: {FORMAT}." in text
    for name in expected_shapes(ModelConfig(num_layers=1), 5):
        assert f"`{name.replace('layers.0', 'layers.l')}`" in text
    numbered = re.findall(r"^\d+\. ", text, flags=re.MULTILINE)
    assert 10 <= len(numbered) <= 25


def test_every_module_is_on_the_map(mapped: dict[str, tuple[bool, str]]) -> None:
    """Each module of the package has a line in the README's map, which says what is in it."""
    assert sorted(modules() - mapped.keys()) == []
    assert [path for path in modules() if not mapped[path][1]] == []


def test_the_map_names_nothing_that_does_not_exist(mapped: dict[str, tuple[bool, str]]) -> None:
    """Each file and folder on the README's map exists."""
    missing = [path for path in mapped if not (README.parent / path).exists()]
    assert missing == []


def test_the_map_says_what_imports_torch(mapped: dict[str, tuple[bool, str]]) -> None:
    """A dagger stands at the modules that may import torch, or at their folder, and nowhere else."""
    marked = {path.removesuffix(".py").strip("/").replace("/", ".") for path in mapped if mapped[path][0]}
    assert marked == TORCH | {"charrnn.training"}


def test_the_map_is_in_columns(mapped: dict[str, tuple[bool, str]]) -> None:
    """Every description begins in the same column, and no line of the map is too long for a screen."""
    lines = section("The map").split("```text\n")[1].split("```")[0].splitlines()
    starts = {len(line) - len(what) for line, (_, what) in zip(lines, mapped.values(), strict=True) if what}
    assert len(starts) == 1
    assert max(map(len, lines)) <= WIDTH


def test_the_walks_name_modules_that_exist() -> None:
    """Every file that the three walks and the troubleshooting name is a module of the package."""
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", section("Three walks")))
    assert len(named) >= 20
    assert [name for name in named if not Path(PACKAGE, name).is_file()] == []


def test_links_to_files_lead_somewhere() -> None:
    """Each link of a Markdown file of the project to another file leads to one that exists."""
    for page in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "corpora/README.md"):
        path = README.parent / page
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_lines_are_ranked_one_by_one() -> None:
    """Wherever the README scores line by line, no line's figure depends on the order of the lines."""
    commands = [line for line in TEXT.splitlines() if "--per-line" in line and line.startswith("$")]
    assert commands
    assert [line for line in commands if "--reset lines" not in line] == []


def test_the_versions_are_those_of_the_package() -> None:
    """The README names the oldest Python and packages that setup.cfg admits, and the newest torch."""
    config = configparser.ConfigParser()
    config.read(README.parent / "setup.cfg", encoding="utf-8")
    options = config["options"]
    [paragraph] = [text for text in TEXT.split("\n\n") if "`setup.cfg` has it" in text]
    assert f"Python {options['python_requires'].removeprefix('>=')} or later" in paragraph
    paragraph = " ".join(paragraph.split())
    required = re.findall(r"^(\w+) >=([0-9.]+),<([0-9.]+)$", options["install_requires"], flags=re.MULTILINE)
    assert len(required) == len(options["install_requires"].split("\n")) - 1 == 6
    for name, oldest, beyond in required:
        assert re.search(
            rf"\b{name} (from )?{re.escape(oldest)}\b(?!\.\d)", paragraph, flags=re.IGNORECASE
        ), name
        if name == "torch":
            major, minor = beyond.split(".")
            assert f"torch {oldest} to {major}.{int(minor) - 1}," in paragraph
