"""A page that writes: a model, the program that samples from it, and a form, in one HTML file.

The page loads nothing from outside and may not: its content security policy allows the one script and the
one style that it holds, by their hashes, and a worker thread made from its own text. ``engine.js`` is the
network and the sampler, ``ngram.js`` an n-gram alone or mixed with the network, ``worker.js`` the thread,
``export.js`` the form. ``#prompt=To%20be&seed=1&write=1`` after the address fills in the form and begins to
write.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError, counted
from charrnn.model import grams
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile, Tensors
from charrnn.model.ngram import KneserNey
from charrnn.pages.heatmap import INK, SHADES, range_of
from charrnn.pages.template import template
from charrnn.sampling.sampler import Sampler, log_probabilities
from charrnn.settings import default_of
from charrnn.text.tokenizer import Tokenizer, code_points
from charrnn.use_config import SamplingConfig

Precision = Literal["float32", "float16", "int8"]

LARGEST = 256 << 20  # bytes of weights in base64; browsers limit how long a text may be
THREAD = ("engine.js", "ngram.js", "worker.js")  # what runs in the page's thread
JUDGED = 50  # texts, and symbols of each, that the cost of rounding is measured on

# The heat map's shades for a dark page.
DARK_SHADES = ("#181715", "#2c1a16", "#421d17", "#5a2119", "#74251b", "#8f2a1d", "#ab301f", "#ffb39b")
DARK_INK = ("#e9e5dc",) * 7 + ("#181715",)

CELLS = {"lstm": "An LSTM", "gru": "A GRU", "rnn": "A tanh RNN", "relu": "A ReLU RNN"}


# -- weights -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Packed:
    """A tensor as a page holds it.

    Attributes:
        values: float32, float16 or int8; of an n-gram unsigned integers.
        scales: of int8, what each row is multiplied by, (rows,) float32.
    """

    values: NDArray[Any]
    scales: NDArray[np.float32] | None = None

    def unpacked(self) -> NDArray[np.float32]:
        """The numbers that the page computes with."""
        values = self.values.astype(np.float32)
        return values if self.scales is None else values * self.scales[:, None]


def pack(weights: Tensors, precision: Precision) -> dict[str, Packed]:
    """Each tensor at a precision; at int8 the matrices are, and biases stay float32.

    A row's scale is what makes its largest magnitude 127.

    Raises:
        ModelFileError: a weight is beyond what float16 holds.
    """
    packed = {}
    for name, array in weights.items():
        if precision == "int8" and array.ndim == 2:
            scales = np.abs(array).max(axis=1) / np.float32(127)
            whole = np.rint(array / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
            packed[name] = Packed(whole, scales)
            continue
        with np.errstate(over="ignore"):
            values = array.astype(np.float16 if precision == "float16" else np.float32)
        if not np.isfinite(values).all():
            raise ModelFileError(f"{name}: a weight is too large for float16; export with --float32")
        packed[name] = Packed(values)
    return packed


def rounded(model: ModelFile, precision: Precision) -> ModelFile:
    """The model as a page of this precision has it; an n-gram beside a network stays as it is."""
    weights = {name: packed.unpacked() for name, packed in pack(model.weights, precision).items()}
    parts = tuple(
        dataclasses.replace(part, weights=weights) if part.weights else part for part in model.parts
    )
    return dataclasses.replace(model, weights=weights, parts=parts)


def rounding_cost(model: ModelFile, precision: Precision) -> float:
    """Nats a symbol by which rounding makes text less probable, on text that the model itself writes.

    Of such text the loss with the model's own weights is the least possible, and what rounding adds is the
    Kullback-Leibler divergence of the rounded model's predictions; this is its mean over JUDGED texts side by
    side, each of JUDGED symbols. No text is needed for it, and what is written is always the same.
    """
    exact, other = (make_engine(one).stream(JUDGED) for one in (model, rounded(model, precision)))
    fresh, item_end = exact.save(), _item_end(model)
    sampler = Sampler(SamplingConfig(temperature=1.0, seed=0))
    ids, nats = np.full(JUDGED, model.tokenizer.start), 0.0
    for _ in range(JUDGED):
        begins = np.flatnonzero(ids == item_end)  # whose state begins anew
        for streams in (exact, other):
            streams.restore(fresh, begins, begins)
        logits = exact.step(ids)  # (vocabulary, JUDGED)
        logs = log_probabilities(logits.T)
        nats += float((np.exp(logs) * (logs - log_probabilities(other.step(ids).T))).sum())
        ids = sampler.choose_many(logits)
    return nats / JUDGED**2


def _packed(model: ModelFile, precision: Precision) -> dict[str, Packed]:
    """The network's weights at a precision, and the n-gram's integers as a model file has them."""
    packed, ngram = pack(model.weights, precision), model.ngram
    counts = {} if ngram is None else grams.pack(ngram)
    return packed | {name: Packed(values) for name, values in counts.items()}


def _data(packed: dict[str, Packed]) -> tuple[list[dict[str, Any]], bytes]:
    """What the page's header says of the tensors, and their bytes one after the other.

    Everything begins at a multiple of four bytes and is little-endian.
    """
    data = bytearray()

    def append(array: NDArray[Any]) -> int:
        begin = len(data)
        data.extend(array.astype(array.dtype.newbyteorder("<")).tobytes())
        data.extend(bytes(-len(data) % 4))
        return begin

    described = []
    for name, tensor in packed.items():
        values = tensor.values
        entry = {"name": name, "type": values.dtype.name, "shape": values.shape, "offset": append(values)}
        if tensor.scales is not None:
            entry["scales"] = append(tensor.scales)
        described.append(entry)
    return described, bytes(data)


# -- the page ----------------------------------------------------------------------------------------------


def page(
    model: ModelFile,
    name: str,
    precision: Precision = "float16",
    *,
    generator: str = "charrnn",
    whole: bool = True,
) -> str:
    """The page, complete in itself.

    Args:
        model: what writes in it.
        name: the page's title.
        precision: of its weights.
        generator: the program and version that the page names.
        whole: whether ``charrnn sample`` writes with the same model, so that the page may say so.

    Raises:
        ModelFileError: the model is too large for a page, or has weights that float16 does not hold.
        ConfigError: it is a mixture of others than a network and the n-gram beside it.
    """
    tensors, data = _data(_packed(model, precision))
    weights = base64.b64encode(data).decode("ascii")
    if len(weights) > LARGEST:
        remedy = "export with --int8, or train a smaller model"
        if model.grams is not None:
            remedy = "train with a lower --order"
        elif model.parts:
            remedy = "export with --int8 or --without-ngram, or train a smaller model"
        raise ModelFileError(f"a page of {len(weights) >> 20:,} MB is more than browsers take; {remedy}")
    style = "\n" + template("export.css") + _shades()
    script = "\n" + template("export.js")
    parts = {
        "POLICY": policy(script, style),
        "NAME": html.escape(name),
        "FACTS": html.escape(facts(model, precision)),
        "GENERATOR": html.escape(generator),
        "SAMPLED": ", here and from <code>charrnn sample</code>" if whole else "",
        "UNITS": _units(model.tokenizer).capitalize(),
        "LEGEND": " ".join(f'<b class="b{index}">{range_of(index)}</b>' for index in range(len(SHADES))),
        "HEADER": _json(header(model, tensors)),
        "WEIGHTS": weights,
        "THREAD": "\n" + "".join(map(template, THREAD)),
        "SCRIPT": script,
        "STYLE": style,
    }
    return "".join(parts.get(part, part) for part in template("export.html").split("%%"))


def header(model: ModelFile, tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's scripts need to know, beside the tensors."""
    settings = ("temperature", "length", "top_k", "top_p", "min_p")
    item_end, ngram = _item_end(model), model.ngram
    writable = model.tokenizer.size - (model.tokenizer.unknown is not None)
    return {
        **(_network(model) if model.grams is None else {}),
        **({} if ngram is None else {"discounts": _discounts(ngram), "mix": model.mix}),
        "item_end": item_end,
        "opening": item_end if writable > 1 else None,  # as in ``SamplingSession``
        "vocabulary": model.tokenizer.size,
        "tokenizer": _symbols(model.tokenizer),
        "units": _units(model.tokenizer),
        "defaults": {name: default_of(SamplingConfig, name) for name in settings},
        "tensors": tensors,
    }


