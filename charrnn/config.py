"""The settings of texts, networks and training: each one's default, meaning and range.

Here and in ``use_config``, and nowhere else, settings are declared.

A field's ``help`` is what the command line shows. A value of another type, outside the choices or out of
range raises ConfigError with the flag's name, so that Python and the shell refuse the same values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from charrnn.errors import ConfigError
from charrnn.settings import Config, flag_of, from_mapping, setting

Cell = Literal["lstm", "gru", "rnn", "relu"]
Output = Literal["top", "all"]
TokenizerKind = Literal["char", "byte"]
Newlines = Literal["keep", "unix"]
Optimizer = Literal["muon", "adamw"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]

DEFAULT_TIME = 180.0  # seconds, for training without --time, --epochs and --steps
MOST_VALIDATED = 1 << 21  # characters, however much was held out
MAX_ORDER = 8  # of n-grams
MOST_DROPOUT = 0.5  # that is chosen or recommended; a user may ask for more

# Where --matrix-lr is not given: all of Muon's steps are of the same size, AdamW's are not.
MATRIX_RATES: dict[Optimizer, float] = {"muon": 0.07, "adamw": 3e-3}

SEED = {"at_least": 0, "at_most": 2**63 - 1, "expected": "a whole number from 0 to 2^63 - 1"}


@dataclasses.dataclass(frozen=True)
class CorpusConfig(Config):
    """How a text becomes ids, and which part of it is held out."""

    tokenizer: TokenizerKind = setting("char", "Model characters, or bytes, of which any file consists.")
    min_count: int = setting(
        1, "Replace characters that occur fewer times than this by one unknown symbol.", at_least=1
    )
    encoding: str = setting("utf-8", "Encoding of the text files.")
    newlines: Newlines = setting("keep", "Keep line endings as they are, or convert all of them to \\n.")
    val_fraction: float = setting(
        0.1, "Fraction of the text, at its end, to hold out for validation.", at_least=0, below=1
    )
    val: str | None = setting(
        None, "Validate on this text, and choose the best model by it; all of CORPUS is learned then."
    )
    lines: bool = setting(False, "Learn each line as a separate item, as for names or titles.")
    column: tuple[str, ...] = setting(
        (), "With --lines, learn this column of .csv and .tsv files: its name, or its number from 1."
    )
    rules: int = setting(
        2, "The rules by which items are read and held out; models up to 0.1.0 have 1.", at_least=1, at_most=2
    )

    pairs: bool = setting(False, "Learn pairs: on each line a source, a tab, and the target to be written.")

    def __post_init__(self) -> None:
        """Checks the fields, that they go together, and that Python knows the encoding."""
        super().__post_init__()
        if len(self.column) > 1:
            raise ConfigError(
                f"--column {' --column '.join(self.column)}: --lines learns one column; give one"
            )
        if self.lines and self.pairs:
            raise ConfigError("--lines learns whole lines and --pairs their targets; give one")
        if self.pairs and (self.column or self.val is not None):
            raise ConfigError("--pairs reads whole lines and holds out its own: leave out --column and --val")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise ConfigError(
                f"--encoding {self.encoding}: no such encoding; try utf-8, latin-1, cp1252 or utf-16"
            ) from None

    @classmethod
    def recorded(cls, corpus: Mapping[str, Any], **changed: Any) -> CorpusConfig:
        """How a corpus was read, from its description in a model or state file.

        Args:
            corpus: the description; without ``rules``, it is from version 0.1.0, which had the first ones.
            changed: fields to replace.
        """
        config: CorpusConfig = from_mapping(cls, {"rules": 1} | dict(corpus) | changed)
        return config

    def require_items(self) -> None:
        """Checks that a column is wanted only as items.

        Raises:
            ConfigError: it is not.
        """
        if self.column and not self.lines:
            raise ConfigError(f"--column {self.column[0]}: a column is a list of items; add --lines")

    def train_size(self, symbols: int) -> int:
        """How many of a text's symbols are for training, rounded down; the rest is for validation."""
        return int(symbols * (1 - self.held_out))

    @property
    def held_out(self) -> float:
        """The fraction of the text that is not learnt: none if there is another text for validation."""
        return 0.0 if self.val is not None else self.val_fraction


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """The network's shape."""

    cell: Cell = setting("lstm", "Type of recurrent cell; ngram counts instead of learning.")
    num_layers: int = setting(2, "Number of recurrent layers.", at_least=1, at_most=64)
    hidden_size: int = setting(
        256, "Units in each recurrent layer.", at_least=1, at_most=65536, shown="by --size"
    )
    embedding_size: int = setting(
        64,
        "Size of a character's embedding; if it equals the hidden size, the output layer shares its weights.",
        at_least=1,
        at_most=65536,
    )
    dropout: float = setting(
        0.1,
        "Dropout probability after each layer; one mask per window.",
        at_least=0,
        below=1,
        shown=f"0 to {MOST_DROPOUT:g}, more for short texts and many passes",
    )
    output: Output = setting(
        "top",
        "Layers whose hidden states the output layer reads: the top one, or all of them.",
        shown="all for long texts, else top",
    )

    @property
    def tied(self) -> bool:
        """Whether embedding and output share one matrix (Press & Wolf, 2017).

        They do where the output reads the top layer alone and that has the embedding's size.
        """
        return self.output == "top" and self.embedding_size == self.hidden_size

    @property
    def read_layers(self) -> range:
        """The layers whose hidden states the output reads, side by side: the top one, or all."""
        return range(0 if self.output == "all" else self.num_layers - 1, self.num_layers)

    @property
    def read_size(self) -> int:
        """How many hidden units the output reads."""
        return self.hidden_size * len(self.read_layers)

    @property
    def gates(self) -> int:
        """How many blocks of ``hidden_size`` rows each weight matrix of a layer has."""
        return {"lstm": 4, "gru": 3, "rnn": 1, "relu": 1}[self.cell]


