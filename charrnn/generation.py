"""Engine, sampler and tokenizer make a stream of text."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.checkpoint import ModelFile
from charrnn.config import SamplingConfig
from charrnn.engine import Engine
from charrnn.sampler import Sampler
from charrnn.tokenizer import Ids, Tokenizer

FLUSH_SECONDS = 0.02  # faster than an eye sees, and rare enough to cost nothing


def generate_ids(engine: Engine, sampler: Sampler, prompt: Ids, length: int) -> Iterator[int]:
    """Ids that continue the prompt, one by one.

    Args:
        engine: the model.
        sampler: its choices; its generator moves on.
        prompt: (time,), with the start symbol before it: at least one id.
        length: how many ids to yield; -1 for no end.
    """
    stream = engine.stream()
    for id in prompt[:-1].tolist():
        stream.advance(id)
    step, id = stream.step, int(prompt[-1])
    for _ in itertools.count() if length < 0 else range(length):
        id = sampler(step(id))
        yield id


def pieces(ids: Iterable[int], tokenizer: Tokenizer) -> Iterator[bytes]:
    """The ids as encoded text: the first at once, then whatever FLUSH_SECONDS brought, the rest at the end.

    A consumer that writes and flushes each piece streams as fast as a person can see, at the cost of one
    system call for many characters.
    """
    held: list[int] = []
    due = 0.0
    for id in ids:
        held.append(id)
        now = time.perf_counter()
        if now >= due:
            yield tokenizer.decode_bytes(held)
            held.clear()
            due = now + FLUSH_SECONDS
    if held:
        yield tokenizer.decode_bytes(held)


def continue_text(model: ModelFile, prompt: str, config: SamplingConfig) -> Iterator[bytes]:
    """What the model writes after the prompt, in pieces, encoded for output.

    Raises:
        UnknownCharacterError: the prompt holds what the vocabulary does not; at once, not when iterated.
    """
    tokenizer = model.tokenizer
    ids = np.append(tokenizer.encode(prompt), tokenizer.start)
    ids = np.roll(ids, 1)  # the start symbol stands before every text
    forbidden = [] if tokenizer.unknown is None else [tokenizer.unknown]
    sampler = Sampler(config, forbidden)
    return pieces(generate_ids(Engine(model), sampler, ids, config.length), tokenizer)
