"""The processes that ``torchrun`` starts, on one machine or several, as one training.

The first process decides, speaks and writes files. All read their own lanes of each batch; gradients are
summed over all once a step, and the first one's decision travels in the same message. On processors messages
go through gloo; on CUDA devices sums go through NCCL, and what is small still through gloo, so that nobody
waits for a device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from charrnn.errors import CharrnnError, ConfigError, counted
from charrnn.files import SpilledArray
from charrnn.system import Launch
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer import Ids

PATIENCE = datetime.timedelta(hours=6)  # for a process that is alive and busy, as the first one when it reads
PIECE = 1 << 26  # ids of a text that are sent at a time

# What all processes do next: see ``charrnn.training.follower``.
STEP, GATHER, RETURN, VALIDATE, STOP = range(1, 6)


class WorkerLost(CharrnnError):
    """Another process of the training has ended, or cannot be reached."""


class Group:
    """The processes of a training; one alone, unless torchrun launched several.

    All of them must call the same methods in the same order.

    Args:
        launch: what torchrun says of this process.

    Attributes:
        rank: this process's number.
        size: how many there are.

    Raises:
        WorkerLost: from every method, where another process has ended.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        self.rank, self.size = (launch.rank, launch.size) if launch else (0, 1)
        self._workers = launch.local_size if launch else 1
        self._local = self._workers == self.size
        if launch is None or self.size == 1:
            return
        backend = "gloo"
        if torch.cuda.is_available():
            if launch.local_rank < torch.cuda.device_count():
                torch.cuda.set_device(launch.local_rank)
            backend = "cpu:gloo,cuda:nccl"
        with self._meeting(), _ended_by_signals():
            place = rendezvous("env://", self.rank, self.size, timeout=PATIENCE)
            # The store may be the one from before a restart, with the addresses of processes that are gone.
            self._store = PrefixStore(f"charrnn {launch.restarts}", next(iter(place))[0])
            dist.init_process_group(
                backend, store=self._store, rank=self.rank, world_size=self.size, timeout=PATIENCE
            )

    @property
    def first(self) -> bool:
        """Whether this is the process that decides, speaks and writes."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which of any number of things this process does, so that all do nearly as many: every size-th."""
        return slice(self.rank, None, self.size)

    def require_device(self, device: torch.device) -> None:
        """Checks that each of this machine's processes has a GPU to itself, if it is to train on one.

        Raises:
            ConfigError: there are fewer GPUs.
        """
        if device.type != "cuda" or self.size == 1:
            return
        found = torch.cuda.device_count()
        if found < self._workers:
            raise ConfigError(
                f"{self._workers} workers on {counted(found, 'GPU')}: each needs one of its own; start "
                f"{found} (torchrun --nproc-per-node {found}), or train with --device cpu"
            )

    def sum(self, tensor: Tensor) -> None:
        """Replaces a tensor by its sum over all processes, the same to the last bit in each."""
        if self.size > 1:
            with self._meeting():
                dist.all_reduce(tensor)

    def first_of(self, tensor: Tensor) -> None:
        """Replaces a tensor, which is not on an accelerator, by the first process's."""
        if self.size > 1:
            with self._meeting():
                dist.broadcast(tensor, 0)

    def send(self, data: Any = None) -> Any:
        """What the first process gives, as all of them get it."""
        if self.size == 1:
            return data
        box = [data]
        with self._meeting():
            dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def send_corpus(self, corpus: Corpus | None = None) -> Corpus:
        """The first process's corpus without its held-out part: all that a step needs of it.

        Where all are on one machine, they open the run's cache of ids; else the ids are sent.
        """
        if self.size == 1:
            assert corpus is not None
            return corpus
        frame = corpus and dataclasses.replace(
            corpus, ids=corpus.ids[:0], val=None, cache=self._shared_cache(corpus)
        )
        frame, count, offset = self.send(corpus and (frame, corpus.train_size, _offset(corpus.ids)))
        assert isinstance(frame, Corpus)
        dtype = frame.tokenizer.id_dtype
        if frame.cache is not None:
            ids: Ids = np.memmap(frame.cache, dtype, "r", offset, (count,))
            return dataclasses.replace(frame, ids=ids)
        kept = SpilledArray(dtype)
        for begin in range(0, count, PIECE):
            piece = corpus and np.ascontiguousarray(corpus.train[begin : begin + PIECE])
            piece = self.send(piece)
            if corpus is None:
                kept.add(piece)
        return corpus or dataclasses.replace(frame, ids=kept.finish())

    def _shared_cache(self, corpus: Corpus) -> Any:
        """The file of the corpus's ids that all processes can open; None if there is none."""
        plain = not corpus.config.lines and not corpus.config.pairs
        return corpus.cache if self._local and plain and isinstance(corpus.ids, np.memmap) else None

    def abandon(self) -> None:
        """Tells the others, who will find this process gone, that it says itself why."""
        if self.size > 1:
            with contextlib.suppress(RuntimeError):
                self._store.add("said", 1)

    def leave(self) -> None:
        """Ends the meetings, of which there will be no more."""
        if self.size > 1:
            dist.destroy_process_group()

    @contextlib.contextmanager
    def _meeting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            lost = WorkerLost(
                "a worker of this training has ended; go on from the last state with --resume, or let "
                "torchrun do so with --max-restarts"
            )
            with contextlib.suppress(RuntimeError, AttributeError):
                lost.told = self._store.add("said", 1) > 1  # by the process that saw it first
            raise lost from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the process: while torch waits, no handler in Python would be called."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Meeting:
    """One message that sums gradients, the loss and the first process's decision over all processes.

    Attributes:
        flat: all gradients (count,), a view of the message.
        gradients: of each parameter, views of that; first this process's, then the sum.
        loss: a scalar, likewise.
    """

    def __init__(self, group: Group, parameters: Sequence[Tensor], device: torch.device) -> None:
        self._group, self._device = group, device
        sizes = [parameter.numel() for parameter in parameters]
        self._message = torch.zeros(sum(sizes) + 3, device=device)
        *parts, loss, self._decision = torch.split(self._message, [*sizes, 1, 2])
        self.flat, self.loss = self._message[:-3], loss[0]
        self.gradients = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]

    def clear(self) -> None:
        """Zeroes gradients and loss, where there is nothing to add."""
        self._message.zero_()

    def meet(self, decided: int = 0, rate: float = 0.0) -> tuple[int, float]:
        """Sums gradients and loss over all processes; returns what the first one decided, and the rate."""
        if self._group.size == 1:
            return decided, rate
        if self._device.type == "cpu":
            self._decision[0], self._decision[1] = decided, rate  # zeros in all processes but the first
            self._group.sum(self._message)
            found = self._decision.tolist()
        else:  # reading what was summed would wait for the device
            decision = torch.tensor([decided, rate])
            self._group.first_of(decision)
            found = decision.tolist()
            if int(found[0]) == STEP:
                self._group.sum(self._message)
        return int(found[0]), found[1]

    def announce(self, decided: int) -> None:
        """Tells the processes that follow that something other than a step comes next."""
        if self._group.size > 1:
            self.clear()
            self.meet(decided)


def _offset(ids: Ids) -> int:
    """Where memory-mapped ids begin in their file, in bytes."""
    return int(getattr(ids, "offset", 0))
