"""What a network and an n-gram of the same text are worth together.

    python -m benchmarks.mixing TEXT MODEL [MODEL...]

For each model, trained on TEXT with the default split: its n-gram is counted on the training split (the order
by validation), weights are fitted on the first half of the validation split, and the second half is scored by
the network, the n-gram, and both, with a fixed weight and with one that depends on how often the n-gram's
longest known context occurred (a weight for each length and power of two of its count, fitted likewise). Then
the speed of sampling: the network alone, the n-gram alone, both; and what counting took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, NGramConfig
from charrnn.evaluation.mixing import fit_weights, probabilities_of
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile, load_model, network_alone
from charrnn.model.mixture import mix_models
from charrnn.model.ngram import KneserNey, blocks
from charrnn.runs import find_model
from charrnn.text.corpus import read_corpus
from charrnn.text.scored import text_of
from charrnn.training.counting import count

WRITTEN = 2000  # characters of each measurement of speed
ROUNDS = 5


def buckets(grams: KneserNey, ids: NDArray[Any], start: int) -> NDArray[np.int64]:
    """For each symbol (time,) the length of the longest known context and the power of two of its count."""
    ((_, contexts, _),) = blocks(grams, ids, start)
    lengths = (contexts >= 0).sum(axis=0) - 1  # (time,)
    totals = np.stack([counts.total[row] for counts, row in zip(grams.counts, contexts, strict=True)])
    count = totals[lengths, np.arange(len(ids))]
    found: NDArray[np.int64] = lengths * 32 + np.log2(count + 1).astype(np.int64)
    return found


def by_bucket(
    fitted: NDArray[np.float64], scored: NDArray[np.float64], fit: NDArray[np.int64], score: NDArray[np.int64]
) -> float:
    """Nats a symbol of the second half with a weight for each bucket, pulled to the common one where rare."""
    common, nats = fit_weights(fitted), 0.0
    for bucket in np.unique(score):
        chosen = fitted[:, fit == bucket]
        weights = common
        if chosen.shape[1] >= 50:
            weights = fit_weights(chosen)
        nats -= float(np.log(weights @ scored[:, score == bucket]).sum())
    return nats / int(scored.shape[1])


def speed(models: dict[str, ModelFile], ids: NDArray[Any]) -> dict[str, float]:
    """Microseconds of processor time a character, the least of some rounds in turn."""
    engines = {name: make_engine(model) for name, model in models.items()}
    best = dict.fromkeys(models, float("inf"))
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            stream = engine.stream()
            began = time.process_time()
            for id in ids[:WRITTEN].tolist():
                stream.step(id)
            best[name] = min(best[name], (time.process_time() - began) / WRITTEN * 1e6)
    return best


def measure(path: str, model: ModelFile) -> None:
    """Prints the figures of one model."""
    corpus = read_corpus([path], CorpusConfig.recorded(model.corpus | {"val": None}), model.tokenizer)
    began = time.process_time()
    counted = count(corpus, NGramConfig())
    seconds = time.process_time() - began
    assert counted.model.grams is not None
    mixed = mix_models([model, counted.model], [1, 1])
    text = text_of(corpus.tokenizer.decode(corpus.validation), mixed.tokenizer)
    found = probabilities_of(mixed, text)  # (parts, time)
    half = found.shape[1] // 2
    fitted, scored = found[:, :half], found[:, half:]
    weights = fit_weights(fitted)
    alone = -np.log(scored).mean(axis=1)
    both = -float(np.log(weights @ scored).mean())
    place = buckets(counted.model.grams, text.ids, corpus.tokenizer.start)
    varying = by_bucket(fitted, scored, place[:half], place[half:])
    print(f"{counted.model.grams.highest}-gram counted in {seconds:.2f} s of processor time")
    print(
        f"second half of the validation split, nats: network {alone[0]:.4f}, n-gram {alone[1]:.4f}, ", end=""
    )
    print(f"both {both:.4f} (weights {weights.round(3).tolist()}, {both - alone[0]:+.4f}), ", end="")
    print(f"weight by context {varying:.4f} ({varying - both:+.4f})")
    times = speed({"network": model, "n-gram": counted.model, "both": mixed}, text.ids)
    print("sampling, us a character: " + ", ".join(f"{name} {value:.1f}" for name, value in times.items()))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(f"{name} of {Path(sys.argv[1]).name}:")
        measure(sys.argv[1], network_alone(load_model(find_model(name))))
