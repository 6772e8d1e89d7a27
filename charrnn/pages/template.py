"""The HTML, CSS and JavaScript of the pages, which are package data."""

from __future__ import annotations

from importlib import resources


def template(name: str) -> str:
    """The contents of a file in this folder."""
    return resources.files("charrnn.pages").joinpath(name).read_text(encoding="utf-8")
