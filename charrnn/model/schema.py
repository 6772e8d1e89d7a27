"""What a model file and a training state must hold: one schema for each, checked before any tensor is read.

The JSON object of a file consists of sections, each of them an object or a single value. A tensor is known
from the file's header by its type and shape, so that a wrong one costs neither time nor memory.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from charrnn.config import MAX_ORDER, CorpusConfig, ModelConfig, NGramConfig, TrainingConfig
from charrnn.errors import ModelFileError
from charrnn.model.grams import GRAMS, check_layout
from charrnn.settings import Rule, from_mapping, rules
from charrnn.text.tokenizer import tokenizer_from

# Of each tensor its type, by the name that safetensors has for it, and its shape.
Layout = Mapping[str, tuple[str, tuple[int, ...]]]

NUMPY_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool",
}  # fmt: skip
LARGEST = 2**63 - 1  # of counts and sizes


# -- the JSON object -----------------------------------------------------------------------------------------


class Check(Protocol):
    """Judges a value."""

    def admits(self, value: Any) -> bool:
        """Whether the value may stand there."""

    def describe(self, value: Any) -> str:
        """What should stand there instead."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """A check by a function, and its meaning in words."""

    holds: Callable[[Any], bool]
    expected: str

    def admits(self, value: Any) -> bool:
        """Whether the value may stand there."""
        return self.holds(value)

    def describe(self, value: Any) -> str:  # noqa: ARG002
        """What should stand there instead."""
        return self.expected


@dataclasses.dataclass(frozen=True)
class Section:
    """An object within the JSON object.

    Attributes:
        checks: of its values, by key. Other keys are those of later versions, and passed over.
        required: the keys that it must have.
    """

    checks: Mapping[str, Check]
    required: frozenset[str] = frozenset()

    def check(self, name: str, value: Any) -> None:
        """Raises ModelFileError, naming the key, unless the value is such an object."""
        if not isinstance(value, dict):
            raise _mismatch(name, "an object", value)
        for key in sorted(self.required - value.keys()):
            raise ModelFileError(f"{name}.{key}: expected it, found none")
        for key, check in self.checks.items():
            if key in value and not check.admits(value[key]):
                raise _mismatch(f"{name}.{key}", check.describe(value[key]), value[key])


def _mismatch(name: str, expected: str, found: Any) -> ModelFileError:
    return ModelFileError(f"{name}: expected {expected}, found {found!a:.60}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > 1 << 1023


def _is_path(value: Any) -> bool:
    try:
        return isinstance(value, str) and "\0" not in value and bool(os.fsencode(value))
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _are_weights(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_number(w) and 0 < w <= 1 for w in value)


def _are_paths(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_path, value))


COUNT = Rule(int, optional=False, at_least=0, at_most=LARGEST, expected="a whole number from 0 to 2^63 - 1")
SECONDS = Rule(float, optional=False, at_least=0)
LOSS = Condition(_is_number, "a number")  # NaN included, for a training that diverged
OPTIONAL_LOSS = Condition(lambda value: value is None or _is_number(value), "a number or null")
TEXT = Rule(str, optional=False)
FLAG = Rule(bool, optional=False)
DIGEST = Condition(_is_digest, "64 hexadecimal digits")

ARCHITECTURE = Section(rules(ModelConfig), frozenset({"cell", "num_layers", "hidden_size", "embedding_size"}))
NGRAM = Section(
    rules(NGramConfig) | {"order": Rule(int, optional=False, at_least=1, at_most=MAX_ORDER)},
    frozenset({"cell", "order"}),
)
BESIDE = Section({"order": NGRAM.checks["order"]}, frozenset({"order"}))
MIX = Condition(_are_weights, "two numbers greater than 0")
CORPUS: Mapping[str, Check] = {
    **rules(CorpusConfig),
    "val": Condition(lambda value: value is None or _is_path(value), "a path or null"),
    "val_sha256": DIGEST,
    "val_bytes": COUNT,
    "val_files": COUNT,
    "name": TEXT,
    "paths": Condition(_are_paths, "a list of paths"),
    "characters": COUNT,
    "bytes": COUNT,
    "files": COUNT,
    "sha256": DIGEST,
}
# Of the settings that a model was trained with only the types: another version may have other choices.
SETTINGS: Mapping[str, Check] = {
    name: Rule(rule.type, optional=True) for name, rule in rules(TrainingConfig).items()
}
PROGRESS: Mapping[str, Check] = {
    "step": COUNT,
    "seconds": SECONDS,
    "aside": SECONDS,
    "before": SECONDS,
    "evaluated": COUNT,
    "best": OPTIONAL_LOSS,
    "best_step": COUNT,
    "best_train": LOSS,
    "stale": COUNT,
    "part_best": OPTIONAL_LOSS,
    "loss_sum": LOSS,
    "loss_count": COUNT,
    "skipped": COUNT,
    "skipped_in_a_row": COUNT,
    "rate_scale": Rule(float, optional=False, above=0, at_most=1),
    "base_step": COUNT,
    "base_seconds": SECONDS,
    "kept": COUNT,
    "kept_at": SECONDS,
    "session": Rule(str, optional=True),
}
# What states of version 0.1.0 do not have.
LATER = frozenset({"aside", "before", "part_best", "base_step", "base_seconds", "kept", "kept_at", "session"})

MODEL: Mapping[str, Section | Check] = {
    "architecture": ARCHITECTURE,
    "corpus": Section(CORPUS),
    "training": Section(
        {**SETTINGS, "step": COUNT, "seconds": SECONDS, "precision": TEXT, "batch": COUNT, "window": COUNT}
    ),
    "quality": Section(
        {
            "step": COUNT,
            "train_nats_per_character": LOSS,
            "nats_per_character": LOSS,
            "bits_per_character": LOSS,
            "characters": COUNT,
            "network_nats_per_character": LOSS,
        }
    ),
}
STATE: Mapping[str, Section | Check] = {
    "architecture": ARCHITECTURE,
    "training": Section(rules(TrainingConfig), frozenset({"seed"})),
    "precision": Rule(str, optional=False, choices=("fp32", "bf16")),
    "corpus": Section(CORPUS, frozenset({"paths", "characters", "sha256"})),
    "progress": Section(PROGRESS, frozenset(PROGRESS) - LATER),
    "finished": FLAG,
}
SCHEMAS = {"model": MODEL, "state": STATE}
OPTIONAL = ("corpus", "training", "quality")  # sections of a model that may be missing


def is_ngram(described: Mapping[str, Any]) -> bool:
    """Whether the JSON object of a model file says that it holds an n-gram."""
    architecture = described.get("architecture")
    return isinstance(architecture, dict) and architecture.get("cell") == "ngram"


def check_description(described: Mapping[str, Any], kind: str) -> None:
    """Holds the JSON object of a file of this kind to its schema.

    Raises:
        ModelFileError: names the first value that is wrong or missing, what was expected, and what was found.
    """
    for name, part in SCHEMAS[kind].items():
        if kind == "model" and name in OPTIONAL and described.get(name) is None:
            continue
        if name not in described:
            raise ModelFileError(f"{name}: expected it, found none")
        if name == "architecture" and kind == "model" and is_ngram(described):
            NGRAM.check(name, described[name])
        elif isinstance(part, Section):
            part.check(name, described[name])
        elif not part.admits(described[name]):
            raise _mismatch(name, part.describe(described[name]), described[name])
    if kind == "model" and ("ngram" in described or "mix" in described):
        BESIDE.check("ngram", described.get("ngram"))
        if is_ngram(described) or not MIX.admits(described.get("mix")):
            raise _mismatch("mix", f"{MIX.expected}, and a network", described.get("mix"))
    if "tokenizer" not in described:
        raise ModelFileError("tokenizer: expected it, found none")


# -- tensors -------------------------------------------------------------------------------------------------


def expected_shapes(config: ModelConfig, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all of a model's tensors, in the order in which data passes through them.

    >>> shapes = expected_shapes(ModelConfig(num_layers=1, hidden_size=8, embedding_size=8), 5)
    >>> shapes["layers.0.recurrent.weight"]
    (32, 8)
    """
    hidden, rows = config.hidden_size, config.gates * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary, config.embedding_size)}
    for layer in range(config.num_layers):
        below = config.embedding_size if layer == 0 else hidden
        shapes[f"layers.{layer}.input.weight"] = (rows, below)
        shapes[f"layers.{layer}.input.bias"] = (rows,)
        shapes[f"layers.{layer}.recurrent.weight"] = (rows, hidden)
        shapes[f"layers.{layer}.recurrent.bias"] = (rows,)
    if not config.tied:
        shapes["output.weight"] = (vocabulary, config.read_size)
    shapes["output.bias"] = (vocabulary,)
    return shapes


