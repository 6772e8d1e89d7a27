"""What steps a model, whatever it is: the engine of a network, of an n-gram, or of several as one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from charrnn.config import Device
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.model.mixture import MixtureEngine, match
from charrnn.model.ngram_engine import NGramEngine


def make_engine(model: ModelFile, device: Device = "cpu") -> Any:
    """An engine with the interface of ``charrnn.model.engine``.

    An n-gram is stepped by the processor; a network likewise on ``cpu``, and on other devices by the torch
    engine, which imports torch.
    """
    if model.parts:
        engines = [make_engine(part, device) for part in model.parts]
        matches = [match(model.tokenizer, part.tokenizer) for part in model.parts]
        return MixtureEngine(engines, matches, model.mix)
    if model.grams is not None:
        return NGramEngine(model.grams)
    if device == "cpu":
        return Engine(model)
    from charrnn.model.torch_engine import TorchEngine

    return TorchEngine(model, device)


class ItemStream:
    """One text of a model that learnt each line by itself: what ends a line is read from a zero state.

    So what is written after it is a new item, with the probabilities that scoring line by line gives it.
    """

    def __init__(self, stream: Any, end: int) -> None:
        """Wraps a fresh single stream; ``end`` is the id that ends an item, and that begins a text."""
        self._stream, self._end = stream, end
        self._fresh = stream.save()
        self.save, self.restore = stream.save, stream.restore

    def step(self, id: int) -> NDArray[Any]:
        """Reads one symbol and returns the logits (vocabulary,) of the next one."""
        if id == self._end:
            self._stream.restore(self._fresh)
        logits: NDArray[Any] = self._stream.step(id)
        return logits

    def advance(self, id: int) -> None:
        """Reads one symbol."""
        if id == self._end:
            self._stream.restore(self._fresh)
        self._stream.advance(id)
