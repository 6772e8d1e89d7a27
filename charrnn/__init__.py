"""charrnn learns to write like the text it is given, one character at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Model, load

__all__ = ["Model", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Only when asked for: the command line imports this package before it knows what it needs.
    if name in __all__:
        from charrnn import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
