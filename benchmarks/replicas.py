"""Characters a second in training, the cores shared out in several ways, quiet and beside busy programs.

    python -m benchmarks.replicas TEXT [--size large] [--batch-size 64]

Every contestant trains the same network on the same lanes in processes of its own, in turns: one replica
whose products all threads share (as before there were replicas), two, four and eight replicas of a thread
each, one thread alone, and two processes of a thread each that meet as torchrun's do. One does what
``charrnn train --time`` does: it measures with how many replicas it is fastest, again when steps become
slower or faster. The turns are taken on the machine as it is, then beside one and two programs that only
count.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Iterator
from multiprocessing.pool import Pool

from benchmarks.report import machine, table
from charrnn.config import SIZES, CorpusConfig, TrainingConfig
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.system import Launch, available_cores, others_running, share_cores
from charrnn.text.corpus import read_corpus
from charrnn.training.group import Group
from charrnn.training.pace import Pace
from charrnn.training.speed import fastest_replicas
from charrnn.training.step import TrainingStep, build_step

BUSY = (0, 1, 2)  # programs beside
WARM = 3  # steps


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A way to share out the cores.

    Attributes:
        name: for the table.
        replicas, threads: of each process.
        workers: processes.
        paced: whether the number of replicas is measured, as in training.
    """

    name: str
    replicas: int
    threads: int
    workers: int = 1
    paced: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """What all contestants train."""

    text: str
    size: str
    batch: int
    precision: str


def contestants(cores: int) -> list[Contestant]:
    """Those that are compared on a machine with so many cores."""
    shared = [Contestant(f"{count} replicas", count, max(cores, count)) for count in (2, 4, 8)]
    return [
        Contestant(f"1 replica of {cores} threads", 1, cores),
        *shared,
        Contestant("as many replicas as are fastest", cores, cores, paced=True),
        Contestant("1 thread", 1, 1),
        Contestant("torchrun: 2 workers of 1 thread", 1, 1, workers=2),
    ]


class Runner:
    """A process of a contestant, which makes steps when it is told."""

    step: TrainingStep
    pace: Pace | None = None
    made = 0

    @classmethod
    def build(cls, task: Task, contestant: Contestant, rank: int, port: int) -> None:
        """Makes the step, in the process that will run it."""
        prepare_torch(contestant.threads)
        group = Group()
        if contestant.workers > 1:
            os.environ |= {
                "RANK": str(rank), "WORLD_SIZE": str(contestant.workers),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            group = Group(Launch(rank, contestant.workers, rank, contestant.workers, 0, "benchmark"))
        config = TrainingConfig(
            seed=1, batch_size=task.batch, threads=contestant.threads, replicas=contestant.replicas
        )
        where = choose_machine("cpu", task.precision)  # type: ignore[arg-type]
        model = dataclasses.replace(SIZES[task.size], dropout=0.1, output="all")
        corpus = read_corpus([task.text], CorpusConfig())
        if contestant.paced:
            timed = dataclasses.replace(config, replicas=None, time=60.0)
            config = dataclasses.replace(config, replicas=fastest_replicas(model, timed, corpus, where))
            cls.pace = Pace(config.replicas or 1, contestant.replicas, time.monotonic())
        cls.step = build_step(corpus, model, config, where, group)

    @classmethod
    def run(cls, steps: int) -> float:
        """The characters a second of so many steps."""
        began = time.perf_counter()
        for _ in range(steps):
            before = time.perf_counter()
            if cls.step.group.first:
                cls.step(cls.made, rate=0.1)
            else:
                cls.step.follow(cls.made)
            cls.made += 1
            if cls.pace is not None:
                cls.step.resize(cls.pace.stepped(time.perf_counter() - before, time.monotonic()))
        return cls.step.window * steps / (time.perf_counter() - began)


def characters_a_second(pools: list[Pool], steps: int) -> float:
    """The speed of a contestant in so many steps of all its processes."""
    waiting = [pool.apply_async(Runner.run, (steps,)) for pool in pools]
    return min(result.get() for result in waiting)


def count() -> None:
    """What a busy program does."""
    while True:
        pass


@contextlib.contextmanager
def busy(programs: int) -> Iterator[None]:
    """That many programs that want a core."""
    running = [multiprocessing.get_context("spawn").Process(target=count) for _ in range(programs)]
    for process in running:
        process.start()
    try:
        time.sleep(1.0 if programs else 0.0)
        yield
    finally:
        for process in running:
            process.kill()
            process.join()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measure(task: Task, rounds: int, seconds: float) -> dict[tuple[str, int], list[float]]:
    """Characters a second by contestant and number of busy programs, one for each round."""
    found: dict[tuple[str, int], list[float]] = {}
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pools: dict[Contestant, list[Pool]] = {}
        for each in contestants(available_cores()):
            pools[each] = [stack.enter_context(spawn.Pool(1)) for _ in range(each.workers)]
            port = free_port()
            built = [
                pool.apply_async(Runner.build, (task, each, rank, port))
                for rank, pool in enumerate(pools[each])
            ]
            for result in built:
                result.get()
            characters_a_second(pools[each], WARM)
        for programs in BUSY:
            with busy(programs):
                window = 64 * task.batch
                for _ in range(rounds):
                    for each, processes in pools.items():
                        known = characters_a_second(processes, 2)
                        steps = max(2, math.ceil(seconds * known / window))
                        found.setdefault((each.name, programs), []).append(
                            characters_a_second(processes, steps)
                        )
    return found


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--size", choices=tuple(SIZES), default="medium")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    task = Task(arguments.text, arguments.size, arguments.batch_size, arguments.precision)
    others = others_running()
    share_cores()
    found = measure(task, arguments.rounds, arguments.seconds)
    precision = choose_machine("cpu", task.precision).precision  # type: ignore[arg-type]
    print(f"{machine()}; {task.size}, {task.batch} lanes of 64, {precision}")
    if others:
        print(f"When this began, {others} other threads wanted a core: no column is quiet.")
    rows = []
    for each in contestants(available_cores()):
        medians = [statistics.median(found[each.name, programs]) for programs in BUSY]
        shown = [
            f"{speed:,.0f}" + (f" ({speed / medians[0]:.2f})" if number else "")
            for number, speed in enumerate(medians)
        ]
        rows.append([each.name, *shown])
    header = ["characters a second", "alone", *(f"beside {programs} busy (share)" for programs in BUSY[1:])]
    print("\n" + table(header, rows))


if __name__ == "__main__":
    main()
