"""Which model a command uses, with a note where it is the shipped one."""

from __future__ import annotations

import os
from pathlib import Path

from charrnn.cli.output import note
from charrnn.runs import find_model, run_name, shipped_models


def model_path(name: str | None, *, quiet: bool) -> Path:
    """The model file that ``--model`` selects; says on stderr if the shipped one is used by default.

    Raises:
        ModelFileError: there is no such model.
    """
    path = find_model(name)
    if not name and not os.environ.get("CHARRNN_MODEL") and path in shipped_models():
        note(
            f"no run here yet: this is the shipped model {run_name(path)}; "
            "train your own with charrnn train TEXT",
            quiet=quiet,
        )
    return path
