"""How much memory a training will need, before anything of it is made, and how much there is."""

from __future__ import annotations

import math

import torch

from charrnn.config import ModelConfig
from charrnn.model.device import Machine
from charrnn.model.schema import expected_shapes
from charrnn.system import available_memory

FLOAT = 4  # bytes
# Of each layer and character the backward pass needs gates, states and what torch keeps of them, in units of
# the hidden size; of the logits it needs them, their softmax and both gradients.
LSTM_KEPT, LOGITS_KEPT = 14, 4
BLOCKS_KEPT = 5  # matrices of a layer's size, in which Muon's iterations work
REST = 3.8e8  # bytes: torch itself, the text's windows, an evaluation


def training_memory(config: ModelConfig, vocabulary: int, window: int, replicas: int) -> float:
    """The bytes that a training takes at most, the text not counted.

    Args:
        config: the network.
        vocabulary: its symbols.
        window: characters in a step: lanes times their length.
        replicas: each of which has gradients of its own.
    """
    sizes = [math.prod(shape) for shape in expected_shapes(config, vocabulary).values()]
    parameters = sum(sizes)
    # The weights, their averages (two of them for AdamW's), the gradients and their sum, a copy while saving.
    copies = parameters * (5 + replicas) + BLOCKS_KEPT * max(sizes)
    kept = config.num_layers * LSTM_KEPT * config.hidden_size + LOGITS_KEPT * vocabulary
    return FLOAT * (copies + window * kept) + REST


def free_memory(machine: Machine) -> float:
    """The bytes that a training could have on a machine; infinite where that is not known."""
    if machine.device.type == "cuda":
        return float(torch.cuda.mem_get_info(machine.device)[0])
    return available_memory() / machine.workers
