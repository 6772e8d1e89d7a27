"""How many cases a fuzzer tries, and from which seed.

``CHARRNN_FUZZ_CASES=N`` makes every fuzzer try N cases instead of the few of the gate, and every test of
edges all of them; ``CHARRNN_FUZZ_SEED`` gives other cases, and ``CHARRNN_FUZZ_ONLY=K`` runs case K alone.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from charrnn.api import Model
from charrnn.errors import ModelFileError
from charrnn.model.file import load_model
from tests.conftest import environment
from tests.fuzz.zygote import Zygote

Item = TypeVar("Item")

SEED = os.environ.get("CHARRNN_FUZZ_SEED", "0")
CASES = os.environ.get("CHARRNN_FUZZ_CASES")
ONLY = os.environ.get("CHARRNN_FUZZ_ONLY")

SECONDS = 1.0  # of processor time, that a file may take


@dataclasses.dataclass
class Fuzz:
    """The cases of one fuzzer, and what went wrong in them.

    Attributes:
        name: of the test, part of what each case is drawn from.
        tried: how many cases were drawn.
        failures: one line for each case that broke a property.
    """

    name: str
    tried: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)

    def cases(self, few: int) -> Iterator[random.Random]:
        """A generator for each case: ``few`` in the gate, as many as asked for otherwise."""
        for number in range(int(CASES or few)) if ONLY is None else (int(ONLY),):
            self.tried += 1
            yield random.Random(f"{SEED} {self.name} {number}")

    def some(self, items: Sequence[Item], few: int) -> list[Item]:
        """All of the items, or in the gate a few of them, in their order."""
        chosen = list(range(len(items)))
        if CASES is None and few < len(items):
            chosen = sorted(random.Random(f"{SEED} {self.name}").sample(chosen, few))
        self.tried += len(chosen)
        return [items[place] for place in chosen]

    def fail(self, case: str, what: str) -> None:
        """Takes note of a failure."""
        self.failures.append(f"{case:.300}: {what:.600}")

    def check(self) -> None:
        """Fails with the first of the failures, if there are any."""
        if self.failures:
            shown = "\n".join(self.failures[:20])
            pytest.fail(f"{len(self.failures)} of {self.tried} cases (seed {SEED}):\n{shown}", pytrace=False)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """The cases of this test, which ends with ``fuzz.check()``."""
    found = Fuzz(request.node.name)
    RUN.append(found)
    return found


RUN: list[Fuzz] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many cases there were, and in a long run all that broke."""
    failures = sum(len(fuzz.failures) for fuzz in RUN)
    terminalreporter.write_line(f"fuzz: {sum(fuzz.tried for fuzz in RUN)} cases, {failures} failures")
    for fuzz in RUN if CASES else ():
        for failure in fuzz.failures[:50]:
            terminalreporter.write_line(f"{fuzz.name}: {failure.encode('unicode_escape').decode()}")


@pytest.fixture
def load(tmp_path: Path) -> Callable[[bytes], str | None]:
    """A function that says what is wrong with how a file's bytes are taken, or None."""

    def problem(data: bytes) -> str | None:
        path = tmp_path / "m.safetensors"
        path.write_bytes(data)
        began = time.process_time()
        try:
            text = Model(load_model(path)).sample(length=12, seed=1)
        except ModelFileError as error:
            return None if str(error).startswith(f"{path}: ") else f"does not name the file: {error!s:.200}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if time.process_time() - began > SECONDS:
            return f"took {time.process_time() - began:.1f} s"
        return None if len(text) == 12 else f"wrote {text!r}"

    return problem


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Runs command lines in forked copies of a process that has imported everything."""
    names = {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    started = Zygote(tmp_path_factory.mktemp("zygote"), environment(names))
    yield started
    started.close()
