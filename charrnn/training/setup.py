"""From what is asked for to a trainer that is ready to run: a new training, or one that goes on."""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import CADENCE, CorpusConfig, ModelConfig, TrainingConfig, draw_seed
from charrnn.errors import ConfigError, RunError
from charrnn.files import STATE_FILE
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.model.file import ModelFile, load_model
from charrnn.runs import (
    OURS,
    clear_parts,
    is_occupied,
    is_running,
    prepare_run,
    refuse_inputs,
    refuse_occupied,
)
from charrnn.settings import flag_of, from_mapping
from charrnn.system import available_cores, launched
from charrnn.text.corpus import read_corpus
from charrnn.text.tokenizer import tokenizer_from
from charrnn.training.beside import counting_seconds, ngram_beside
from charrnn.training.checks import (
    read_again,
    require_enough,
    require_one_validation,
    require_paths,
    run_directory,
)
from charrnn.training.choices import LEAST_VALIDATED, choose_model
from charrnn.training.group import Group
from charrnn.training.lock import RunLock
from charrnn.training.pace import Pace
from charrnn.training.replicas import LEAST_LANES, default_replicas
from charrnn.training.schedule import LEAST_SHARE
from charrnn.training.state import TrainingState, load_training
from charrnn.training.stopwatch import Before, Stopwatch
from charrnn.training.trainer import Trainer
from charrnn.training.transfer import Transfer, gentle, transfer_weights

CONFIGS: tuple[type[Any], ...] = (CorpusConfig, ModelConfig, TrainingConfig)
LENGTHS = ("time", "epochs", "steps")  # settings, of which a training has one


