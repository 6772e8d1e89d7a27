"""Writes the help of every command into README.md.

    python -m benchmarks.readme

A test fails if the README shows another help than the commands print.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from charrnn.cli.main import cli

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- help: python -m benchmarks.readme -->", "<!-- end of help -->"


def help_section() -> str:
    """The help of all commands, 100 columns wide, each folded into a ``<details>`` element."""
    blocks = []
    with click.Context(cli, info_name="charrnn", **cli.context_settings) as parent:
        for name, command in cli.commands.items():
            with click.Context(command, info_name=name, parent=parent, terminal_width=100) as context:
                blocks.append(folded(f"charrnn {name} --help", command.get_help(context)))
    return "\n\n".join(blocks)


def folded(title: str, text: str) -> str:
    """A Markdown block that shows the title, and the text after a click.

    >>> print(folded("ls", "a b"))
    <details>
    <summary><code>ls</code></summary>
    <BLANKLINE>
    ```text
    a b
    ```
    <BLANKLINE>
    </details>
    """
    summary = f"<summary><code>{title}</code></summary>"
    return f"<details>\n{summary}\n\n```text\n{text}\n```\n\n</details>"


def with_help(readme: str) -> str:
    """The README with a newly generated help section."""
    section = f"{BEGIN}\n\n{help_section()}\n\n{END}"
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: section, readme, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(with_help(README.read_text(encoding="utf-8")), encoding="utf-8")
