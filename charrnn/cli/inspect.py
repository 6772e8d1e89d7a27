"""``charrnn inspect``: what a model is, and what its cells do along a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import WholeRange, model_option, quiet_option
from charrnn.errors import CorpusError, RunError

if TYPE_CHECKING:
    from charrnn.inspection.cells import Unit
    from charrnn.inspection.report import Inspection
    from charrnn.model.file import ModelFile
    from charrnn.text.scored import ScoredText


@click.command()
@click.argument("text", required=False)
@model_option
@click.option(
    "--unit", metavar="LAYER:UNIT", help="Shade the text by this unit; both count from 0. A third part "
    "names the signal: hidden, cell, or a gate, as in 1:123:forget.",
)  # fmt: skip
@click.option("--feature", metavar="NAME", help="Shade the text by the unit that follows this feature best.")
@click.option(
    "--gradients", is_flag=True, help="Measure how far back gradients reach, against untrained cells."
)
@click.option("--memory", is_flag=True, help="Measure how many characters back the model looks.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write all of it, gradients and memory included, as one page.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the FILE of --html if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option(
    "-n", "--length", type=WholeRange(min=1), default=100_000, show_default=True,
    help="How many characters of the text to read.",
)  # fmt: skip
@click.option("--encoding", help="How the text is encoded.  [default: as the model's corpus]")
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="Whether the text is shaded in colours; without, digits say the shades.",
)  # fmt: skip
@quiet_option
def inspect(text: str | None, model: str | None, quiet: bool, color: str, **options: Any) -> None:
    """Show what a model is, how it learnt and what its cells do along TEXT: a file, a directory, or -.

    Each unit is compared with features of the text that have names, such as the position in the line or being
    inside quotes. Where an option needs a text and none is given, it is the model's own validation split.
    """
    check(options)

    from charrnn.cli.model import model_path
    from charrnn.cli.output import byte_writer, note
    from charrnn.cli.unused import unused
    from charrnn.inspection.report import inspect_file
    from charrnn.model.file import load_model

    for line in unused(click.get_current_context()):
        note(line, quiet=quiet)
    write = byte_writer(visible=False)
    path = model_path(model, quiet=quiet)
    loaded = load_model(path)
    found = inspect_file(path, loaded)
    unit = None
    if text is not None or any(
        options[name] not in (None, False) for name in ("unit", "feature", "gradients", "memory", "html")
    ):
        found, unit = along_text(found, loaded, text, options, quiet=quiet)
    if options["html"]:
        write_page(options["html"], found, unit)
        note(f"wrote {options['html']}", quiet=quiet)
    if options["as_json"]:
        import json

        from charrnn.inspection.report import as_json

        write((json.dumps(as_json(found, unit), indent=2) + "\n").encode("utf-8", "backslashreplace"))
    elif not options["html"]:
        print_report(found, unit, color, write)


def check(options: dict[str, Any]) -> None:
    """Refuses options that contradict each other, and a page that is in the way.

    Raises:
        click.UsageError: naming them.
        RunError: the page's file is there and may not be replaced, or has no directory to be in.
    """
    file = options["html"]
    if options["unit"] is not None and options["feature"] is not None:
        raise click.UsageError("--unit and --feature both say what shades the text; give one")
    if file and not file.parent.is_dir():
        raise RunError(f"{file.parent}: no such directory; make it first")
    if file and file.exists() and not options["force"]:
        raise RunError(f"{file}: exists; replace it with --force, or name another file")


def along_text(
    found: Inspection, model: ModelFile, name: str | None, options: dict[str, Any], *, quiet: bool
) -> tuple[Inspection, Unit | None]:
    """Adds what the options ask for, and finds the unit that shades the text.

    What only --html asks for is left out, with a note, where the text is too short for it.
    """
    from charrnn.cli.output import note
    from charrnn.inspection.cells import Columns
    from charrnn.inspection.report import add_gradients, add_memory, add_text, feature_unit, parse_unit

    columns = Columns(model.config)
    unit = parse_unit(options["unit"], columns) if options["unit"] is not None else None
    add_text(found, model, read_text_of(name, model, options["encoding"]), options["length"])
    assert found.along is not None
    if options["feature"] is not None:
        unit = feature_unit(options["feature"], found.along)
    for wanted, add in (("gradients", add_gradients), ("memory", add_memory)):
        if not (options[wanted] or options["html"]):
            continue
        note(f"measuring {wanted}", quiet=quiet)
        try:
            add(found, model)
        except CorpusError as error:
            if options[wanted]:
                raise
            note(f"left out: {error}", quiet=quiet)
    return found, unit or found.along.default_unit()


def read_text_of(name: str | None, model: ModelFile, encoding: str | None) -> ScoredText:
    """The text that is named, else the model's validation split."""
    from charrnn.text.recorded import recorded_split
    from charrnn.text.scored import read_text, text_config

    if name is None:
        return recorded_split(model.corpus, model.tokenizer, "validation")
    return read_text(name, model.tokenizer, text_config(model.corpus, model.tokenizer, encoding))


def print_report(found: Inspection, unit: Unit | None, choice: str, write: Any) -> None:
    """Prints all that was found, as wide as the terminal is."""
    import os
    import shutil
    import sys

    from charrnn.cli.inspection import report_lines
    from charrnn.cli.output import wants_color

    color = wants_color(choice, os.environ, terminal=sys.stdout.isatty())
    width = shutil.get_terminal_size().columns
    for line in report_lines(found, unit, width=width, color=color):
        write((line + "\n").encode("utf-8", "backslashreplace"))


def write_page(file: Path, found: Inspection, unit: Unit | None) -> None:
    """Writes all that was found as a page.

    Raises:
        OSError: it cannot be written.
    """
    from charrnn.files import write_atomically
    from charrnn.pages.inspection import page

    write_atomically(file, page(found, unit).encode("utf-8", "replace"))
