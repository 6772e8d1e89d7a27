"""Replicas: several cores that compute parts of one step at once and meet once a step.

A replica is a thread that reads its own lanes, or items, of each batch with the weights that all share. Each
has some of the processor's threads, by default one. Threads that split every small product between them wait
for each other thousands of times a step, which scales badly, and on a busy machine collapses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from charrnn.config import TrainingConfig
from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, State
from charrnn.system import available_cores

T = TypeVar("T")

# Lanes of a replica, at least: a product with fewer rows is hardly cheaper. Where nothing is measured they
# are more, since each replica reads all weights: on eight cores with AMX eight replicas of four lanes take
# twice as long as a single core.
LEAST_LANES, LANES_UNMEASURED = 4, 16


def split(begin: int, end: int, count: int) -> list[tuple[int, int]]:
    """The range cut into ``count`` consecutive ones, nearly equal, and empty where there is not enough.

    >>> split(0, 32, 3), split(0, 1, 2)
    ([(0, 10), (10, 21), (21, 32)], [(0, 0), (0, 1)])
    """
    cuts = [begin + (end - begin) * number // count for number in range(count + 1)]
    return list(itertools.pairwise(cuts))


def default_replicas(
    config: TrainingConfig, lanes: int, machine: Machine, least: int = LANES_UNMEASURED
) -> int:
    """How many replicas a training gets, whose number is neither asked for nor measured.

    One for each of its threads, as long as each has some lanes; on an accelerator there is one.

    Args:
        config: the settings, which may limit the threads.
        lanes: or items of a batch.
        machine: where it trains.
        least: lanes that each must have; with LEAST_LANES the result is how many are worth measuring.
    """
    if machine.device.type != "cpu":
        return 1
    return max(1, min(config.threads or available_cores(), lanes // least))


class Replicas:
    """Threads that compute at once; a single one is the caller's own.

    Args:
        count: how many there are.
        threads: of the processor that they share, each getting at least one.

    Attributes:
        count: as above.
    """

    def __init__(self, count: int = 1, threads: int | None = None) -> None:
        self.count = count
        self._threads = threads or available_cores()
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by how many replicas compute in them

    def resize(self, count: int) -> None:
        """Changes how many there are, when none of them computes."""
        self.count = count

    def begin(self) -> None:
        """Gives the caller's torch as many threads as a replica has, for what lies between calls of ``map``.

        More would wait for each other wherever another program has a core. Fewer may be left from replicas
        that were more.
        """
        torch.set_num_threads(self._each)

    @property
    def _each(self) -> int:
        """The threads of the processor that a replica has."""
        return max(1, self._threads // self.count)

    def _pool(self) -> ThreadPoolExecutor:
        """The threads of as many replicas as there are now."""
        if self.count not in self._pools:
            # torch keeps a number of threads for each thread that calls it.
            self._pools[self.count] = ThreadPoolExecutor(
                self.count, "replica", initializer=torch.set_num_threads, initargs=(self._each,)
            )
        return self._pools[self.count]

    def map(self, function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
        """What the function returns for each of the arguments, in their order; computed at once.

        Raises:
            Exception: the first that was raised, when all have ended.
        """
        if self.count == 1:
            return list(map(function, *arguments))
        pool = self._pool()
        running = [pool.submit(function, *each) for each in zip(*arguments, strict=False)]
        for future in running:
            future.exception()  # waits: what they work on must not change under them
        return [future.result() for future in running]


class SharedForward:
    """A network whose streams or items are shared out among replicas, for scoring without gradients.

    Args:
        model: the network, in evaluation mode.
        replicas: that compute at once.
    """

    def __init__(self, model: CharRNN, replicas: Replicas) -> None:
        self._model, self._replicas = model, replicas

    def __call__(self, ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Logits (time, batch, vocabulary) of ids (time, batch), and the state after them."""
        shares = [share for share in split(0, ids.shape[1], self._replicas.count) if share[0] < share[1]]

        @torch.inference_mode()  # of which each thread has its own
        def forward(begin: int, end: int) -> tuple[Tensor, State]:
            mine = state and state_of(state, begin, end)
            found: tuple[Tensor, State] = self._model(ids[:, begin:end], mine)
            return found

        parts = self._replicas.map(forward, *zip(*shares, strict=True))
        if len(parts) == 1:
            return parts[0]
        logits, states = zip(*parts, strict=True)
        return torch.cat(logits, 1), join_states(states)


def join_states(states: Sequence[State]) -> State:
    """One state of all streams, from the states of some each."""
    return [
        tuple(torch.cat(parts, 1) for parts in zip(*layers, strict=True))  # (1, batch, hidden)
        for layers in zip(*states, strict=True)
    ]


def state_of(state: State, begin: int, end: int) -> State:
    """The state of the streams from ``begin`` to ``end``, of one of all streams."""
    return [tuple(part[:, begin:end].contiguous() for part in layer) for layer in state]
