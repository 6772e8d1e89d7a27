"""How a setting is declared and shown, and how the fields of a config are held to what they declare."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
import sys
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from charrnn.errors import ConfigError


def setting(default: Any, help: str, **declared: Any) -> Any:
    """A dataclass field with its description, range and choices.

    Args:
        default: its value where none is given; None if it is chosen later.
        help: one sentence, for the command line.
        declared: any of ``at_least``, ``above``, ``below`` and ``at_most``, a number's bounds; ``choices``,
            if the type is not a Literal, which has its own; ``expected``, the range in words; ``shown``, what
            help shows instead of the default, a value or words in which "{default}" stands for it.
    """
    return dataclasses.field(default=default, metadata={"help": help} | declared)


KINDS: dict[type[Any], Any] = {int: numbers.Integral, float: numbers.Real}


@dataclasses.dataclass(frozen=True)
class Rule:
    """What values a setting may have.

    Attributes:
        type: bool, int, float, str, or tuple, which is one of str.
        optional: whether it may be None.
        choices: the only values, if there are any.
        at_least, above, below, at_most: bounds of a number, where they are not None.
        expected: the range in words, for errors.
    """

    type: type[Any]
    optional: bool
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    expected: str = ""

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type, whatever its range."""
        if value is None:
            return self.optional
        if self.type is tuple:
            return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)
        # NumPy's numbers are of these kinds, too.
        is_number = self.type in KINDS
        return isinstance(value, KINDS.get(self.type, self.type)) and not (
            is_number and isinstance(value, bool)
        )

    def admits(self, value: Any) -> bool:
        """Whether a value is of the type, among the choices and in the range; no NaN and no infinity is."""
        if value is None or not self.fits(value):
            return value is None and self.optional
        if self.type not in KINDS:
            return not self.choices or value in self.choices
        return (
            -math.inf < value < math.inf
            and not self._overflows(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def _overflows(self, value: Any) -> bool:
        """Whether a whole number of Python's, which has no bound, is too large for a float."""
        return self.type is float and isinstance(value, int) and abs(value) > sys.float_info.max

    def describe(self, value: Any) -> str:
        """What the value, which is refused, should be instead."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type not in KINDS:
            return {bool: "True or False", str: "text", tuple: "a sequence of texts"}[self.type]
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return "a whole number" if self.type is int else "a number"
        if self.type is int and not isinstance(value, numbers.Integral):
            return "a whole number"
        if self.type is float and (self._overflows(value) or math.isinf(value)):
            return "a finite number"
        if self.expected:
            return self.expected
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        bounds = {
            "at least": self.at_least, "greater than": self.above,
            "less than": self.below, "at most": self.at_most,
        }  # fmt: skip
        return " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)


_rules: dict[type[Any], dict[str, Rule]] = {}  # what ``rules`` found before


def rules(config: type[Any]) -> dict[str, Rule]:
    """The rule of each field of a config, by the field's name."""
    if config in _rules:
        return _rules[config]
    found: dict[str, Rule] = {}
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        hint, optional = hints[field.name], False
        if get_origin(hint) in (Union, types.UnionType):
            (hint,) = (part for part in get_args(hint) if part is not type(None))
            optional = True
        declared = {key: value for key, value in field.metadata.items() if key not in ("help", "shown")}
        if get_origin(hint) is Literal:
            hint, declared = str, declared | {"choices": get_args(hint)}
        found[field.name] = Rule(get_origin(hint) or hint, optional, **declared)
    _rules[config] = found
    return found


def flag_of(name: str) -> str:
    """The flag of a setting.

    >>> flag_of("hidden_size")
    '--hidden-size'
    """
    return f"--{name.replace('_', '-')}"


def help_of(config: type[Any], name: str) -> str:
    """The description of one setting."""
    return str(config.__dataclass_fields__[name].metadata["help"])


def default_of(config: type[Any], name: str) -> Any:
    """The default of one setting."""
    return config.__dataclass_fields__[name].default


def shown_default(config: type[Any], name: str) -> Any:
    """What help shows as the default of one setting: its default, or what is chosen, a value or words."""
    default = default_of(config, name)
    shown = config.__dataclass_fields__[name].metadata.get("shown", default)
    return shown.format(default=default) if isinstance(shown, str) and shown != default else shown


class Config:
    """What all configs have in common: fields that are checked when one is made."""

    def __post_init__(self) -> None:
        """Holds every field to its rule; NumPy's numbers become Python's, which JSON can write.

        Raises:
            ConfigError: naming the flag, the value and what it must be.
        """
        for name, rule in rules(type(self)).items():
            value = getattr(self, name)
            if not rule.admits(value):
                raise ConfigError(f"{flag_of(name)} {value}: must be {rule.describe(value)}")
            plain = (int, float) if rule.type is float else rule.type
            if value is not None and not isinstance(value, plain):
                object.__setattr__(self, name, rule.type(value))


def from_mapping(config: type[Any], values: dict[str, Any]) -> Any:
    """A config from a file's JSON object; keys of later versions are passed over."""
    known = {field.name for field in dataclasses.fields(config)}
    return config(**{key: value for key, value in values.items() if key in known})


# How a number is written. Python's int and float also read 1_0, nan, and the digits of all scripts.
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def is_number(text: str) -> bool:
    """Whether a text is a number as people write it, in digits from 0 to 9.

    >>> [is_number(text) for text in ("-1.5", "2e-3", "1_000", "nan", "\u0661")]
    [True, True, False, False, False]
    """
    return NUMBER.fullmatch(text) is not None


def parse_bias(bias: Sequence[str]) -> list[tuple[str, float]]:
    """The texts and values of ``TEXT=VALUE``; the text may itself contain "=".

    >>> parse_bias(["aeiou=-1.5", "===2"])
    [('aeiou', -1.5), ('==', 2.0)]

    Raises:
        ConfigError: one has no text, or no finite number after the last "=".
    """
    found = []
    for item in bias:
        text, _, number = item.rpartition("=")
        value = float(number) if is_number(number) else math.nan
        if not text or not math.isfinite(value):
            raise ConfigError(f"--bias {item!a}: must be characters, =, and a finite number, such as e=-2")
        found.append((text, value))
    return found
