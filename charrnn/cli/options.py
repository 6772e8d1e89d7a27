"""Options made from the settings they set: names, types, defaults and help come from ``charrnn.config``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from charrnn.settings import default_of, flag_of, help_of, is_number, rules, shown_default

Command = TypeVar("Command", bound=Callable[..., Any])

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}  # seconds
NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
# Seconds alone, or a number of each unit at most once, the longest first: 1h30 and 1s1 could mean two things.
DURATION = re.compile(rf"{NUMBER}|(?=[0-9])" + "".join(rf"(?:{NUMBER}{unit})?" for unit in UNITS))


class PathName(click.Path):
    """A path that is not empty: what an unset variable of the shell gives is not the current directory."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path."""
        if value == "":
            self.fail("an empty path; is a shell variable unset?", param, ctx)
        return super().convert(value, param, ctx)


class Digits:
    """What number types have in common: they take no 1_000 and no digits but 0 to 9, as Python does."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The number; spaces around it are no matter, since some systems' wc -l writes them."""
        kind: Any = super()
        if isinstance(value, str) and not is_number(value.strip(" ")):
            kind.fail(f"{value!r} is not a valid {kind.name}.", param, ctx)
        return kind.convert(value, param, ctx)


class Whole(Digits, click.types.IntParamType):
    """A whole number."""


class WholeRange(Digits, click.IntRange):
    """A whole number of a range."""


class Real(Digits, click.types.FloatParamType):
    """A number."""


NUMBERS: dict[Any, click.ParamType[Any]] = {int: Whole(), float: Real()}


class Duration(click.ParamType):  # type: ignore[type-arg]  # which older versions of click do not take
    """Seconds, written 90, 90s, 3m, 1h30m or 2d."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number of seconds."""
        if isinstance(value, float | int):
            return float(value)
        found = DURATION.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is not a length of time; write 90s, 3m or 1h30m", param, ctx)
        sizes = (1, *UNITS.values())
        return float(sum(float(n) * size for n, size in zip(found.groups(), sizes, strict=True) if n))


def written_duration(seconds: float) -> str:
    """A length of time as ``Duration`` reads it.

    >>> written_duration(180), written_duration(5400), written_duration(2.5)
    ('3m', '1h30m', '2.5s')
    """
    parts = []
    for unit, size in UNITS.items():
        count, seconds = (seconds, 0.0) if unit == "s" else divmod(seconds, size)
        if count:
            parts.append(f"{count:g}{unit}")
    return "".join(parts)


WITHOUT_FLAG = {"rules", "validate"}  # settings that are recorded, but chosen by charrnn


def changed_flags(config: Any) -> list[str]:
    """The flags for the settings of a config that differ from their defaults.

    >>> from charrnn.config import CorpusConfig
    >>> changed_flags(CorpusConfig(lines=True, min_count=2, column=("name",), rules=1))
    ['--min-count', '2', '--lines', '--column', 'name']
    """
    flags: list[str] = []
    for name, value in vars(config).items():
        if name in WITHOUT_FLAG or value == default_of(type(config), name):
            continue
        if value is True:
            flags.append(flag_of(name))
        for one in value if isinstance(value, tuple) else [] if value is True else [value]:
            flags += [flag_of(name), str(one)]
    return flags


def config_option(
    config: type[Any], name: str, *flags: str, type: Any = None, metavar: str | None = None
) -> Callable[[Command], Command]:
    """An option for the field ``name`` of a config, with the field's type, default and help.

    Args:
        config: the dataclass.
        name: its field, which becomes the callback's parameter.
        flags: the option's spellings; ``--name`` if none is given.
        type: of the value, if it is written in another way than the field's own type.
        metavar: what help shows for the value, if not its type.
    """
    default, rule = default_of(config, name), rules(config)[name]
    if type is None:
        type = click.Choice(rule.choices) if rule.choices else NUMBERS.get(rule.type, rule.type)
    several = rule.type is tuple
    return click.option(
        *(flags or (flag_of(name),)),
        name,
        type=str if several else type,
        multiple=several,
        default=default,
        is_flag=True if rule.type is bool else None,
        metavar=metavar,
        help=help_of(config, name) + _default_part(shown_default(config, name), type),
    )


def _default_part(default: Any, type: Any) -> str:
    """The end of an option's help: its default, where there is one to speak of."""
    if default is None or isinstance(default, bool | tuple):
        return ""
    if isinstance(default, str):
        shown = default.encode("unicode_escape").decode() or '""'
    elif isinstance(type, Duration):
        shown = written_duration(default)
    else:
        shown = f"{default:g}"
    return f"  [default: {shown}]"


def model_option(command: Command) -> Command:
    """``-m/--model``: which model a command uses."""
    return click.option(
        "-m", "--model", "model", metavar="MODEL",
        help="A model file, a run directory or a run's name.  [default: $CHARRNN_MODEL, else the "
        "newest run under runs/]",
    )(command)  # fmt: skip


def models_options(command: Command) -> Command:
    """``-m/--model``, repeatable, and ``--mix``: which model a command uses, or which ones as one."""
    command = click.option(
        "--mix", metavar="W,W...",
        help="Weights of several models.  [default: fitted on the first one's validation split]",
    )(command)  # fmt: skip
    return click.option(
        "-m", "--model", "models", metavar="MODEL", multiple=True,
        help="A model file, a run directory or a run's name; given more than once, the mixture of their "
        "probabilities.  [default: $CHARRNN_MODEL, else the newest run under runs/]",
    )(command)  # fmt: skip


def quiet_option(command: Command) -> Command:
    """``-q/--quiet``: nothing on stderr but errors."""
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors on stderr.")(command)


def given(context: click.Context) -> dict[str, Any]:
    """The parameters that the user gave, as opposed to those that have their defaults."""
    source = click.core.ParameterSource
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) in (source.COMMANDLINE, source.ENVIRONMENT)
    }
