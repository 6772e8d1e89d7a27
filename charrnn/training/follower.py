"""A process that torchrun started beside the first one, which decides, speaks and writes for all."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from typing import Any

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.model.file import Tensors
from charrnn.settings import from_mapping
from charrnn.system import Launch
from charrnn.text.corpus import Corpus
from charrnn.text.validated import Validated
from charrnn.training.group import GATHER, RETURN, STEP, STOP, VALIDATE, Group
from charrnn.training.step import build_step
from charrnn.training.validation import Validation

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the first process tells the others of the training.

    Attributes:
        model, training: the settings.
        scored: what is validated on, which all share.
        device, precision: those of every process.
    """

    model: ModelConfig
    training: TrainingConfig
    scored: Validated
    device: str
    precision: str


def lead(group: Group, corpus: Corpus, plan: Plan) -> None:
    """Tells the processes that follow what to train, and gives them the text."""
    if group.size > 1:
        group.send(plan)
        group.send_corpus(corpus)


def share_state(group: Group, number: int, tensors: Tensors) -> None:
    """Gives the processes that follow a state, and the number of the step that comes next."""
    if group.size > 1:
        group.send((number, tensors))


def follow(launch: Launch, settings: Mapping[str, Any]) -> None:
    """Works on a training until the first process says that it has ended.

    Args:
        launch: what torchrun says of this process.
        settings: of the command line; of them, those that are this process's own.

    Raises:
        CharrnnError: this process cannot train as the first one does, or another process has ended.
    """
    session: TrainingConfig = from_mapping(TrainingConfig, dict(settings))
    prepare_torch(session.threads)
    group = Group(launch)
    plan: Plan = group.send()
    for stopping in STOPPING:
        signal.signal(stopping, signal.SIG_IGN)  # from now on the first process decides when to stop
    machine = choose_machine(plan.device, plan.precision)  # type: ignore[arg-type]
    training = dataclasses.replace(plan.training, threads=session.threads, replicas=session.replicas)
    corpus = group.send_corpus()
    step = build_step(corpus, plan.model, training, machine, group)
    validation = Validation(corpus, plan.scored, machine, step.replicas, group)
    step.model.train()
    decided = RETURN
    while decided != STOP:
        if decided == RETURN:
            number, tensors = group.send()
            step.restore(tensors)
        elif decided == GATHER:
            step.gather()
        elif decided == VALIDATE:
            validation.score(step.model, lambda _: False)
        elif decided == STEP:
            number += 1
        decided = step.follow(number)
    group.leave()
