"""The held-out pairs of a training: how many targets come out exactly right."""

from __future__ import annotations

import numpy as np
import torch

from charrnn.evaluation.torch_scorer import EVERYTHING
from charrnn.model.device import Machine
from charrnn.model.network import Forward
from charrnn.text.items import find_items
from charrnn.text.tokenizer import Ids, Tokenizer
from charrnn.training.batches import IGNORED, PairBatches

EXACT_SAMPLE = 512  # held-out pairs, of which the progress shows how many come out exactly right
EXACT_BATCH = 64


class HeldOut:
    """A sample of the held-out pairs, whose targets are to come out exactly right."""

    def __init__(self, ids: Ids, tokenizer: Tokenizer, device: torch.device) -> None:
        tab = int(tokenizer.lookup("\t")[0])
        self._sample = sample_of(ids, tokenizer.start, tab, device)
        self._banned = [tab] if tokenizer.unknown is None else [tab, tokenizer.unknown]

    def exact(self, model: Forward, machine: Machine, share: slice = EVERYTHING) -> tuple[int, int]:
        """How many of the sample's targets the model, in evaluation mode, writes exactly, and of how many.

        Args:
            model: on the machine's device.
            machine: the device and the arithmetic.
            share: which of the sample's batches are read.
        """
        return count_exact(model, self._sample, self._banned, machine, share)


def sample_of(ids: Ids, newline: int, tab: int, device: torch.device) -> PairBatches:
    """Batches of EXACT_SAMPLE of the pairs, spread evenly over them; of all, if there are fewer."""
    items = find_items(ids, newline)
    count = len(items.begins)
    chosen = np.unique(np.linspace(0, count - 1, min(count, EXACT_SAMPLE)).astype(np.int64))
    spans = zip(items.begins[chosen].tolist(), items.ends[chosen].tolist(), strict=True)
    sampled = np.concatenate([ids[begin:end] for begin, end in spans])
    return PairBatches(sampled, newline, tab, EXACT_BATCH, seed=0, device=device)


@torch.inference_mode()
def count_exact(
    model: Forward, sample: PairBatches, banned: list[int], machine: Machine, share: slice
) -> tuple[int, int]:
    """How many of the pairs' targets a greedy choice writes exactly, line end included, and of how many.

    A greedy choice writes a target exactly where each of its symbols is the most probable one after those
    before it. So one pass over the true targets tells, and nothing has to be written.

    Args:
        model: in evaluation mode, on the machine's device.
        sample: the pairs.
        banned: ids that are never written.
        machine: the device and the arithmetic.
        share: which of the batches are read.
    """
    right = count = 0
    for number in range(sample.steps_per_epoch)[share]:
        inputs, targets = sample.window(number)  # (time, batch)
        with machine.autocast():
            logits, _ = model(inputs, None)  # (time, batch, vocabulary)
        logits[..., banned] = -torch.inf
        same = (logits.argmax(-1) == targets) | (targets == IGNORED)
        right, count = right + int(same.all(0).sum()), count + same.shape[1]
    return right, count
