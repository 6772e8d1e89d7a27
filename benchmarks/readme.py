"""Puts into README.md what programs know better than hands: the help of every command.

    python -m benchmarks.readme

A test fails where README.md and the programs differ.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from charrnn.cli.main import cli

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- help: python -m benchmarks.readme -->", "<!-- end of help -->"


def help_section() -> str:
    """The help of all commands, in the width of a usual terminal."""
    blocks = []
    with click.Context(cli, info_name="charrnn", **cli.context_settings) as parent:
        for name, command in cli.commands.items():
            with click.Context(command, info_name=name, parent=parent, terminal_width=100) as context:
                blocks.append(f"```text\n{command.get_help(context)}\n```")
    return "\n\n".join(blocks)


def with_help(readme: str) -> str:
    """The README with its help section made anew."""
    section = f"{BEGIN}\n\n{help_section()}\n\n{END}"
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: section, readme, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(with_help(README.read_text(encoding="utf-8")), encoding="utf-8")
