"""What steps a model, whatever it is: the engine of a network, of an n-gram, or of several as one."""

from __future__ import annotations

from typing import Any

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
