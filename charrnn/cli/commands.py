"""The commands by name, each imported when it is used: none pays for the modules of the others."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# The module of each command, the command's name in it, and the first paragraph of its help.
COMMANDS = {
    "train": (
        "charrnn.cli.train",
        "train",
        "Learn to write like CORPUS: files, directories, .gz .bz2 .xz, or - for stdin.",
    ),
    "sample": (
        "charrnn.cli.sample",
        "sample",
        "Write text like the training text to stdout, while it is generated.",
    ),
    "evaluate": (
        "charrnn.cli.evaluate",
        "evaluate",
        "Measure how well a model predicts each TEXT: a file, a directory, or - for stdin.",
    ),
    "inspect": (
        "charrnn.cli.inspect",
        "inspect",
        "Show what a model is, how it learnt and what its cells do along TEXT: a file, a directory, or -.",
    ),
    "list": (
        "charrnn.cli.list",
        "list_runs",
        "List the runs under runs/, newest first, and the shipped model.",
    ),
    "export": (
        "charrnn.cli.export",
        "export",
        "Write PAGE, an HTML file in which the model writes: in any browser, offline.",
    ),
}


class LazyCommands(MutableMapping[str, click.Command]):
    """The commands; iterating over the names imports nothing, looking one up imports its module."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, attribute, _ = COMMANDS[name]
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS


class LazyGroup(click.Group):
    """A group of COMMANDS that is listed, in help and by shells, without importing them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = LazyCommands()
        listed = {name: click.Command(name, help=help) for name, (_, _, help) in COMMANDS.items()}
        self._listed = click.Group(commands=listed)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands."""
        self._listed.format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin so."""
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=command.get_short_help_str())
            for name, command in sorted(self._listed.commands.items())
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)
