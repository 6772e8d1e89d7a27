"""``charrnn export``: one page that writes in a browser, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.options import PathName, model_option, quiet_option
from charrnn.errors import RunError

if TYPE_CHECKING:
    from charrnn.model.file import ModelFile
    from charrnn.pages.export import Precision


@click.command()
@click.argument("page", type=PathName())
@model_option
@click.option("--int8", is_flag=True, help="Store weights in 8 bits: half the size, and almost as good.")
@click.option("--float32", is_flag=True, help="Store weights as they are: twice the size, and exact.")
@click.option(
    "--without-ngram",
    is_flag=True,
    help="Leave out the n-gram beside the network: a smaller page, and other texts than charrnn sample's.",
)
@click.option("--title", help="The page's title.  [default: the model's name]")
@click.option("--force", is_flag=True, help="Replace PAGE if it is there.")
@quiet_option
def export(
    page: Path,
    *,
    model: str | None,
    int8: bool,
    float32: bool,
    without_ngram: bool,
    title: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Write PAGE, an HTML file in which the model writes: in any browser, offline.

    A network's weights are stored as float16 unless asked otherwise; what rounding them costs is measured and
    reported.
    """
    if int8 and float32:
        raise click.UsageError("--int8 and --float32 are two precisions; give one")

    from charrnn import __version__
    from charrnn.cli.idle import idle_in_export
    from charrnn.cli.model import model_path
    from charrnn.cli.options import given
    from charrnn.cli.output import note
    from charrnn.cli.prompt import as_typed
    from charrnn.files import write_atomically
    from charrnn.model.file import load_model, network_alone
    from charrnn.pages import export as pages
    from charrnn.runs import run_name

    path = model_path(model, quiet=quiet)
    check(page, path, force=force)
    loaded = load_model(path)
    if loaded.corpus.get("pairs"):
        raise click.UsageError(f"{path}: a model of pairs, whose sources the page has no form for")
    if without_ngram and loaded.grams is not None:
        raise click.UsageError(f"{path}: an n-gram alone, of which --without-ngram leaves nothing")
    for line in idle_in_export(loaded, given(click.get_current_context())):
        note(line, quiet=quiet)
    whole = not (without_ngram and loaded.parts)
    if not whole:
        loaded = network_alone(loaded)
    precision: Precision = "int8" if int8 else "float32" if float32 else "float16"
    name = run_name(path) if title is None else as_typed(title)
    text = pages.page(loaded, name, precision, generator=f"charrnn {__version__}", whole=whole)
    data = text.encode("utf-8", "replace")
    write_atomically(page, data)
    note(f"wrote {page}, {len(data) / 1e6:.1f} MB", quiet=quiet)
    if precision != "float32" and loaded.grams is None and not quiet:
        note(cost_line(loaded, precision))


def cost_line(model: ModelFile, precision: Precision) -> str:
    """What rounding a network's weights costs."""
    from charrnn.pages.export import rounding_cost

    unit = "byte" if model.tokenizer.kind == "byte" else "character"
    cost = rounding_cost(model, precision)
    return f"{precision} weights cost {cost:.5f} nats a {unit}, measured on text that the model writes"


def check(page: Path, model: Path, *, force: bool) -> None:
    """Refuses to write where something is that must stay, or where nothing can be.

    Raises:
        RunError: naming the file and the remedy.
    """
    from charrnn.files import is_input

    if not page.parent.is_dir():
        raise RunError(f"{page.parent}: no such directory; make it first")
    if not page.exists():
        return
    if not page.is_file():
        raise RunError(f"{page}: not a file that could be replaced; name another one")
    if is_input(page, [model]):
        raise RunError(f"{page}: is the model itself; name another file for the page")
    if not force:
        raise RunError(f"{page}: exists; replace it with --force, or name another file")
