"""``charrnn sample``: write text with a trained model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import config_option, given, models_options, quiet_option
from charrnn.config import CorpusConfig
from charrnn.use_config import SamplingConfig

if TYPE_CHECKING:
    from charrnn.sampling.session import Prompt, SamplingSession


@click.command()
@models_options
@click.option("-p", "--prompt", help="Continue this text; - reads it from stdin.")
@click.option("-f", "--file", "prompt_file", help="Continue this file's text, or bytes; - is stdin.")
@click.option(
    "--each", metavar="FILE",
    help="Write a text for each line of this file, on a line of its own, as they come; - is stdin. For a "
    "model of pairs the lines are sources, and the texts their targets.",
)  # fmt: skip
@click.option("--escape", is_flag=True, help="Read \\n, \\t, \\e ... in every option that is a text.")
@click.option("--skip-unknown", is_flag=True, help="Leave out of the prompt what is not in the vocabulary.")
@config_option(SamplingConfig, "length", "-n", "--length")
@config_option(SamplingConfig, "temperature", "--temperature", "--temp")
@config_option(SamplingConfig, "top_k")
@config_option(SamplingConfig, "top_p")
@config_option(SamplingConfig, "min_p")
@config_option(SamplingConfig, "repetition_penalty")
@config_option(SamplingConfig, "repetition_window")
@config_option(SamplingConfig, "no_repeat")
@config_option(SamplingConfig, "ban", "--ban")
@config_option(SamplingConfig, "bias", metavar="TEXT=VALUE")
@config_option(SamplingConfig, "best_of")
@config_option(SamplingConfig, "beam")
@config_option(SamplingConfig, "seed", "-s", "--seed")
@config_option(SamplingConfig, "stop")
@config_option(SamplingConfig, "until")
@config_option(SamplingConfig, "num_samples")
@config_option(SamplingConfig, "separator")
@config_option(SamplingConfig, "lines")
@config_option(SamplingConfig, "distinct")
@config_option(SamplingConfig, "novel")
@config_option(SamplingConfig, "novel_span")
@click.option(
    "--against",
    multiple=True,
    metavar="FILE",
    help="The text to be novel against, instead of the training text.",
)
@click.option("--copied", is_flag=True, help="Report on stderr the longest span copied from that text.")
@click.option(
    "--display-prompt/--no-display-prompt", default=None,
    help="Print the prompt before the text.  [default: yes; with --each, and for a model of pairs, no]",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Write a JSON object per text: text, finish_reason, seed."
)
@config_option(SamplingConfig, "logprobs")
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="Shade characters by how improbable they were.",
)  # fmt: skip
@click.option("-i", "--interactive", is_flag=True, help="Write a text together with the model, turn by turn.")
@config_option(SamplingConfig, "device")
@quiet_option
@click.pass_context
def sample(
    context: click.Context,
    /,
    *,
    models: tuple[str, ...],
    mix: str | None,
    prompt: str | None,
    prompt_file: str | None,
    each: str | None,
    escape: bool,
    skip_unknown: bool,
    against: tuple[str, ...],
    copied: bool,
    display_prompt: bool | None,
    as_json: bool,
    color: str,
    interactive: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Write text like the training text to stdout, while it is generated."""
    prompt, config = read_arguments(prompt, settings, escape=escape)
    check(config, copied=copied, as_json=as_json, interactive=interactive)

    import numpy as np

    from charrnn.cli.model import open_models
    from charrnn.cli.output import note, stdout_descriptor, wants_color
    from charrnn.cli.prompt import read_prompt
    from charrnn.cli.remarks import remarks
    from charrnn.cli.unused import unused
    from charrnn.cli.writing import TextDisplay
    from charrnn.sampling.novelty import training_text
    from charrnn.sampling.session import SamplingSession

    for line in unused(context):
        note(line, quiet=quiet)
    terminal = os.isatty(stdout_descriptor())
    loaded = open_models(models, mix, quiet=quiet).model
    encoding = CorpusConfig(encoding=loaded.corpus.get("encoding", "utf-8")).encoding
    is_bytes = loaded.tokenizer.kind == "byte"
    text = read_prompt(prompt, prompt_file, encoding=encoding, any_bytes=is_bytes)
    if each is not None or loaded.corpus.get("pairs"):
        from charrnn.cli.each import sample_each

        sample_each(loaded, config, each, text, given(context))
        return
    if config.beam is not None:
        raise click.UsageError("--beam ends texts at line ends: it goes with --each, or a model of pairs")
    source = training_text(loaded, against) if copied else None
    context = click.get_current_context()
    # Extreme weights overflow; the sampler sees to it that what is drawn stays well defined.
    context.with_resource(np.errstate(all="ignore"))
    session = SamplingSession(loaded, config, against=against, source=source)
    if (copied or config.novel or config.novel_span) and not against:
        note(f"the model's own text: {', '.join(loaded.corpus['paths'])}", quiet=quiet)
    del loaded  # the weights as they were read; the engine has its own layout of them
    start = session.prompt(text, skip_unknown=skip_unknown)
    report(session, start, skipped=skip_unknown, quiet=quiet)
    for line in remarks(session, given(context)):
        note(line, quiet=quiet)
    if interactive:
        from charrnn.cli.interactive import converse

        converse(session, text)
        return
    display = TextDisplay(session, start, "" if display_prompt is False else text, keep=copied)
    display.color = not as_json and wants_color(color, os.environ, terminal=terminal)
    (display.as_json if as_json else display.as_text)()
    if copied:
        report_copied(display.written, session.source)