def _network(model: ModelFile) -> dict[str, Any]:
    """The network's shape."""
    config = model.config
    output = model.weights["embedding.weight" if config.tied else "output.weight"]
    read = output.shape[1] // config.hidden_size  # so many of the uppermost layers
    return {
        "cell": config.cell,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "embedding": config.embedding_size,
        "tied": config.tied,
        "output_layers": list(range(config.num_layers - read, config.num_layers)),
    }


def _discounts(ngram: KneserNey) -> list[list[float]]:
    """D(0) to D(3) of each order, for whose counts every gram of the order is needed."""
    return [counts.discounts.tolist() for counts in ngram.counts]


def _symbols(tokenizer: Tokenizer) -> dict[str, Any]:
    """The vocabulary as numbers: in a text, JavaScript would join neighbouring surrogates."""
    described = tokenizer.describe()
    points = code_points(described.get("vocabulary", "")).tolist()
    return {"kind": tokenizer.kind, "points": points, "unknown": tokenizer.unknown, "start": tokenizer.start}


def _units(tokenizer: Tokenizer) -> str:
    return "bytes" if tokenizer.kind == "byte" else "characters"


def facts(model: ModelFile, precision: Precision) -> str:
    """What the model is, in a line or two."""
    units, ngram = _units(model.tokenizer), model.ngram
    line = _shape(model, precision) if model.grams is None else _counted(model.grams).capitalize()
    if ngram is not None and model.parts:
        ours, theirs = (f"{100 * weight:.3g} %" for weight in model.mix)
        line += f", mixed {ours} to {theirs} with {_counted(ngram)} of the same text"
    if "name" in model.corpus and "characters" in model.corpus:
        line += f", trained on {model.corpus['characters']:,} {units} of {model.corpus['name']}"
    if "bits_per_character" in model.quality:
        bits = model.quality["bits_per_character"]
        line += f"; {bits:.2f} bits a {units[:-1]} on held-out text"
    return line + "."


