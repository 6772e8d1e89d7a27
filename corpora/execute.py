"""Writes pairs of a small program and its output, after Zaremba & Sutskever, "Learning to execute" (2014).

    python3 corpora/execute.py --nesting 2 --digits 3 --pairs 50000 > programs.tsv
    python3 corpora/execute.py --task addition --digits 3 --pairs 50000 > sums.tsv

A program is Python with a semicolon for each newline, so that a pair stays on one line; ``tr ';' '\\n'``
makes it run. It combines ``--nesting`` operations, each of them applied to the result of the one before: an
addition, a subtraction, a multiplication by a one-digit number, an assignment, a loop of up to nine
rounds, or a conditional expression. All other operands are numbers of up to ``--digits`` digits.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

from pairs import Arguments, Dice, Pair, write

NAMES = "abcdefghijklmnopqrstuvwyz"  # x counts the rounds of loops


@dataclasses.dataclass
class Program:
    """A program as far as it is written.

    Attributes:
        dice: where its choices come from.
        limit: all numbers are smaller than this.
        lines: the statements so far.
        expression: what would be printed.
        value: of the expression.
    """

    dice: Dice
    limit: int
    lines: list[str] = dataclasses.field(default_factory=list)
    expression: str = ""
    value: int = 0

    def __post_init__(self) -> None:
        """Starts from a number."""
        self.value = self.number()
        self.expression = str(self.value)

    def number(self) -> int:
        """A number from 1 to the limit."""
        return 1 + self.dice.below(self.limit - 1)

    def operands(self, count: int) -> tuple[list[str], list[int]]:
        """As many operands with their values: the expression at a random place, numbers at the others."""
        values = [self.number() for _ in range(count)]
        written = [str(value) for value in values]
        place = self.dice.below(count)
        values[place], written[place] = self.value, self.expression
        return written, values

    def add(self) -> None:
        """Makes it (a+b)."""
        (a, b), (left, right) = self.operands(2)
        self.expression, self.value = f"({a}+{b})", left + right

    def subtract(self) -> None:
        """Makes it (a-b)."""
        (a, b), (left, right) = self.operands(2)
        self.expression, self.value = f"({a}-{b})", left - right

    def multiply(self) -> None:
        """Makes it (a*7) or (7*a)."""
        digit = 1 + self.dice.below(9)
        written = self.dice.pick([f"({self.expression}*{digit})", f"({digit}*{self.expression})"])
        self.expression, self.value = written, self.value * digit

    def assign(self) -> None:
        """Adds a=...; the expression is then a."""
        used = {line[0] for line in self.lines if line[1] == "="}
        name = self.dice.pick([name for name in NAMES if name not in used])
        self.lines.append(f"{name}={self.expression}")
        self.expression = name

    def loop(self) -> None:
        """Adds a=... and for x in range(5):a+=12; the expression is then a."""
        self.assign()
        rounds, step = 1 + self.dice.below(9), self.number()
        sign = self.dice.pick("+-")
        self.lines.append(f"for x in range({rounds}):{self.expression}{sign}={step}")
        self.value += rounds * (step if sign == "+" else -step)

    def choose(self) -> None:
        """Makes it (a if b<c else d)."""
        (a, b, c, d), (then, left, right, otherwise) = self.operands(4)
        sign = self.dice.pick("<>")
        holds = left < right if sign == "<" else left > right
        self.expression = f"({a} if {b}{sign}{c} else {d})"
        self.value = then if holds else otherwise


OPERATIONS: tuple[Callable[[Program], None], ...] = (
    Program.add,
    Program.subtract,
    Program.multiply,
    Program.assign,
    Program.loop,
    Program.choose,
)


def draw_program(dice: Dice, digits: int, nesting: int) -> Pair:
    """A program on one line, and what it prints."""
    program = Program(dice, 10**digits)
    for _ in range(nesting):
        dice.pick(OPERATIONS)(program)
    return ";".join([*program.lines, f"print({program.expression})"]), str(program.value)


def draw_sum(dice: Dice, digits: int) -> Pair:
    """The sum of two numbers, and its value: ("123+45", "168")."""
    left, right = dice.below(10**digits), dice.below(10**digits)
    return f"{left}+{right}", str(left + right)


def main() -> int:
    """Writes the pairs that the command line asks for."""
    arguments = Arguments("Write small programs and their output, SOURCE tab TARGET a line.")
    arguments.add_argument(
        "--task", choices=["programs", "addition"], default="programs", help="what to write"
    )
    arguments.whole_number("--nesting", 1, (0, 9), "operations that a program combines")
    arguments.whole_number("--digits", 3, (1, 9), "digits of the largest number in a source")
    options = arguments.parse_args()
    dice = Dice(options.seed)

    def draw() -> Pair:
        if options.task == "addition":
            return draw_sum(dice, options.digits)
        return draw_program(dice, options.digits, options.nesting)

    return write(draw, options.pairs, arguments.prog)


if __name__ == "__main__":
    sys.exit(main())
