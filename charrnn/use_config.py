"""The settings of the commands that use a trained model: each one's default, meaning and range."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from charrnn.config import SEED, Device
from charrnn.errors import ConfigError
from charrnn.settings import Config, parse_bias, setting

RESETS = ("auto", "none", "lines")
EvaluationPrecision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True)
class SamplingConfig(Config):
    """How the next character is chosen, and how many."""

    length: int = setting(
        1000,
        "Number of characters to generate; -1: endless.",
        at_least=-1,
        expected="0 or more, or -1 for no end",
    )
    temperature: float = setting(
        0.8,
        "Lower is more conservative, higher more varied; 0 is greedy, 1 the model's own distribution.",
        at_least=0,
        expected="0 (greedy) or greater; 1 is the model's own distribution",
    )
    top_k: int = setting(
        0,
        "Sample from the K most probable characters only; 0: all.",
        at_least=0,
        expected="0 (all) or greater",
    )
    top_p: float = setting(
        1.0,
        "Sample from the fewest most probable characters that add up to a probability of P.",
        above=0,
        at_most=1,
    )
    min_p: float = setting(
        0.0, "Exclude characters less than P times as probable as the most probable.", at_least=0, at_most=1
    )
    repetition_penalty: float = setting(
        1.0, "Above 1, recent characters become less probable.", at_least=1, expected="1 (none) or greater"
    )
    repetition_window: int = setting(
        64, "Number of recent characters that --repetition-penalty applies to.", at_least=1
    )
    no_repeat: int | None = setting(
        None, "Generate no run of K characters that this text already has.", at_least=2
    )
    ban: str = setting("", "Never generate any of these characters.")
    bias: tuple[str, ...] = setting(
        (), "TEXT=VALUE adds VALUE to the logits of these characters; below 0: rarer; repeatable."
    )
    best_of: int = setting(
        1, "Generate N texts and print the one that is most probable per character.", at_least=1
    )
    beam: int | None = setting(
        None,
        "Search for the N most probable texts instead of drawing one; with --each, or for a model of pairs.",
        at_least=1,
        at_most=1000,
    )
    stop: tuple[str, ...] = setting((), "Stop before this text, which is not printed; repeatable.")
    until: tuple[str, ...] = setting(
        (),
        "After --length characters go on to the next of these and keep it, for at most as many characters "
        "again; repeatable.",
    )
    num_samples: int = setting(1, "Number of texts to generate.", at_least=1)
    separator: str = setting("\n----\n", "Printed between texts.")
    lines: int | None = setting(
        None, "Generate N whole lines, none longer than --length.", at_least=0, expected="0 or more"
    )
    distinct: bool = setting(False, "Generate no line twice.")
    novel: bool = setting(False, "Generate no line that is in the training text.")
    novel_span: int | None = setting(
        None, "Generate no run of K characters that is in the training text.", at_least=2
    )
    logprobs: int = setting(
        0,
        "With --json, add natural-log probabilities, and those of the K most probable; 0: none.",
        at_least=0,
        expected="0 or more",
    )
    device: Device = setting("cpu", "Device to sample on; only cpu does without torch.")
    seed: int | None = setting(
        None,
        "Random seed, which makes the text repeatable; drawn and printed if not given.",
        **SEED,
    )

    def __post_init__(self) -> None:
        """Checks the fields, and that they do not contradict each other."""
        super().__post_init__()
        parse_bias(self.bias)
        lines, endless, whole = self.lines is not None, self.length < 0, self.distinct or self.novel
        for flag, texts in (("--stop", self.stop), ("--until", self.until)):
            if "" in texts:
                raise ConfigError(f"{flag} '': an empty text stands everywhere; give at least one character")
            if texts and lines:
                raise ConfigError(f"--lines ends at line ends and {flag} elsewhere; give one")
            if texts and whole:
                raise ConfigError(f"{flag} ends within a line, which --novel and --distinct judge whole")
        for flag, remembers in (("--distinct", self.distinct), ("--no-repeat", self.no_repeat is not None)):
            if remembers and endless and not lines:
                raise ConfigError(f"{flag} without an end remembers ever more; give --length or --lines")
        if self.until and endless:
            raise ConfigError("--until goes on after --length characters; give a --length")
        if self.best_of > 1 and (lines or endless):
            raise ConfigError("--best-of compares whole texts: it wants a --length, and no --lines")
        if self.beam is not None and (self.best_of > 1 or self.logprobs or self.novel_span is not None):
            raise ConfigError("--beam finds the best: leave out --best-of, --logprobs and --novel-span")
        if lines and self.num_samples > 1:
            raise ConfigError("--lines and --num-samples both say how many; give one")
        if self.best_of > 1 and (whole or self.novel_span is not None):
            raise ConfigError("--best-of does not go with --distinct, --novel or --novel-span; leave one out")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Config):
    """How a text is scored."""

    reset: str = setting(
        "auto",
        "Where the hidden state begins anew: at each line, or at every N characters, as windowed "
        "transformers are scored; auto: as the model was trained.",
    )
    streams: int | None = setting(
        None,
        "Sections of a long text to score in parallel; 1 is exact.",
        at_least=1,
        shown="by the text's length",
    )
    precision: EvaluationPrecision = setting("fp32", "Arithmetic of scoring; bf16 is faster on long texts.")
    device: Device = setting("auto", "Device to score long texts on.")
    dynamic_lr: float = setting(1e-4, "Learning rate of dynamic evaluation.", above=0)
    dynamic_decay: float = setting(
        0.001, "Decay of dynamic evaluation towards the trained weights.", at_least=0, below=1
    )
    dynamic_segment: int = setting(20, "Characters between updates of dynamic evaluation.", at_least=1)

    def __post_init__(self) -> None:
        """Checks the fields, and that ``reset`` is a word or a whole number."""
        super().__post_init__()
        if self.reset not in RESETS and not self.window:
            raise ConfigError(f"--reset {self.reset}: must be {', '.join(RESETS)} or a whole number from 1")

    @property
    def window(self) -> int | None:
        """After how many characters the state begins anew; None where it does not depend on their number."""
        return int(self.reset) if re.fullmatch("[0-9]{1,18}", self.reset) else None
