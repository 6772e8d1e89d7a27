"""What the programs that write pairs share: arguments, reproducible choices, a line for each pair."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TypeVar

Item = TypeVar("Item")
Pair = tuple[str, str]  # source, target; neither holds a tab or a newline

MOST_PAIRS = 1_000_000
MISSES = 10_000  # draws in a row without a new source, after which there is none to be found


class Dice:
    """Random choices that are the same for a seed in every version of Python.

    Python promises this for ``random.Random(seed).random()`` only, so everything is derived from it.
    """

    def __init__(self, seed: int) -> None:
        self._uniform = random.Random(seed).random

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1, uniformly; limits of up to 2^53."""
        return int(self._uniform() * limit)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, uniformly."""
        return items[self.below(len(items))]


class Arguments(argparse.ArgumentParser):
    """An argument parser with ``--pairs`` and ``--seed`` that reports an error on one line."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        self.whole_number("--pairs", 20_000, (1, MOST_PAIRS), "how many pairs to write")
        self.whole_number("--seed", 0, (0, 2**63 - 1), "another seed gives other pairs")

    def whole_number(self, flag: str, default: int, bounds: tuple[int, int], help: str) -> None:
        """Adds an option whose value is a whole number between the bounds, both of them allowed."""
        least, most = bounds

        def convert(text: str) -> int:
            value = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
            if not least <= value <= most:
                raise argparse.ArgumentTypeError(f"{text!a:.40}: must be a whole number, {least} to {most}")
            return value

        self.add_argument(flag, type=convert, default=default, metavar="N", help=help)

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line and status 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


def distinct(draw: Callable[[], Pair], count: int) -> Iterator[Pair]:
    """``count`` pairs with different sources; fewer where ``draw`` finds no new source any more."""
    seen: set[str] = set()
    misses = 0
    while len(seen) < count and misses < MISSES:
        source, target = draw()
        misses += 1
        if source not in seen:
            seen.add(source)
            misses = 0
            yield source, target


def write(draw: Callable[[], Pair], count: int, program: str) -> int:
    """Writes ``count`` pairs with different sources to stdout; returns the exit status of the program."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that goes away ends the program, quietly
    written = 0
    try:
        for source, target in distinct(draw, count):
            sys.stdout.write(f"{source}\t{target}\n")
            written += 1
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"{program}: stdout: {error.strerror}\n")
        sys.stdout = None  # or the interpreter would flush it again
        return 1
    if written < count:
        sys.stderr.write(f"{program}: --pairs {count}: only {written} different sources were found\n")
        return 1
    return 0
