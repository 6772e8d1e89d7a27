"""``charrnn sample``: write like the text that was learnt."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from charrnn.cli.options import model_option, quiet_option, setting
from charrnn.config import SamplingConfig, draw_seed


@click.command()
@model_option
@click.option("-p", "--prompt", help="Continue this text; - reads it from stdin.")
@click.option("-f", "--file", "prompt_file", help="Continue this file's text; - is stdin.")
@setting(SamplingConfig, "length", "-n", "--length")
@setting(SamplingConfig, "temperature", "--temperature", "--temp")
@setting(SamplingConfig, "top_k")
@setting(SamplingConfig, "top_p")
@setting(SamplingConfig, "min_p")
@setting(SamplingConfig, "seed", "-s", "--seed", type=int)
@click.option("--display-prompt/--no-display-prompt", default=True, help="Print the prompt before the text.")
@quiet_option
def sample(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    display_prompt: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Write text like the one a model learnt, to stdout, as it is made."""
    config = SamplingConfig(**settings)
    if config.seed is None:
        config = dataclasses.replace(config, seed=draw_seed(os.urandom))

    from charrnn.checkpoint import load_model
    from charrnn.cli.output import byte_writer, note
    from charrnn.cli.prompt import read_prompt
    from charrnn.generation import continue_text
    from charrnn.runs import find_model

    write = byte_writer()
    path = find_model(model)
    text = read_prompt(prompt, prompt_file)
    loaded = load_model(path)
    generated = continue_text(loaded, text, config)
    if config.temperature:
        note(f"seed {config.seed}", quiet=quiet)
    if display_prompt and text:
        write(text.encode("utf-8", "surrogateescape"))
    for piece in generated:
        write(piece)
