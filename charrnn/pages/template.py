"""The pages' HTML, CSS and JavaScript, which are files of the package."""

from __future__ import annotations

from importlib import resources


def template(name: str) -> str:
    """The text of a file in this folder."""
    return resources.files("charrnn.pages").joinpath(name).read_text(encoding="utf-8")