@dataclasses.dataclass(frozen=True)
class Request:
    """What a training is asked to be.

    Attributes:
        paths: the corpus; may be empty on resuming, where the run knows its own.
        directory: where to write; runs/NAME after the corpus if None.
        settings: the fields of CONFIGS that are asked for, by name. One that is None or missing is chosen, or
            has its default; on resuming it is the run's, and those that are given must agree with the run.
        resume: whether to go on with the run in the directory.
        force: whether a run that is there may be replaced.
        init_from: a model file to begin with the weights of.
        began: when the command was started, on the clock of ``time.monotonic``; when the request was made if
            None. From then on --time runs.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """

    paths: Sequence[str]
    directory: Path | None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resume: bool = False
    force: bool = False
    init_from: Path | None = None
    began: float | None = None

    def __post_init__(self) -> None:
        """Leaves out what is None, and checks the rest."""
        object.__setattr__(self, "began", time.monotonic() if self.began is None else self.began)
        asked = {name: value for name, value in self.settings.items() if value is not None}
        checked: dict[str, Any] = {}
        for config in CONFIGS:
            checked |= vars(from_mapping(config, asked))
        for name in asked.keys() - checked.keys():
            raise ConfigError(f"{name}: no such setting; there are {', '.join(sorted(checked))}")
        object.__setattr__(self, "settings", {name: checked[name] for name in asked})


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A trainer, and what there is to say of how it came to be.

    Attributes:
        trainer: ready to run.
        before: how long it took.
        reason: why the model is as large as it is; None on resuming.
        transfer: what became of the vocabulary of the model to start from, if there is one.
        resumed_at: the step at which a run goes on; 0 for a new one.
        grows: whether such a training would get a larger model with more time; false on resuming.
    """

    trainer: Trainer
    before: Before
    reason: str | None = None
    transfer: Transfer | None = None
    resumed_at: int = 0
    grows: bool = False


def open_training(request: Request) -> Prepared:
    """A trainer for the request, nothing trained yet, or restored to where its run stopped.

    It has the lock of the run's directory, unless the run is finished. A new run's directory stays only when
    its corpus could be read.

    Raises:
        CharrnnError: whatever is wrong with the corpus, the settings, the directory or the state; another
            process trains in the directory.
    """
    directory = run_directory(request.paths, request.directory)
    request = _after_restart(request, directory)
    assert request.began is not None
    watch = Stopwatch(request.began)
    lock = RunLock(directory)
    if request.resume:
        _require_state(request, directory)
    else:
        require_paths(request.paths)
        if not request.force and not is_running(directory):
            refuse_occupied(directory)
    lock.acquire()
    group: Group | None = None
    try:
        group = Group(launched())  # the others wait in it from now on
        if request.resume:
            trainer = _resume(request, directory, lock, watch, group)
            if trainer.finished:
                trainer.end()
                lock.release()
            return Prepared(trainer, watch.before(), resumed_at=trainer.progress.step)
        return _begin(request, directory, lock, watch, group)
    except BaseException:
        if group is not None:
            group.abandon()
        lock.release()
        raise


def _after_restart(request: Request, directory: Path) -> Request:
    """The request as torchrun repeats it, when a worker has died: to go on from what this torchrun began."""
    launch = launched()
    if launch is None or launch.restarts == 0 or not (directory / STATE_FILE).exists():
        return request
    if load_training(directory).progress.session != launch.session:
        return request
    own = {name: value for name, value in request.settings.items() if name in CADENCE}
    return dataclasses.replace(request, settings=own, resume=True, force=False, init_from=None)


def _begin(request: Request, directory: Path, lock: RunLock, watch: Stopwatch, group: Group) -> Prepared:
    """A new training, in a directory whose lock is held."""
    if not request.force:
        refuse_occupied(directory)
    asked = dict(request.settings)
    training: TrainingConfig = from_mapping(TrainingConfig, asked).with_length()
    prepare_torch(training.threads)
    machine = choose_machine(training.device, training.precision)
    group.require_device(machine.device)
    machine = dataclasses.replace(machine, workers=group.size)
    if training.seed is None:
        training = dataclasses.replace(training, seed=draw_seed(os.urandom))
    require_one_validation(asked)
    corpus = watch.read(read_corpus, request.paths, from_mapping(CorpusConfig, asked), directory=directory)
    require_enough(corpus, corpus.paths)
    source = None if request.init_from is None else load_model(request.init_from)
    if source is not None:
        asked |= _shape_of(source, asked)
        training = gentle(training, asked)
    least = dataclasses.replace(training, validate=LEAST_VALIDATED)  # how much it will be is not known yet
    left = _with_time_left(training, watch, counting_seconds(least, corpus))
    chosen = choose_model(asked, left, corpus, machine)
    training = dataclasses.replace(chosen.training, time=training.time)
    trainer = Trainer(corpus, chosen.model, training, machine, directory, lock, group)
    transfer = None if source is None else transfer_weights(source, trainer.model, corpus.tokenizer)
    trainer.pace = _pace(trainer, asked)
    trainer.share()
    inputs = [*corpus.inputs, *([] if request.init_from is None else [request.init_from])]
    prepare_run(directory, force=request.force, cache=corpus.cache, inputs=inputs)
    before = watch.before()
    trainer.progress.before = before.total
    return Prepared(trainer, before, chosen.reason, transfer, grows=chosen.grows and source is None)


def _pace(trainer: Trainer, asked: Mapping[str, Any]) -> Pace | None:
    """What looks after the number of replicas: nothing where it was asked for, or could not be another.

    Without --time nothing does either: such a training can be repeated to the last bit.
    """
    training, machine = trainer.config, trainer.machine
    if training.time is None or "replicas" in asked or machine.workers > 1 or machine.device.type != "cpu":
        return None
    most = default_replicas(training, trainer.step.batches.batch, machine, LEAST_LANES)
    return Pace(trainer.step.replicas.count, most, time.monotonic()) if most > 1 else None


def _with_time_left(training: TrainingConfig, watch: Stopwatch, closing: float) -> TrainingConfig:
    """The settings with as much --time as there is left for training."""
    if training.time is None:
        return training
    left = max(training.time - watch.before().total - closing, LEAST_SHARE * training.time)
    return dataclasses.replace(training, time=left)


def _shape_of(source: ModelFile, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of the model to start from, which dropout is no part of.

    Raises:
        ConfigError: a flag asks for another shape, naming both values.
    """
    if "size" in asked:
        raise ConfigError(f"--size {asked['size']}: the model to start from has a size; leave it out")
    shape = dataclasses.asdict(source.config)
    del shape["dropout"]
    for name, found in shape.items():
        if name in asked and asked[name] != found:
            raise ConfigError(
                f"{flag_of(name)} {asked[name]}: the model to start from has {found}; leave the flag out"
            )
    return shape


