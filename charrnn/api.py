"""charrnn from Python: a model loaded once, and texts from it.

>>> import charrnn
>>> model = charrnn.load("runs/shakespeare")           # doctest: +SKIP
>>> model.sample("ROMEO:", length=80, temperature=0.8, seed=1)       # doctest: +SKIP
"""

from __future__ import annotations

import functools
import numbers
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numpy as np

from charrnn.errors import ArgumentError, ConfigError, ShortfallError
from charrnn.model.file import ModelFile, load_model
from charrnn.model.mixture import mix_models
from charrnn.runs import find_model
from charrnn.sampling.session import Prompt, SamplingSession, is_endless, lookup
from charrnn.sampling.writer import Sample, TextStream, samples
from charrnn.settings import rules
from charrnn.use_config import SamplingConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

Path = str | os.PathLike[str]
END = object()
Item = TypeVar("Item")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


def _without_remarks(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function, in which NumPy does not warn: extreme weights overflow, but what is drawn is defined."""

    @functools.wraps(function)
    def quiet(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return quiet


def load(path: Path, *others: Path, mix: Sequence[float] | None = None) -> Model:
    """A model ready to write and to score; of several, the mixture of their probabilities.

    Args:
        path: a model file, a run directory, or the name of a run under runs/.
        others: more of them, each with a vocabulary of its own.
        mix: a weight for each; without them they are fitted on the validation split of the first model, which
            is read again from where that found it.

    Raises:
        ArgumentError: a path is neither a str nor a path object, or the weights are not numbers.
        ConfigError: the models do not mix, or the weights are not one a model and greater than 0.
        ModelFileError: there is no such model, or it is damaged.
        CorpusError: weights are to be fitted, and the text for that cannot be read.
    """
    for name in (path, *others):
        _require(name, str | os.PathLike, "path", "a path")
    models = [load_model(find_model(os.fspath(name))) for name in (path, *others)]
    if mix is not None:
        _require(mix, Sequence, "mix", "a number for each model")
        for weight in mix:
            _require(weight, numbers.Real, "mix", "a number for each model")
    if not others:
        if mix is not None:
            raise ConfigError("mix: weights are for several models; give more than one")
        return Model(models[0])
    from charrnn.evaluation.mixing import fit_mix

    return Model(fit_mix(models)[0] if mix is None else mix_models(models, [float(w) for w in mix]))


class Model:
    """A loaded model. Calls are independent of each other: each text begins anew.

    ``sample`` returns text, ``generate`` yields it while it is written, and ``samples`` yields results with
    everything that is known of them. All take the settings of ``charrnn sample`` under the same names, and
    write for the same seed the same text. The examples have ``model``, a tiny one with random weights:

    >>> len(model.sample("Hello", length=20, seed=1))
    20
    >>> model.sample("Hello", seed=1) == model.sample("Hello", seed=1)
    True
    >>> "".join(model.generate("Hello", length=20, seed=1)) == model.sample("Hello", length=20, seed=1)
    True
    >>> "e" in model.sample("Hello", length=500, ban="e")
    False
    >>> [sample.seed for sample in model.samples("Hello", length=20, num_samples=3, seed=1)]
    [1, 2, 3]
    >>> len({sample.text for sample in model.samples(lines=20, distinct=True, seed=1)})
    20

    Attributes:
        file: weights, settings, vocabulary, and how the model was trained.
    """

    def __init__(self, file: ModelFile) -> None:
        self.file = file

    def generate(
        self,
        prompt: str = "",
        *,
        skip_unknown: bool = False,
        against: Path | Sequence[Path] = (),
        against_text: str | None = None,
        **settings: Any,
    ) -> Iterator[str]:
        """Yields what the model writes after the prompt, a character at a time.

        This is what ``charrnn sample --no-display-prompt`` prints: several texts with ``separator`` between
        them, ``lines`` each with its newline.

        Args:
            prompt: the text to continue; it is not part of what is yielded.
            skip_unknown: leave out characters of the prompt that are not in the vocabulary.
            against: for ``novel`` and ``novel_span``, one or more files to compare with; by default the
                training text, which is read again from where the model found it.
            against_text: the text to compare with, instead of files.
            settings: fields of ``charrnn.use_config.SamplingConfig``, with its defaults: ``length`` (-1 for
                no end), ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``seed``, ``stop``, ``until``,
                ``ban``, ``bias`` (a mapping from characters to numbers, or texts such as "e=-2"),
                ``no_repeat``, ``best_of``, ``num_samples``, ``lines``, ``distinct``, ``novel``,
                ``novel_span`` ...

        Raises:
            ArgumentError: an argument has the wrong type; it is a TypeError and a ConfigError.
            ConfigError: a setting is unknown or out of range.
            UnknownCharacterError: the prompt contains characters that are not in the vocabulary.
            CorpusError: the training text is needed and cannot be read, or has changed.
            ShortfallError: after the last character, if less could be written than was asked for. (The other
                errors are raised at once, before anything is iterated.)
        """
        return _each_without_remarks(
            _text(
                *self._prepare(
                    prompt, skip_unknown=skip_unknown, against=against, against_text=against_text, **settings
                )
            )
        )

    @_without_remarks
    def sample(self, prompt: str = "", **settings: Any) -> str:
        """Returns what ``generate`` yields, as one text; the arguments are the same.

        Raises:
            ConfigError: as for ``generate``, or the text would have no end.
            ShortfallError: less could be written than was asked for; its ``text`` is what was written.
        """
        session, start = self._prepare(prompt, **settings)
        _require_end(session)
        written: list[str] = []
        try:
            written.extend(_text(session, start))
        except ShortfallError as error:
            error.text = "".join(written)
            raise
        return "".join(written)

    def samples(
        self,
        prompt: str = "",
        *,
        skip_unknown: bool = False,
        against: Path | Sequence[Path] = (),
        against_text: str | None = None,
        **settings: Any,
    ) -> Iterator[Sample]:
        """Yields the ``num_samples`` texts, or with ``lines`` that many lines, each as a ``Sample``.

        A ``Sample`` has ``text``, ``finish_reason``, ``seed``, ``ids``, ``bytes``, and with ``logprobs=K``
        the natural-log probability of each character and of the K most probable in its place: what
        ``charrnn sample --json`` prints. The arguments and errors are those of ``generate``; settings with
        which a text never ends are a ConfigError.
        """
        session, start = self._prepare(
            prompt, skip_unknown=skip_unknown, against=against, against_text=against_text, **settings
        )
        _require_end(session)
        return _each_without_remarks(samples(session, start))

    @_without_remarks
    def answer(self, sources: Iterable[str], **settings: Any) -> list[str]:
        """The texts that the model writes for sources, one for each, as ``charrnn sample --each`` does.

        A model of pairs writes the targets, greedily unless there is a ``temperature``; any other model
        continues each source to the end of the line, or to ``length`` or ``stop``.

        >>> model.answer(["Hello", "Good day"], length=0)
        ['', '']

        Args:
            sources: without line ends.
            settings: the fields of ``charrnn.config.SamplingConfig``; with ``beam=N`` the most probable of N.

        Raises:
            ConfigError: a setting is unknown or out of range, or asks for several texts or whole lines.
            CorpusError: a source has a character that the model cannot read, or a tab; names its number.
        """
        from charrnn.sampling.each import EachLine, for_pairs

        config = _config(for_pairs(settings, pairs=bool(self.file.corpus.get("pairs"))))
        if config.lines is not None or config.num_samples > 1 or config.distinct or config.novel:
            raise ConfigError("answer: one text a source; leave out lines, num_samples, distinct and novel")
        return [found.text for found in EachLine(SamplingSession(self.file, config)).texts([list(sources)])]

    @_without_remarks
    def score(self, text: str) -> NDArray[np.float32]:
        """The natural-log probability of each character of the text, given those before it.

        Returns:
            (characters,) float32, each at most 0.

        Raises:
            ArgumentError: the text is not a str.
        """
        from charrnn.evaluation.evaluator import score_text

        _require(text, str, "text", "text (str)")
        lookup(self.file.tokenizer, text, "text")
        return score_text(self.file, text)

    @_without_remarks
    def activations(self, text: str) -> dict[str, NDArray[np.float32]]:
        """What every unit does along a text, which is read from its beginning.

        Returns:
            (hidden, characters) float32 for each layer and signal, named "0.hidden", "1.cell", "1.forget" and
            so on: the hidden states, an LSTM's cells, and the gates, after each character. Of a byte model
            there is a column for each byte.

        Raises:
            UnknownCharacterError: the text holds what the vocabulary does not.
        """
        from charrnn.inspection.cells import activations

        return activations(self.file, self.file.tokenizer.encode(text))

    @_without_remarks
    def _prepare(
        self,
        prompt: str,
        *,
        skip_unknown: bool = False,
        against: Path | Sequence[Path] = (),
        against_text: str | None = None,
        **settings: Any,
    ) -> tuple[SamplingSession, Prompt]:
        _require(prompt, str, "prompt", "text (str)")
        _require(skip_unknown, bool, "skip_unknown", "True or False")
        _require(against_text, str | None, "against_text", "text (str)")
        paths = [against] if isinstance(against, str | os.PathLike) else against
        _require(paths, Sequence, "against", "a path, or several")
        for path in paths:
            _require(path, str | os.PathLike, "against", "a path, or several")
        session = SamplingSession(
            self.file,
            _config(settings),
            against=[os.fspath(path) for path in paths],
            source=None if against_text is None else self.file.tokenizer.text_symbols(against_text),
        )
        return session, session.prompt(prompt, skip_unknown=skip_unknown)


def _text(session: SamplingSession, prompt: Prompt) -> Iterator[str]:
    if session.config.logprobs:
        raise ConfigError("logprobs: only samples() returns them; call that, or leave it out")
    return _characters(session, prompt)


def _characters(session: SamplingSession, prompt: Prompt) -> Iterator[str]:
    decode = session.tokenizer.decode_bytes
    for index in range(session.config.num_samples):
        if index:
            yield session.config.separator
        text = TextStream(session, prompt, index)
        decoder = session.tokenizer.decoder()  # bytes become a character when all of it are there
        for id in text:
            if piece := decoder.decode(decode([id])):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest
        text.require_complete()


def _each_without_remarks(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made ``_without_remarks``; what the caller does with them has its own warnings."""
    advance = _without_remarks(lambda: next(items, END))
    while (item := advance()) is not END:
        yield cast(Item, item)


def _config(settings: dict[str, Any]) -> SamplingConfig:
    known = SamplingConfig.__dataclass_fields__.keys()
    for name in settings:
        if name not in known:
            raise ConfigError(f"{name}: no such setting; there are {', '.join(sorted(known))}")
    settings = {name: _plain(name, value) for name, value in settings.items()}
    for name, rule in rules(SamplingConfig).items():
        if name in settings and not rule.fits(settings[name]):
            raise ArgumentError(_expected(name, rule.describe(settings[name]), settings[name]))
    return SamplingConfig(**settings)


def _plain(name: str, value: Any) -> Any:
    """A setting as the config has it: one text may stand for several, and ``bias`` be a mapping."""
    if name == "bias" and isinstance(value, Mapping):
        for number in value.values():
            if isinstance(number, bool) or not isinstance(number, numbers.Real):
                raise ArgumentError(_expected(name, "numbers by characters", value))
        return tuple(f"{text}={float(number)!r}" for text, number in value.items())
    if rules(SamplingConfig)[name].type is not tuple:
        return value
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else value


def _require(value: Any, type: Any, name: str, expected: str) -> None:
    if not isinstance(value, type):
        raise ArgumentError(_expected(name, expected, value))


def _expected(name: str, expected: str, value: Any) -> str:
    found = "None" if value is None else f"{reprlib.repr(value)} ({type(value).__name__})"
    return f"{name}: must be {expected}, not {found}"


def _require_end(session: SamplingSession) -> None:
    if is_endless(session.config):
        raise ConfigError("--length -1: a sample must end; use generate, or give a length")
