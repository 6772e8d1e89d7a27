"""charrnn from Python: a model loaded once, and texts from it.

>>> import charrnn
>>> model = charrnn.load("runs/shakespeare")           # doctest: +SKIP
>>> model.sample("ROMEO:", length=80, temperature=0.8, seed=1)       # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from charrnn.config import SamplingConfig, draw_seed
from charrnn.errors import ConfigError
from charrnn.model.file import ModelFile, load_model
from charrnn.runs import find_model
from charrnn.sampling.writer import Author, Writing, best_writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Settings that say how many texts, or how they are put out: several texts are several calls.
COMMAND_LINE_ONLY = ("num_samples", "separator", "logprobs", "lines", "distinct", "novel", "novel_span")


def load(path: str | os.PathLike[str]) -> Model:
    """A model ready to write and to score.

    Args:
        path: a model file, a run directory, or the name of a run under runs/.

    Raises:
        ModelFileError: there is none, or it is damaged.
    """
    return Model(load_model(find_model(os.fspath(path))))


class Model:
    """A loaded model; safe to use for many texts, each call begins anew.

    The examples have ``model``, a tiny one with random weights:

    >>> len(model.sample("Hello", length=20, seed=1))
    20
    >>> model.sample("Hello", seed=1) == model.sample("Hello", seed=1)
    True
    >>> "".join(model.generate("Hello", length=20, seed=1)) == model.sample("Hello", length=20, seed=1)
    True
    >>> "e" in model.sample("Hello", length=500, ban="e")
    False

    Attributes:
        file: weights, settings, vocabulary, and how the model was trained.
    """

    def __init__(self, file: ModelFile) -> None:
        self.file = file

    def generate(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """Yields what the model writes after the prompt, a character at a time.

        Args:
            prompt: what to go on from; it is not part of what is yielded.
            settings: those of ``charrnn.config.SamplingConfig``, with its defaults: ``length`` (-1 for no
                end), ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``seed``, ``stop``, ``ban`` ...

        Raises:
            ConfigError: a setting is unknown or out of range; at once, not when iterated.
            UnknownCharacterError: the prompt holds what the vocabulary does not.
        """
        author = Author(self.file, prompt, _config(settings))
        return self._characters(author)

    def sample(self, prompt: str = "", **settings: Any) -> str:
        """Returns what ``generate`` yields, as one text.

        Raises:
            ConfigError: as ``generate``, and where the length has no end.
        """
        if settings.get("length", 0) < 0:
            raise ConfigError("--length -1: a sample must end; use generate, or give a length")
        return "".join(self.generate(prompt, **settings))

    def score(self, text: str) -> NDArray[np.float32]:
        """The natural-log probability of each character of the text, given those before it.

        Returns:
            (characters,) float32, each at most 0.
        """
        from charrnn.evaluation.evaluator import score_text

        return score_text(self.file, text)

    def activations(self, text: str) -> dict[str, NDArray[np.float32]]:
        """What every unit does along a text, which is read from its beginning.

        Returns:
            (hidden, characters) float32 for each layer and signal, named "0.hidden", "1.cell", "1.forget" and
            so on: the hidden states, an LSTM's cells, and the gates, after each character. Of a byte model
            there is a column for each byte.

        Raises:
            UnknownCharacterError: the text holds what the vocabulary does not.
        """
        from charrnn.inspection.cells import activations

        return activations(self.file, self.file.tokenizer.encode(text))

    def _characters(self, author: Author) -> Iterator[str]:
        import codecs

        best = author.config.best_of > 1
        ids = best_writing(author)[0] if best else Writing(author)
        # Bytes become characters only when all of one are there.
        errors = "surrogatepass" if author.tokenizer.kind == "char" else "replace"
        decoder = codecs.getincrementaldecoder("utf-8")(errors)
        for id in ids:
            if piece := decoder.decode(author.tokenizer.decode_bytes([id])):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest


def _config(settings: dict[str, Any]) -> SamplingConfig:
    known = SamplingConfig.__dataclass_fields__.keys() - set(COMMAND_LINE_ONLY)
    for name in settings:
        if name not in known:
            raise ConfigError(f"{name}: no such setting; there are {', '.join(sorted(known))}")
    if isinstance(settings.get("stop"), str):
        settings = settings | {"stop": (settings["stop"],)}
    if settings.get("seed") is None:
        settings = settings | {"seed": draw_seed(os.urandom)}
    return SamplingConfig(**settings)
