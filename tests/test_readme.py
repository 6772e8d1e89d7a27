"""The README says what the programs do."""

from __future__ import annotations

import re

import click
import pytest

from benchmarks.readme import README, with_help
from charrnn.cli.main import cli
from charrnn.config import ModelConfig
from charrnn.model.file import FORMAT, expected_shapes


def test_help_in_readme_is_the_help_of_the_commands() -> None:
    """The README's help is what the commands print; else run python -m benchmarks.readme."""
    readme = README.read_text(encoding="utf-8")
    assert with_help(readme) == readme


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_option_is_in_the_readme(name: str) -> None:
    """Each option's every spelling stands in the README, with a help text of its own."""
    readme = README.read_text(encoding="utf-8")
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            for spelling in parameter.opts + parameter.secondary_opts:
                assert spelling in readme


def test_the_format_names_every_tensor() -> None:
    """The README's format section names the version and every tensor that a file has."""
    readme = README.read_text(encoding="utf-8")
    section = readme[readme.index("## A model is one file") : readme.index("## How it works")]
    assert f"`format`: {FORMAT}." in section
    for name in expected_shapes(ModelConfig(num_layers=1), 5):
        assert f"`{name.replace('layers.0', 'layers.l')}`" in section
    numbered = re.findall(r"^\d+\. ", section, flags=re.MULTILINE)
    assert 10 <= len(numbered) <= 25