@dataclasses.dataclass(frozen=True)
class NGramConfig(Config):
    """What an n-gram is: a model that counts instead of learning, and looks at the last characters only."""

    cell: Literal["ngram"] = setting("ngram", "What the model is.")
    order: int | None = setting(
        None,
        "With --cell ngram: the most characters of a gram, the one that is predicted included.",
        at_least=1,
        at_most=MAX_ORDER,
        shown="by validation",
    )


# What --size stands for, smallest first.
SIZES = {
    "tiny": ModelConfig(hidden_size=64),
    "small": ModelConfig(hidden_size=128),
    "medium": ModelConfig(),
    "large": ModelConfig(hidden_size=384),
    **{str(hidden): ModelConfig(hidden_size=hidden) for hidden in (512, 768, 1024, 1536, 2048)},
}


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Config):
    """How long, how fast and on what device to train."""

    time: float | None = setting(
        None, "Train for this long, e.g. 90s, 3m, 1h30m.", above=0, at_most=10**9, shown=DEFAULT_TIME
    )
    epochs: float | None = setting(
        None, "Train for this many passes over the training text.", above=0, at_most=10**9
    )
    steps: int | None = setting(None, "Train for this many optimizer steps.", above=0, at_most=10**15)
    size: str = setting(
        "auto", "Size of the model; auto chooses it from the text and the time.", choices=("auto", *SIZES)
    )
    lr: float = setting(0.012, "Peak learning rate of embeddings, output layer and biases.", above=0)
    matrix_lr: float | None = setting(
        None,
        "Peak learning rate of the recurrent layers' weight matrices.",
        above=0,
        shown="{muon}; {adamw} with --optimizer adamw".format(**MATRIX_RATES),
    )
    optimizer: Optimizer = setting("muon", "Optimizer of the recurrent layers' weight matrices.")
    batch_size: int = setting(
        32,
        "Number of sequences trained on in parallel.",
        above=0,
        shown="{default}, fewer where the text is short for the time",
    )
    seq_length: int = setting(64, "Characters of a sequence that a step back-propagates through.", at_least=2)
    clip: float = setting(
        1.0, "Largest global norm of the gradient; larger gradients are scaled down to it.", above=0
    )
    weight_decay: float = setting(0.05, "Decoupled weight decay of the weight matrices.", at_least=0)
    warmup: float = setting(
        0.02, "Fraction of the training in which the learning rate rises from 0.", at_least=0, below=1
    )
    floor: float = setting(
        0.02, "Learning rate at the end, as a fraction of the peak.", at_least=0, at_most=1
    )
    patience: int = setting(
        12,
        "Stop after this many evaluations without improvement; 0: never.",
        at_least=0,
        expected="0 (never) or greater",
    )
    most_passes: float | None = setting(
        None, "With --time and --patience, read the text this often at most; chosen if not given.", above=0
    )
    seed: int | None = setting(
        None,
        "Random seed, which makes a run repeatable; drawn and printed if not given.",
        **SEED,
    )
    device: Device = setting("auto", "Device to train on.")
    precision: Precision = setting("auto", "Arithmetic of training; auto chooses bf16 where it is faster.")
    threads: int | None = setting(None, "Number of CPU threads.", above=0, at_most=4096, shown="one per core")
    replicas: int | None = setting(
        None,
        "Number of parts of each batch that are computed at once, on a share of the threads each.",
        above=0,
        at_most=4096,
        shown="by the threads and the batch size",
    )
    validate: int = setting(
        MOST_VALIDATED, "Characters of the held-out text that an evaluation scores at most.", at_least=1
    )
    eval_every: int | None = setting(
        None, "Optimizer steps between evaluations.", above=0, shown="by the length of the training"
    )
    save_every: float = setting(
        60.0, "Time between saves of the training state that --resume needs.", above=0
    )
    with_ngram: bool | None = setting(
        None,
        "Count an n-gram of the text, too, and write both as one model when the training is finished.",
        shown="with --time, where it helps",
    )
    keep_every: float | None = setting(
        None, "Keep a numbered copy of the model this often, e.g. 1m.", above=0
    )
    sample_every: float | None = setting(
        None, "Print a sample of the model's text this often, e.g. 30s.", above=0
    )

    def __post_init__(self) -> None:
        """Checks the fields, and that at most one length of training is given."""
        super().__post_init__()
        given = [flag_of(name) for name in ("time", "epochs", "steps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are different lengths of training; give one")

    @property
    def matrix_rate(self) -> float:
        """The peak learning rate of the layers' matrices: the optimizer's own where none was given."""
        return self.matrix_lr or MATRIX_RATES[self.optimizer]

    def with_length(self) -> TrainingConfig:
        """The same settings, with DEFAULT_TIME if they have no time, epochs or steps."""
        if self.time is None and self.epochs is None and self.steps is None:
            return dataclasses.replace(self, time=DEFAULT_TIME)
        return self


# Settings of training that its outcome does not depend on: they may change on resuming, and a model file
# does not record them.
CADENCE = frozenset({"threads", "replicas", "save_every", "sample_every", "keep_every"})


def draw_seed(entropy: Callable[[int], bytes]) -> int:
    """A seed of 32 bits from the system's entropy: short enough to type again."""
    return int.from_bytes(entropy(4), "little")
