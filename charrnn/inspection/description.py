"""What a model is, from its file, and how it learnt, from the log of its run. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.files import LOG_FILE, evaluation_in, log_lines
from charrnn.model.file import ModelFile
from charrnn.model.ngram import KneserNey

CELL_NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "tanh RNN", "relu": "ReLU RNN"}
CURVES = ("train_loss", "val_loss", "lr", "gradient_norm")


def describe(path: Path, model: ModelFile) -> dict[str, Any]:
    """What a model file says of itself, as a JSON object.

    Args:
        path: the file, for its name and size.
        model: what is in it.
    """
    tokenizer = model.tokenizer
    vocabulary = tokenizer.describe()
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        **(_network(model) if model.grams is None else _ngram(model.grams)),
        **_beside(model),
        "vocabulary": {"size": tokenizer.size, **vocabulary},
        "corpus": model.corpus,
        "training": model.training,
        "quality": model.quality,
    }


def _network(model: ModelFile) -> dict[str, Any]:
    """What a network is."""
    config = model.config
    return {
        "cell": config.cell,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "embedding_size": config.embedding_size,
        "tied": config.tied,
        "dropout": config.dropout,
        "parameters": sum(array.size for array in model.weights.values()),
    }


def _beside(model: ModelFile) -> dict[str, Any]:
    """The n-gram beside a network, and the weights of both, where there is one."""
    if not model.parts or model.ngram is None:
        return {}
    return {"ngram": _ngram(model.ngram), "mix": list(model.mix)}


def _ngram(grams: KneserNey) -> dict[str, Any]:
    """What an n-gram is: ``grams`` has the number of different grams of each length."""
    return {"cell": "ngram", "order": grams.highest, "grams": [len(symbols) for symbols in grams.symbols]}


def curves(path: Path) -> list[dict[str, Any]]:
    """The evaluations in the log beside a model file, in order; none where there is no log.

    A line that is no evaluation, as a kill while writing leaves one, is passed over.
    """
    found: list[dict[str, Any]] = []
    for entry in map(evaluation_in, log_lines(path.parent / LOG_FILE)):
        if entry is None:
            continue
        while found and found[-1]["step"] >= entry["step"]:  # a resumed run may have gone back
            found.pop()
        found.append({"step": entry["step"]} | {name: _number(entry.get(name)) for name in CURVES})
    return found


def _number(value: Any) -> float | None:
    """A number that can be drawn; None for any other, such as the loss of a training that diverged."""
    return float(value) if isinstance(value, int | float) and -1e100 < value < 1e100 else None


def facts(described: dict[str, Any]) -> list[tuple[str, str]]:
    """The description as a person reads it: names and values, in order."""
    lines = [
        ("file", f"{described['path']} ({_size(described['bytes'])})"),
        ("model", _shape(described)),
    ]
    if "ngram" in described:
        shown = " and ".join(f"{weight:.3f}" for weight in described["mix"])
        lines.append(("beside it", f"{_shape(described['ngram'])}; mixed with weights {shown}"))
    lines.append(("vocabulary", _vocabulary(described["vocabulary"])))
    corpus, training, quality = described["corpus"], described["training"], described["quality"]
    if corpus:
        lines.append(("text", _corpus(corpus)))
    if corpus.get("sha256"):
        lines.append(("sha256", str(corpus["sha256"])))
    if training.get("step") is not None:
        lines.append(("learnt", _training(training)))
    if quality:
        lines.append(("quality", _quality(quality)))
    return lines


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _shape(described: dict[str, Any]) -> str:
    if described["cell"] == "ngram":
        lengths = ", ".join(f"{count:,} of {k}" for k, count in enumerate(described["grams"], 1))
        return f"{described['order']}-gram, modified Kneser-Ney; different grams by length: {lengths}"
    layers = described["num_layers"]
    tied = ", tied with the output" if described["tied"] else ""
    return (
        f"{layers} x {described['hidden_size']} {CELL_NAMES[described['cell']]}, "
        f"embedding {described['embedding_size']}{tied}, {described['parameters']:,} parameters"
    )


def _vocabulary(vocabulary: dict[str, Any]) -> str:
    if vocabulary["kind"] == "byte":
        return "the 256 bytes"
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in vocabulary["vocabulary"])
    unknown = " and an unknown symbol" if vocabulary["unknown"] else ""
    cut = shown if len(shown) <= 100 else shown[:97] + "..."
    return f"{len(vocabulary['vocabulary'])} characters{unknown}: {cut}"


def _corpus(corpus: dict[str, Any]) -> str:
    name = str(corpus.get("name", "unnamed"))
    count = corpus.get("characters")
    size = f", {count:,} characters" if isinstance(count, int) else ""
    return name + size + (", line by line" if corpus.get("lines") else "")


def _training(training: dict[str, Any]) -> str:
    parts = [f"{training['step']:,} steps"]
    seconds = training.get("seconds")
    if isinstance(seconds, int | float):
        minutes, rest = divmod(round(seconds), 60)
        parts.append(f"{minutes} min {rest} s" if minutes else f"{rest} s")
    if training.get("batch") and training.get("window"):
        parts.append(f"{training['batch']} streams of {training['window']} characters a step")
    if training.get("seed") is not None:
        parts.append(f"seed {training['seed']}")
    return ", ".join(parts)


def _quality(quality: dict[str, Any]) -> str:
    bits, nats = quality.get("bits_per_character"), quality.get("nats_per_character")
    if bits is None or nats is None:
        train = quality.get("train_nats_per_character")
        return "not validated" if train is None else f"not validated; training loss {train:.4f} nats/char"
    alone = quality.get("network_nats_per_character")
    step = f" (step {quality['step']})" if "step" in quality else ""
    if isinstance(alone, int | float):
        step = f"; the network alone {alone:.4f} nats{step}"
    return f"{bits:.4f} bits/char, {nats:.4f} nats/char on its validation split{step}"
