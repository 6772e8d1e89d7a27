"""Which options act only beside another one, or not beside another one: said where they were given in vain.

What depends on a setting's value, or on the model, is in ``charrnn.cli.remarks``; what has no meaning at all
is refused by the command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from charrnn.cli.options import given

DYNAMIC = ("dynamic",)
ALONG = ("text", "unit", "feature", "gradients", "memory", "html")  # what makes inspect read a text

# By command and parameter the parameters of which one must be given, so that it can act.
NEEDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "evaluate": {
        "dynamic_lr": DYNAMIC,
        "dynamic_decay": DYNAMIC,
        "dynamic_segment": DYNAMIC,
        "force": ("html",),
        "color": ("heatmap",),
        "encoding": ("text", "train"),
        "newlines": ("text", "train"),
    },
    "inspect": {
        "force": ("html",),
        "length": ALONG,
        "encoding": ("text",),
        "color": ALONG,
    },
    "sample": {"skip_unknown": ("prompt", "prompt_file", "each")},
}
# By command and parameter the parameters that leave it nothing to do.
IDLE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sample": {"color": ("as_json", "each", "interactive"), "display_prompt": ("interactive",)},
    "inspect": {"color": ("as_json", "html")},
}


def unused(context: click.Context) -> Iterator[str]:
    """A line for each option that was given and cannot act beside the others that were.

    >>> from charrnn.cli.main import cli
    >>> group, evaluate = cli.make_context("charrnn", ["evaluate"]), cli.commands["evaluate"]
    >>> list(unused(evaluate.make_context("evaluate", ["--dynamic-lr", "0.1", "text"], parent=group)))
    ['no effect without --dynamic: --dynamic-lr']
    """
    command, names = str(context.command.name), given(context).keys()
    for name, needed in NEEDS.get(command, {}).items():
        if name in names and not names & set(needed):
            yield f"no effect without {_listed(context, needed)}: {_written(context, name)}"
    for name, others in IDLE.get(command, {}).items():
        if name in names and (idle := [other for other in others if other in names]):
            yield f"no effect with {_listed(context, idle)}: {_written(context, name)}"


def _listed(context: click.Context, names: tuple[str, ...] | list[str]) -> str:
    *most, last = (_written(context, name) for name in names)
    return f"{', '.join(most)} or {last}" if most else last


def _written(context: click.Context, name: str) -> str:
    """A parameter as it is typed: an option's longest name, an argument's in capitals."""
    (param,) = (param for param in context.command.params if param.name == name)
    if isinstance(param, click.Argument):
        return str(param.name).upper()
    return max(param.opts, key=len)
