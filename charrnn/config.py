"""Every setting: its default, its meaning and its range, here and nowhere else.

A field's ``help`` is what the command line shows; a value out of range raises ConfigError with the flag's
name, so that functions called from Python and commands called from a shell refuse the same things.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from charrnn.errors import ConfigError

Cell = Literal["lstm", "gru", "rnn", "relu"]
TokenizerKind = Literal["char", "byte"]
Newlines = Literal["keep", "unix"]
Size = Literal["auto", "small", "medium", "large"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


def setting(default: Any, help: str) -> Any:
    """A dataclass field that carries its own description."""
    return dataclasses.field(default=default, metadata={"help": help})


def _check(flag: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{flag} {value}: must be {expected}")


def _check_choice(flag: str, value: str, choices: Any) -> None:
    _check(flag, value, value in get_args(choices), "one of " + ", ".join(get_args(choices)))


def _check_fraction(flag: str, value: float) -> None:
    _check(flag, value, 0 <= value < 1, "at least 0 and less than 1")


def _check_positive(flag: str, value: float | None) -> None:
    _check(flag, value, value is None or 0 < value < math.inf, "greater than 0")


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """How a text becomes ids, and which part of it is held out."""

    tokenizer: TokenizerKind = setting("char", "Learn characters, or bytes of any file at all.")
    min_count: int = setting(1, "Fold characters rarer than this into one unknown symbol.")
    encoding: str = setting("utf-8", "How the text's files are encoded.")
    newlines: Newlines = setting("keep", "Leave line ends as they are, or make them all \\n.")
    val_fraction: float = setting(0.1, "Hold out this share, at the text's end, for validation.")
    lines: bool = setting(False, "Learn each line as an item of its own, as for names or titles.")

    def __post_init__(self) -> None:
        """Refuses what is out of range, by the flag's name."""
        _check_choice("--tokenizer", self.tokenizer, TokenizerKind)
        _check_choice("--newlines", self.newlines, Newlines)
        _check("--min-count", self.min_count, self.min_count >= 1, "at least 1")
        _check_fraction("--val-fraction", self.val_fraction)
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise ConfigError(
                f"--encoding {self.encoding}: no such encoding; try utf-8, latin-1, cp1252 or utf-16"
            ) from None

    def train_size(self, symbols: int) -> int:
        """How many of a text's symbols train, rounded down; the rest validate."""
        return int(symbols * (1 - self.val_fraction))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network's shape."""

    cell: Cell = setting("lstm", "The recurrent cell.")
    num_layers: int = setting(2, "How many recurrent layers are stacked.")
    hidden_size: int = setting(256, "Units in each recurrent layer.")
    embedding_size: int = setting(
        64, "Length of a character's vector; where it equals the hidden size, the output shares it."
    )
    dropout: float = setting(0.1, "Share of units silenced after each layer, anew in every window.")

    def __post_init__(self) -> None:
        """Refuses what is out of range, by the flag's name."""
        _check_choice("--cell", self.cell, Cell)
        _check("--num-layers", self.num_layers, 1 <= self.num_layers <= 64, "from 1 to 64")
        _check("--hidden-size", self.hidden_size, 1 <= self.hidden_size <= 65536, "from 1 to 65536")
        _check(
            "--embedding-size",
            self.embedding_size,
            1 <= self.embedding_size <= 65536,
            "from 1 to 65536",
        )
        _check_fraction("--dropout", self.dropout)

    @property
    def tied(self) -> bool:
        """Whether embedding and output share one matrix (Press & Wolf, 2017)."""
        return self.embedding_size == self.hidden_size

    @property
    def gates(self) -> int:
        """How many blocks of ``hidden_size`` rows each weight matrix of a layer has."""
        return {"lstm": 4, "gru": 3, "rnn": 1, "relu": 1}[self.cell]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast and on what."""

    time: float | None = setting(None, "Train for this long, e.g. 90s, 3m, 1h30m.")
    epochs: float | None = setting(None, "Train for this many passes over the text.")
    steps: int | None = setting(None, "Train for this many steps of the optimizer.")
    size: Size = setting("auto", "How large a model; auto suits it to the text and the time.")
    lr: float = setting(0.012, "Peak learning rate of embedding, output and biases.")
    matrix_lr: float | None = setting(None, "Peak learning rate of the layers' matrices.")
    optimizer: Literal["muon", "adamw"] = setting("muon", "What moves the layers' matrices.")
    batch_size: int = setting(32, "Streams of text read side by side.")
    seq_length: int = setting(64, "Characters back-propagated through in a step.")
    clip: float = setting(1.0, "Largest global norm of the gradient; more is scaled down.")
    weight_decay: float = setting(0.05, "Decoupled weight decay of matrices.")
    warmup: float = setting(0.02, "Share of the training in which the rate rises from 0.")
    floor: float = setting(0.02, "Share of the peak rate that is left at the end.")
    patience: int = setting(12, "Stop after so many evaluations without a better one; 0: never.")
    seed: int | None = setting(None, "Makes a run repeatable; drawn and shown if not given.")
    device: Device = setting("auto", "Where to compute.")
    precision: Precision = setting("auto", "Arithmetic of training; auto picks what pays.")
    threads: int | None = setting(None, "Processor threads; as many as there are cores if not given.")
    eval_every: int | None = setting(None, "Steps between validations; planned if not given.")
    save_every: float = setting(60.0, "Seconds between saves of the state that --resume needs.")
    sample_every: float | None = setting(None, "Show what the model writes, this often, e.g. 30s.")

    def __post_init__(self) -> None:
        """Refuses what is out of range, by the flag's name."""
        given = [f"--{n}" for n in ("time", "epochs", "steps") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are different lengths of training; give one")
        for name in ("time", "epochs", "steps", "matrix_lr", "threads", "eval_every", "sample_every"):
            _check_positive(f"--{name.replace('_', '-')}", getattr(self, name))
        for name in ("lr", "batch_size", "clip", "save_every"):
            _check_positive(f"--{name.replace('_', '-')}", getattr(self, name))
        _check("--seq-length", self.seq_length, self.seq_length >= 2, "at least 2")
        _check("--patience", self.patience, self.patience >= 0, "0 (never) or greater")
        _check("--weight-decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _check_fraction("--warmup", self.warmup)
        _check_choice("--size", self.size, Size)
        _check_choice("--device", self.device, Device)
        _check_choice("--precision", self.precision, Precision)
        _check_seed(self.seed)

    @property
    def matrix_rate(self) -> float:
        """The peak learning rate of the layers' matrices: the optimizer's own where none was given."""
        return self.matrix_lr or MATRIX_RATES[self.optimizer]

    @property
    def length(self) -> TrainingConfig:
        """The same settings with a length: DEFAULT_TIME where none was given."""
        if self.time is None and self.epochs is None and self.steps is None:
            return dataclasses.replace(self, time=DEFAULT_TIME)
        return self


DEFAULT_TIME = 180.0

# Where --matrix-lr is not given: Muon's steps are of one size, AdamW's are not.
MATRIX_RATES = {"muon": 0.07, "adamw": 3e-3}

# Settings of training that its outcome does not depend on: they may change on resuming, and a model file
# does not name them.
CADENCE = frozenset({"threads", "save_every", "sample_every"})


def _check_seed(seed: int | None) -> None:
    _check("--seed", seed, seed is None or 0 <= seed < 2**63, "a whole number from 0 to 2^63 - 1")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the next character is chosen, and how many."""

    length: int = setting(1000, "How many characters to generate; -1 for no end.")
    temperature: float = setting(1.0, "Below 1 bolder about likely characters, above 1 wilder; 0: greedy.")
    top_k: int = setting(0, "Choose among the K most probable characters only; 0: all.")
    top_p: float = setting(1.0, "Choose among the most probable that together reach P.")
    min_p: float = setting(0.0, "Leave out what is less probable than P times the most probable.")
    repetition_penalty: float = setting(1.0, "Above 1: make recent characters less probable.")
    repetition_window: int = setting(64, "How many recent characters --repetition-penalty looks at.")
    ban: str = setting("", "Never write any of these characters.")
    best_of: int = setting(1, "Write N texts and show the one most probable per character.")
    stop: tuple[str, ...] = setting((), "End before this text, which is not shown; repeatable.")
    num_samples: int = setting(1, "How many texts to write.")
    separator: str = setting("\n----\n", "What stands between several texts.")
    lines: int | None = setting(None, "Write N whole lines, none longer than --length.")
    distinct: bool = setting(False, "Write no line twice.")
    novel: bool = setting(False, "Write no line that stands in the training text.")
    novel_span: int | None = setting(None, "Write no run of K characters that stands there either.")
    logprobs: int = setting(0, "With --json: natural-log probabilities, and of the K most probable.")
    device: Device = setting("cpu", "Where to compute; only cpu does without torch.")
    seed: int | None = setting(None, "Makes the text repeatable; drawn and shown if not given.")

    def __post_init__(self) -> None:
        """Refuses what is out of range, by the flag's name."""
        self._check_numbers()
        if "" in self.stop:
            raise ConfigError("--stop '': an empty text stands everywhere; give at least one character")
        if self.best_of > 1 and (self.lines is not None or self.length < 0):
            raise ConfigError("--best-of compares whole texts: it wants a --length, and no --lines")
        if self.distinct and self.lines is None and self.length < 0:
            raise ConfigError("--distinct without an end remembers ever more; give --length or --lines")
        if self.lines is not None and self.num_samples > 1:
            raise ConfigError("--lines and --num-samples both say how many; give one")
        if self.lines is not None and self.stop:
            raise ConfigError("--lines ends at line ends and --stop elsewhere; give one")
        picky = self.distinct or self.novel or self.novel_span is not None
        if self.stop and (self.distinct or self.novel):
            raise ConfigError("--stop ends within a line, which --novel and --distinct judge whole")
        if picky and self.best_of > 1:
            raise ConfigError("--best-of does not go with --distinct, --novel or --novel-span; leave one out")

    def _check_numbers(self) -> None:
        _check("--length", self.length, self.length >= -1, "0 or more, or -1 for no end")
        _check(
            "--temperature", self.temperature, 0 <= self.temperature < math.inf,
            "0 (greedy) or greater; 1 samples as the model believes",
        )  # fmt: skip
        _check("--top-k", self.top_k, self.top_k >= 0, "0 (all) or greater")
        _check("--top-p", self.top_p, 0 < self.top_p <= 1, "greater than 0 and at most 1")
        _check("--min-p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1")
        _check(
            "--repetition-penalty", self.repetition_penalty, 1 <= self.repetition_penalty < math.inf,
            "1 (none) or greater",
        )  # fmt: skip
        for name in ("repetition_window", "best_of", "num_samples"):
            _check(f"--{name.replace('_', '-')}", getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _check("--lines", self.lines, self.lines is None or self.lines >= 0, "0 or more")
        _check("--novel-span", self.novel_span, self.novel_span is None or self.novel_span >= 2, "at least 2")
        _check("--logprobs", self.logprobs, self.logprobs >= 0, "0 or more")
        _check_choice("--device", self.device, Device)
        _check_seed(self.seed)


Reset = Literal["auto", "none", "lines"]
EvaluationPrecision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a text is scored."""

    reset: Reset = setting(
        "auto", "Carry the state on, or begin anew at each line; auto: as the model was trained."
    )
    streams: int | None = setting(
        None, "Sections of a long text read side by side; 1 is exact, chosen by length if not given."
    )
    precision: EvaluationPrecision = setting("fp32", "Arithmetic of scoring; bf16 is faster on long texts.")
    device: Device = setting("auto", "Where to compute long texts.")
    dynamic_lr: float = setting(1e-4, "Learning rate of dynamic evaluation.")
    dynamic_decay: float = setting(0.001, "Pull of dynamic evaluation back to the trained weights.")
    dynamic_segment: int = setting(20, "Characters that dynamic evaluation reads between updates.")

    def __post_init__(self) -> None:
        """Refuses what is out of range, by the flag's name."""
        _check_choice("--reset", self.reset, Reset)
        _check("--streams", self.streams, self.streams is None or self.streams >= 1, "at least 1")
        _check_choice("--precision", self.precision, EvaluationPrecision)
        _check_choice("--device", self.device, Device)
        _check_positive("--dynamic-lr", self.dynamic_lr)
        _check_fraction("--dynamic-decay", self.dynamic_decay)
        _check("--dynamic-segment", self.dynamic_segment, self.dynamic_segment >= 1, "at least 1")


def help_of(config: type[Any], name: str) -> str:
    """The description of one setting."""
    return str(config.__dataclass_fields__[name].metadata["help"])


def default_of(config: type[Any], name: str) -> Any:
    """The default of one setting."""
    return config.__dataclass_fields__[name].default


def from_mapping(config: type[Any], values: dict[str, Any]) -> Any:
    """A config from a file's JSON object; keys of later versions are passed over."""
    known = {field.name for field in dataclasses.fields(config)}
    return config(**{key: value for key, value in values.items() if key in known})


def draw_seed(entropy: Callable[[int], bytes]) -> int:
    """A seed of 32 bits from the system's entropy: short enough to type again."""
    return int.from_bytes(entropy(4), "little")
