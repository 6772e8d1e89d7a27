"""Which model a command uses, or which ones as one, with a note where it is the shipped one."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from charrnn.cli.output import note, shell_words
from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, counted
from charrnn.model.file import ModelFile, load_model
from charrnn.runs import find_model, run_name, shipped_models
from charrnn.settings import is_number


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


def sample_command(path: Path, corpus: CorpusConfig) -> str:
    """The command that samples from a model's file, in the way that suits what the model learnt."""
    how = " --each SOURCES" if corpus.pairs else " --lines 10" if corpus.lines else ""
    return f"charrnn sample -m {shell_words([run_name(path)])}{how}"


@dataclasses.dataclass(frozen=True)
class Opened:
    """The model that a command uses: one, or several as one.

    Attributes:
        model: what there is to write with, or to score.
        paths: of the files that were read.
        name: what tables call it.
        path: what JSON calls it.
    """

    model: ModelFile
    paths: list[Path]

    @property
    def name(self) -> str:
        """The names of the models, joined."""
        return " + ".join(map(run_name, self.paths))

    @property
    def path(self) -> str:
        """The files of the models, joined."""
        return " + ".join(map(str, self.paths))


def open_models(names: tuple[str, ...], mix: str | None, *, quiet: bool) -> Opened:
    """The model that ``--model`` selects, or the mixture of several; weights that are fitted are noted.

    Args:
        names: as they were typed; none for the default.
        mix: the weights as they were typed; None to fit them.
        quiet: whether to note nothing.

    Raises:
        CharrnnError: a model or the text for the weights cannot be read, or the models do not mix.
    """
    weights = None if mix is None else parse_mix(mix)
    if weights is not None and len(names) < 2:
        raise ConfigError(f"--mix {mix!a:.60}: weights are for several models; give --model more than once")
    paths = [model_path(name, quiet=quiet) for name in names or (None,)]
    models = [load_model(path) for path in paths]
    if len(models) == 1:
        return Opened(models[0], paths)
    from charrnn.evaluation.mixing import fit_mix
    from charrnn.model.mixture import mix_models

    if weights is not None:
        return Opened(mix_models(models, weights), paths)
    mixed, text = fit_mix(models)
    shown = ",".join(f"{weight:.4g}" for weight in mixed.mix)
    what = f"{counted(text.characters, text.tokenizer.unit.removesuffix('s'))} of {text.name}"
    note(f"--mix {shown}, fitted on {what} of {run_name(paths[0])}", quiet=quiet)
    return Opened(mixed, paths)


def parse_mix(text: str) -> list[float]:
    """The weights that --mix names.

    >>> parse_mix("0.7,0.3")
    [0.7, 0.3]

    Raises:
        ConfigError: they are not numbers greater than 0.
    """
    parts = [part.strip() for part in text.split(",")]
    found = [float(part) for part in parts if is_number(part)]
    if len(found) < len(parts) or not all(0 < weight < float("inf") for weight in found):
        raise ConfigError(f"--mix {text!a:.60}: must be numbers greater than 0, one a model, such as 0.7,0.3")
    return found