def _require_state(request: Request, directory: Path) -> None:
    """Checks that there is a run to resume.

    Raises:
        RunError: there is none, or a run is named in place of a text.
    """
    for path in request.paths:
        if (Path(path) / STATE_FILE).exists() and Path(path).resolve() != directory.resolve():
            again = shlex.join(["charrnn", "train", "--resume", "-o", path])
            raise RunError(f"{path}: a run, not a text; to go on with it, {again}")
    if not (directory / STATE_FILE).exists():
        force = ", with --force" if is_occupied(directory) else ""
        remedy = f"train without --resume{force}, or name its run with -o"
        raise RunError(f"{directory}: no {STATE_FILE} to resume from; {remedy}")


def _resume(request: Request, directory: Path, lock: RunLock, watch: Stopwatch, group: Group) -> Trainer:
    """A training that goes on, in a directory whose lock is held."""
    clear_parts(directory)
    saved = load_training(directory)
    longer = _extension(request.settings, saved)
    _check_agreement({k: v for k, v in request.settings.items() if k not in longer}, saved)
    # A validation text that was moved may be named; whether it is the same is checked with its sha256.
    val = request.settings.get("val")
    tokenizer = tokenizer_from(saved.tokenizer)
    corpus = watch.read(read_again, request.paths, val, directory, tokenizer, saved.corpus)
    refuse_inputs([directory / name for name in OURS], corpus.inputs)
    # The arithmetic is part of the result; threads, replicas and the time between saves are not.
    session: TrainingConfig = from_mapping(TrainingConfig, dict(request.settings))
    prepare_torch(session.threads)
    machine = choose_machine(saved.training.device, saved.precision)
    group.require_device(machine.device)
    keep_every = session.keep_every or saved.training.keep_every
    replicas = session.replicas
    if replicas is None and saved.training.replicas is not None:
        replicas = min(saved.training.replicas, session.threads or available_cores())
    training = dataclasses.replace(
        saved.training,
        threads=session.threads,
        replicas=replicas,
        save_every=session.save_every,
        keep_every=keep_every,
        with_ngram=request.settings.get("with_ngram", saved.training.with_ngram),
        **longer,
    )
    trainer = Trainer(corpus, saved.architecture, training, machine, directory, lock, group)
    trainer.restore(saved)
    trainer.pace = _pace(trainer, request.settings)
    if longer:
        trainer.progress.extend()
        trainer.progress.before += watch.before().total
    else:
        trainer.schedule.over = saved.finished
    if training.with_ngram is not False:
        trainer.beside = ngram_beside(directory)
    return trainer


def _extension(asked: Mapping[str, Any], saved: TrainingState) -> dict[str, Any]:
    """The length, by its setting's name, to which a finished run is asked to be extended; else nothing."""
    if not saved.finished:
        return {}
    return {
        name: asked[name]
        for name in LENGTHS
        if name in asked and asked[name] > (getattr(saved.training, name) or math.inf)
    }


def _check_agreement(asked: Mapping[str, Any], saved: TrainingState) -> None:
    """Refuses a setting that contradicts the run: its settings come from its state.

    Raises:
        ConfigError: naming both values.
    """
    known: dict[str, Any] = {
        **dataclasses.asdict(saved.training),
        **dataclasses.asdict(saved.architecture),
        **dataclasses.asdict(CorpusConfig.recorded(saved.corpus)),
    }
    length = next(name for name in LENGTHS if known[name] is not None)
    if known["val"] is not None:
        del known["val"]  # its text is compared, and may have been moved
    for name in sorted(asked.keys() - CADENCE - {"with_ngram"}):  # which is for when it has ended
        if name in LENGTHS and asked[name] != known[name]:
            begun = f"{known[name]:g}" if name == length else f"{flag_of(length)} {known[length]:g}"
            raise ConfigError(
                f"{flag_of(name)} {asked[name]:g}: this run was begun with {begun}; leave the flag out (a "
                f"longer {flag_of(length)} extends a run that has finished), or train anew with --output-dir"
            )
        if name in known and asked[name] != known[name]:
            raise ConfigError(
                f"{flag_of(name)} {asked[name]}: this run was begun with {known[name]}; "
                "leave the flag out, or train anew with --output-dir"
            )