def _shape(model: ModelFile, precision: Precision) -> str:
    """What the network is."""
    config = model.config
    count = sum(array.size for array in model.weights.values())
    layers = f"{counted(config.num_layers, 'layer')} of {config.hidden_size:,} units"
    return f"{CELLS[config.cell]} with {layers} ({count:,} weights as {precision})"


def _counted(ngram: KneserNey) -> str:
    """What the n-gram is, with an article."""
    article = "an" if ngram.highest == 8 else "a"
    return f"{article} {ngram.highest}-gram ({counted(sum(map(len, ngram.symbols)), 'count')})"


def policy(script: str, style: str) -> str:
    """A content security policy under which these two run, a worker of the page's own, and nothing else."""
    directives = {
        "default-src": "'none'",
        "script-src": f"'{_hash(script)}' 'wasm-unsafe-eval'",  # the latter: WebAssembly, but not eval
        "style-src": f"'{_hash(style)}'",
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _json(value: Any) -> str:
    """JSON that may stand in a script element, whatever it holds: ASCII without "<"."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _shades() -> str:
    """The style of each shade of surprise, on a light page and on a dark one."""

    def rules(backgrounds: tuple[str, ...], inks: tuple[str, ...]) -> str:
        pairs = zip(backgrounds, inks, strict=True)
        return "".join(f".b{i}{{background:{back};color:{ink}}}" for i, (back, ink) in enumerate(pairs))

    dark = rules(DARK_SHADES, DARK_INK)
    return f"{rules(SHADES, INK)}\n@media (prefers-color-scheme: dark) {{{dark}}}\n"


def _item_end(model: ModelFile) -> int | None:
    """The id that ends a line, if the model learnt each line by itself."""
    return model.tokenizer.newline if model.corpus.get("lines") else None