def read_arguments(
    prompt: str | None, settings: dict[str, Any], *, escape: bool
) -> tuple[str | None, SamplingConfig]:
    """The prompt and the settings as they were typed, with --escape after replacing escapes.

    Raises:
        ConfigError: a setting is out of range, or there is no such escape.
    """
    from charrnn.cli.prompt import as_typed, unescape

    read = (lambda argument: unescape(as_typed(argument))) if escape else as_typed
    settings |= {name: tuple(map(read, settings[name])) for name in ("stop", "until", "bias")}
    settings |= {name: read(settings[name]) for name in ("ban", "separator")}
    return prompt and read(prompt), SamplingConfig(**settings)


def check(config: SamplingConfig, *, copied: bool, as_json: bool, interactive: bool) -> None:
    """Refuses options that do not go together.

    Raises:
        click.UsageError: naming them.
    """
    from charrnn.sampling.session import is_endless

    endless = is_endless(config)
    if copied and endless:
        raise click.UsageError("--copied reports at the end, and --length -1 has none")
    if as_json and endless:
        raise click.UsageError("--json writes whole texts, and --length -1 never ends one")
    if config.logprobs and not as_json:
        raise click.UsageError("--logprobs goes with --json")
    if interactive and (as_json or copied or config.lines is not None):
        raise click.UsageError("--interactive does not go with --json, --copied or --lines")


def report(session: SamplingSession, prompt: Prompt, *, skipped: bool, quiet: bool) -> None:
    """Reports the seed, with which the text can be had again, and unknown characters of the prompt."""
    from charrnn.cli.output import note
    from charrnn.errors import counted

    if session.config.temperature:
        note(f"seed {session.config.seed}", quiet=quiet)
    if prompt.unknown:
        count = counted(prompt.unknown, "character")
        fate = "left out" if skipped else "read as the unknown symbol"
        note(f"prompt: {count} not in the vocabulary, {fate}", quiet=quiet)


def report_copied(texts: list[str], source: str) -> None:
    """Reports the longest run of characters that one of the texts shares with the training text."""
    from charrnn.cli.output import note
    from charrnn.errors import counted
    from charrnn.sampling.novelty import longest_copy

    longest = max((longest_copy(text, source) for text in texts), key=len, default="")
    note(f"copied {counted(len(longest), 'character')}" + (f": {longest!r}" if longest else ""))
