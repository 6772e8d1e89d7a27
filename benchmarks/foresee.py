"""What ``--size auto`` chooses for texts and times, why, and the memory that it foresees; nothing is trained.

    python -m benchmarks.foresee TEXT [--speed 17000]

The texts are TEXT repeated to 0.1, 1, 10 and 100 million characters, of which a tenth is held out. A time
stands for the steps that a medium model makes in it, which reads so many characters a second (``python -m
benchmarks.training`` measures it); so each row is what ``charrnn train --steps N`` chooses, on any machine
that has the memory.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from benchmarks.report import table
from charrnn.config import SIZES, CorpusConfig, TrainingConfig
from charrnn.model.device import Machine, choose_machine
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.batches import symbols_a_step
from charrnn.training.choices import SMALLEST_BUDGETS, Chosen, choose_model
from charrnn.training.memory import training_memory
from charrnn.training.replicas import default_replicas

TEXTS = (10**5, 10**6, 10**7, 10**8)  # characters
TIMES = {"20 s": 20, "3 min": 180, "1 h": 3600, "10 h": 36000}
VOCABULARY, WINDOW, REPLICAS = 100, 32 * 64, 2  # of the table of sizes


def repeated(corpus: Corpus, characters: int) -> Corpus:
    """The corpus, its text repeated or cut to so many characters."""
    train_size = corpus.config.train_size(characters)
    ids = np.resize(corpus.ids, characters)
    return dataclasses.replace(corpus, ids=ids, characters=characters, train_size=train_size)


def chosen_for(corpus: Corpus, read: float, machine: Machine) -> tuple[int, Chosen]:
    """The steps in which a medium model reads so many characters, and what is chosen for them."""
    a_step = symbols_a_step(corpus, TrainingConfig(steps=1))
    steps = max(1, round(read / a_step))
    training = TrainingConfig(steps=steps, seed=1)
    return steps, choose_model({"steps": steps}, training, corpus, machine)


def memory_of(chosen: Chosen, corpus: Corpus, machine: Machine) -> float:
    """The bytes that the training which was chosen takes at most, the text not counted."""
    training = chosen.training
    replicas = training.replicas or default_replicas(training, training.batch_size, machine)
    window = round(symbols_a_step(corpus, training))
    return training_memory(chosen.model, corpus.tokenizer.size, window, replicas)


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--speed", type=float, default=17_000)
    arguments = parser.parse_args()
    original, machine = read_corpus([arguments.text], CorpusConfig()), choose_machine("cpu", "fp32")
    rows = []
    for characters in TEXTS:
        corpus = repeated(original, characters)
        for name, seconds in TIMES.items():
            steps, chosen = chosen_for(corpus, arguments.speed * seconds, machine)
            model, batch = chosen.model, chosen.training.batch_size
            shape = f"{model.num_layers} x {model.hidden_size}, {batch}, {model.dropout}"
            memory = f"{memory_of(chosen, corpus, machine) / 1e9:.2f} GB"
            rows.append([f"{characters / 1e6:g} MB", name, f"{steps:,}", shape, chosen.reason, memory])
    print(f"A medium model reads {arguments.speed:,.0f} characters a second.\n")
    print(table(["text", "time", "steps", "size, batch, dropout", "reason", "memory"], rows) + "\n")
    sizes = [
        [
            size,
            f"{model.num_layers} x {model.hidden_size}",
            f"{SMALLEST_BUDGETS[size] / 1e6:,.1f} million",
            f"{training_memory(model, VOCABULARY, WINDOW, REPLICAS) / 1e9:.2f} GB",
        ]
        for size, model in SIZES.items()
    ]
    print(table(["size", "shape", "from characters read by a medium model", "memory foreseen"], sizes))


if __name__ == "__main__":
    main()