def check_tensors(layout: Layout, kind: str, described: Mapping[str, Any]) -> None:
    """Holds the tensors of a file, as its header lists them, to what its checked JSON object says.

    Raises:
        ModelFileError: names the first tensor that is wrong or missing, or what is wrong with the tokenizer.
    """
    vocabulary = tokenizer_from(described["tokenizer"]).size
    if kind == "model" and is_ngram(described):
        check_layout(layout, described["architecture"]["order"], vocabulary)
        return
    if kind == "model" and "ngram" in described:
        counts = {name: found for name, found in layout.items() if name.startswith(GRAMS)}
        check_layout(counts, described["ngram"]["order"], vocabulary)
        layout = {name: found for name, found in layout.items() if name not in counts}
    config: ModelConfig = from_mapping(ModelConfig, described["architecture"])
    shapes = expected_shapes(config, vocabulary)
    if kind == "model":
        check_weights(layout, shapes)
    else:
        _check_state_tensors(layout, shapes, config, described["training"])


def check_weights(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Holds a model's tensors to their shapes, and to float32 or float16.

    Raises:
        ModelFileError: names the first tensor that is wrong or missing.
    """
    _check_names(layout, shapes.keys())
    for name, shape in shapes.items():
        _check_tensor(layout, name, shape, ("F32", "F16"))


def _check_names(layout: Layout, names: Any) -> None:
    for name in sorted(names ^ layout.keys()):
        expected, found = ("it", "none") if name in names else ("no such tensor", "one")
        raise ModelFileError(f"{name}: expected {expected}, found {found}")


def _check_tensor(layout: Layout, name: str, shape: tuple[int | None, ...], types: tuple[str, ...]) -> None:
    """A shape's None stands for any length but 0."""
    found_type, found_shape = layout[name]
    fits = len(shape) == len(found_shape) and all(
        found > 0 if length is None else found == length
        for length, found in zip(shape, found_shape, strict=True)
    )
    if not fits:
        shown = str(shape).replace("None", "any")
        raise ModelFileError(f"{name}: expected shape {shown}, found {found_shape!s:.60}")
    if found_type not in types:
        expected = " or ".join(NUMPY_TYPES[type] for type in types)
        raise ModelFileError(f"{name}: expected {expected}, found {NUMPY_TYPES.get(found_type, found_type)}")


def _check_state_tensors(
    layout: Layout,
    shapes: Mapping[str, tuple[int, ...]],
    config: ModelConfig,
    training: Mapping[str, Any],
) -> None:
    """Holds a state's tensors, named as ``TrainingStep.capture`` says, to types and shapes.

    The optimizers' tensors are there for every parameter or, before the first step, for none; so is the
    hidden state for every layer.
    """
    needed: dict[str, tuple[int | None, ...]] = {f"weights.{name}": shape for name, shape in shapes.items()}
    needed |= {"gradient_norm": ()}
    optional: list[dict[str, tuple[int | None, ...]]] = [
        {"random.cpu": (None,)},  # of generators that drew the dropout masks in version 0.1.0
        {"random.cuda": (None,)},
        dict(_optimizer_shapes(shapes, str(training.get("optimizer", "muon")))),
        dict(_hidden_shapes(config)),
    ]
    for group in optional:
        if group.keys() & layout.keys():
            needed |= group
    _check_names(layout, needed.keys())
    for name, shape in needed.items():
        _check_tensor(layout, name, shape, ("U8",) if name.startswith("random.") else ("F32",))


def _optimizer_shapes(
    shapes: Mapping[str, tuple[int, ...]], optimizer: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, shape in shapes.items():
        if optimizer == "muon" and name.startswith("layers.") and len(shape) == 2:
            yield f"optimizer.momentum.{name}", shape
            continue
        yield f"optimizer.step.{name}", ()
        yield f"optimizer.exp_avg.{name}", shape
        yield f"optimizer.exp_avg_sq.{name}", shape


def _hidden_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    for layer in range(config.num_layers):
        for part in range(2 if config.cell == "lstm" else 1):
            yield f"hidden.{layer}.{part}", (1, None, config.hidden_size)
