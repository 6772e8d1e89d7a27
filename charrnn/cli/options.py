"""Options made from the settings they set: name, default and help come from ``charrnn.config``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from charrnn.config import default_of, help_of

Command = TypeVar("Command", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


class Duration(click.ParamType[float]):
    """Seconds, written 90, 90s, 3m, 1h30m or 2d."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number of seconds."""
        if isinstance(value, float | int):
            return float(value)
        if not re.fullmatch(r"(\d+(\.\d+)?[smhd]?)+", value):
            self.fail(f"{value!r} is not a length of time; write 90s, 3m or 1h30m", param, ctx)
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", value)
        return float(sum(float(number) * UNITS[unit] for number, unit in parts))


def setting(
    config: type[Any], name: str, *flags: str, type: Any = None, shown: str | None = None
) -> Callable[[Command], Command]:
    """An option for the field ``name`` of a config, with the field's default and help.

    Args:
        config: the dataclass.
        name: its field, which becomes the callback's parameter.
        flags: how the option is spelt; ``--name`` first if none is given.
        type: of the value; the default's own if None. A Literal becomes a choice.
        shown: the default as help shows it, where the value says too little.
    """
    default = default_of(config, name)
    choices = get_args(type)
    if choices:
        type = click.Choice(choices)
    return click.option(
        *(flags or (f"--{name.replace('_', '-')}",)),
        name,
        type=type,
        default=default,
        is_flag=True if isinstance(default, bool) else None,
        show_default=shown or (default is not None and not isinstance(default, bool)),
        help=help_of(config, name),
    )


def model_option(command: Command) -> Command:
    """``-m/--model``: which model a command uses."""
    return click.option(
        "-m", "--model", "model", metavar="MODEL",
        help="A model file, a run directory or a run's name.  [default: $CHARRNN_MODEL, else the "
        "newest run under runs/]",
    )(command)  # fmt: skip


def quiet_option(command: Command) -> Command:
    """``-q/--quiet``: nothing on stderr but what went wrong."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but what goes wrong.")(command)


def given(context: click.Context) -> dict[str, Any]:
    """The parameters that the user gave, as opposed to those that have their defaults."""
    source = click.core.ParameterSource
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) in (source.COMMANDLINE, source.ENVIRONMENT)
    }
