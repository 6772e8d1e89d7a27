"""What a generated text has in common with the text that was learnt: whole lines, and runs of characters.

Texts are str of symbols: of a byte model, one character of the first 256 a byte. Runs are compared by a
rolling hash of 64 bits, polynomial in an odd base with random-looking values for the symbols, and what the
hash finds is compared again character by character: nothing here is only probable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, from_mapping
from charrnn.errors import CharrnnError, CorpusError
from charrnn.model.file import ModelFile
from charrnn.text.tokenizer import Ids, Tokenizer, code_points

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus

Hashes = NDArray[np.uint64]

BASE = 0x9E3779B97F4A7C15  # odd, hence with an inverse modulo 2^64
BASE_INVERSE = pow(BASE, -1, 1 << 64)


def symbols_of(tokenizer: Tokenizer, ids: Ids | list[int]) -> str:
    """Ids as a str of one character a symbol.

    >>> from charrnn.text.tokenizer import ByteTokenizer
    >>> symbols_of(ByteTokenizer(), [195, 169])
    'Ã©'
    """
    return tokenizer.decode(ids) if tokenizer.kind == "char" else bytes(list(ids)).decode("latin-1")


def training_text(model: ModelFile, against: Sequence[str] = ()) -> str:
    """The text that the model learnt, whole, as symbols; or, with ``against``, the text of those files.

    Raises:
        CharrnnError: the recorded text is not where it was, or is another one by its sha256.
        CorpusError: a file of ``against`` cannot be read.
    """
    from charrnn.text.corpus import read_corpus  # here, because sampling without it starts faster

    config = from_mapping(CorpusConfig, model.corpus | {"tokenizer": model.tokenizer.kind, "lines": False})
    if against:
        return _symbols(read_corpus(against, config))
    paths = model.corpus.get("paths", [])
    if not paths or "-" in paths:
        where = "from stdin" if paths else "from nowhere that the model file names"
        raise CharrnnError(f"the training text came {where}; name it with --against FILE")
    try:
        corpus = read_corpus(paths, config)
    except CorpusError as error:
        raise CharrnnError(f"the training text: {error}; name it with --against FILE") from None
    if corpus.sha256 != model.corpus["sha256"]:
        raise CharrnnError(
            f"{', '.join(paths)}: not the text that was learnt (sha256 {model.corpus['sha256'][:12]}, "
            f"found {corpus.sha256[:12]}); name that one with --against FILE"
        )
    return _symbols(corpus)


def _symbols(corpus: Corpus) -> str:
    # A table of code points: joining a million characters one by one takes ten times longer.
    known = list(range(corpus.tokenizer.size))
    table = code_points(symbols_of(corpus.tokenizer, known))
    return table[corpus.ids].tobytes().decode("utf-32-le", "surrogatepass")


def lines_of(text: str) -> frozenset[str]:
    """The lines of a text, ended by newlines and nothing else, without these.

    >>> sorted(lines_of("one\\ntwo\\none"))
    ['one', 'two']
    """
    return frozenset(text.split("\n"))


def _mix(symbols: NDArray[np.uint32]) -> Hashes:
    """A 64-bit number for each symbol in which every bit looks random (the finalizer of splitmix64)."""
    mixed = symbols.astype(np.uint64) + np.uint64(BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class RunHashes:
    """Hashes of all runs of any one length of a text, each length in a few passes over arrays.

    With symbols s and base B, a run's hash is the sum of s_(i+j) B^j over its places j, modulo 2^64: a
    difference of two prefix sums, brought to the run's own beginning by a power of 1/B.
    """

    def __init__(self, text: str) -> None:
        self.length = len(text)
        powers = _powers(BASE, self.length)
        self._inverses = _powers(BASE_INVERSE, self.length)
        self._sums: Hashes = np.zeros(self.length + 1, np.uint64)
        np.add.accumulate(_mix(code_points(text)) * powers, out=self._sums[1:])

    def of(self, run: int) -> Hashes:
        """The hash of every run of this many characters: (length - run + 1,), or none."""
        if run > self.length:
            return np.zeros(0, np.uint64)
        count = self.length - run + 1
        inverses = self._inverses[:count] if run else np.ones(count, np.uint64)
        return (self._sums[run:] - self._sums[:count]) * inverses


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


def longest_copy(text: str, source: str) -> str:
    """The longest run of characters of ``text`` that stands in ``source`` too, the first of equals.

    >>> longest_copy("the cat sat", "a cat saw the dog")
    ' cat sa'
    """
    ours, theirs = RunHashes(text), RunHashes(source)
    best, low, high = "", 0, min(len(text), len(source))
    while low < high:  # runs of ``low`` are shared, runs longer than ``high`` are not
        run = (low + high + 1) // 2
        shared = _found_in(ours.of(run), theirs.of(run))
        found = next((text[i : i + run] for i in shared.tolist() if text[i : i + run] in source), None)
        if found is None:
            high = run - 1
        else:
            best, low = found, run
    return best


def _found_in(few: Hashes, many: Hashes) -> NDArray[np.intp]:
    """The places of ``few`` whose value is among ``many``, which is not sorted: it may be a million."""
    values = np.unique(few)
    places = np.minimum(values.searchsorted(many), len(values) - 1)
    shared = values[np.unique(places[values[places] == many])]
    return np.flatnonzero(np.isin(few, shared))


class SpanIndex:
    """Where each run of ``span - 1`` characters stands in a text, and so what would complete a run of span.

    >>> sorted(SpanIndex("abcabd", 3).completions("xab"))
    ['c', 'd']
    """

    def __init__(self, source: str, span: int) -> None:
        self._source, self.context = source, span - 1
        hashes = RunHashes(source).of(span - 1)[: max(0, len(source) - span + 1)]
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def completions(self, written: str) -> set[str]:
        """The characters that, written next, would end a run that stands in the text."""
        if len(written) < self.context:
            return set()
        context = written[-self.context :]
        key = RunHashes(context).of(self.context)[0]
        begin = int(self._sorted.searchsorted(key, "left"))
        end = int(self._sorted.searchsorted(key, "right"))
        places = self._order[begin:end].tolist()
        source, size = self._source, self.context
        return {source[i + size] for i in places if source.startswith(context, i)}
