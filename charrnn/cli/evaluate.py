"""``charrnn evaluate``: how well a model predicts a text."""

from __future__ import annotations

import click


@click.command()
def evaluate() -> None:
    """Score."""
