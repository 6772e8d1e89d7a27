"""From a command's settings to a trainer that is ready to run: a new training, or one that goes on."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charrnn.config import CADENCE, CorpusConfig, ModelConfig, TrainingConfig, draw_seed, from_mapping
from charrnn.errors import ConfigError, CorpusError, RunError
from charrnn.files import STATE_FILE
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.model.file import ModelFile, load_model
from charrnn.runs import RUNS, prepare_run, refuse_occupied
from charrnn.text.corpus import Corpus, corpus_name, read_corpus
from charrnn.text.recorded import gone
from charrnn.text.tokenizer import tokenizer_from
from charrnn.training.choices import choose_size
from charrnn.training.state import TrainingState, load_training
from charrnn.training.trainer import Trainer
from charrnn.training.transfer import Transfer, transfer_weights


@dataclasses.dataclass(frozen=True)
class Request:
    """What a training is asked to be.

    Attributes:
        paths: the corpus; may be empty on resuming, where the run knows its own.
        directory: where to write; runs/NAME after the corpus if None.
        corpus, model, training: the settings.
        resume: whether to go on with the run in the directory.
        force: whether a run that is there may be replaced.
        init_from: a model file to begin with the weights of.
        given: the settings that were asked for by name; on resuming they must agree with the run's.
    """

    paths: Sequence[str]
    directory: Path | None
    corpus: CorpusConfig
    model: ModelConfig
    training: TrainingConfig
    resume: bool = False
    force: bool = False
    init_from: Path | None = None
    given: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A training that is ready to run, and what setting it up found.

    Attributes:
        trainer: nothing trained yet, or restored to where its run stopped.
        reason: why the model is as large as it is, where that was chosen.
        transfer: what became of the symbols, where the weights came from another model.
    """

    trainer: Trainer
    reason: str | None = None
    transfer: Transfer | None = None


def run_directory(request: Request) -> Path:
    """Where the run is or will be.

    Raises:
        ConfigError: neither a corpus nor a directory is named.
    """
    if request.directory is not None:
        return request.directory
    if not request.paths:
        raise ConfigError("name a corpus: a file, a directory, or - for stdin")
    return RUNS / corpus_name(request.paths[0])


def open_training(request: Request) -> Prepared:
    """A trainer for the request, nothing trained yet, or restored to where its run stopped.

    A new run's directory is made only when its corpus could be read.

    Raises:
        CharrnnError: whatever is wrong with the corpus, the settings, the directory or the state.
    """
    directory = run_directory(request)
    if request.resume:
        return Prepared(_resume(request, directory))
    if not request.paths:
        raise ConfigError("name a corpus: a file, a directory, or - for stdin")
    if not request.force:
        refuse_occupied(directory)
    training = request.training
    prepare_torch(training.threads)
    machine = choose_machine(training.device, training.precision)
    if training.seed is None:
        training = dataclasses.replace(training, seed=draw_seed(os.urandom))
    corpus = read_corpus(request.paths, request.corpus, directory=directory)
    _check_size(corpus)
    source = None if request.init_from is None else load_model(request.init_from)
    shape, given = request.model, request.given
    if source is not None:
        shape = _shape_of(source, request)
        given |= ModelConfig.__dataclass_fields__.keys() - {"dropout"}
    choice = choose_size(shape, training.length, corpus, machine, given)
    trainer = Trainer(corpus, choice.model, choice.training, machine, directory)
    transfer = None if source is None else transfer_weights(source, trainer.model, corpus.tokenizer)
    prepare_run(directory, force=request.force, cache=corpus.cache)
    return Prepared(trainer, choice.reason, transfer)


def _shape_of(source: ModelFile, request: Request) -> ModelConfig:
    """The shape of the model to start from, with the dropout that is asked for.

    Raises:
        ConfigError: a flag asks for another shape, naming both values.
    """
    if "size" in request.given:
        raise ConfigError(f"--size {request.training.size}: the model to start from has a size; leave it out")
    for field in dataclasses.fields(ModelConfig):
        asked, found = getattr(request.model, field.name), getattr(source.config, field.name)
        if field.name in request.given - {"dropout"} and asked != found:
            raise ConfigError(
                f"--{field.name.replace('_', '-')} {asked}: the model to start from has {found}; "
                "leave the flag out"
            )
    return dataclasses.replace(source.config, dropout=request.model.dropout)


def _check_size(corpus: Corpus) -> None:
    if corpus.train_size < 3:
        raise CorpusError(
            f"{', '.join(corpus.paths)}: {corpus.characters} character"
            f"{'s' if corpus.characters != 1 else ''} to learn from is too few; give more text"
        )


def _resume(request: Request, directory: Path) -> Trainer:
    for path in request.paths:
        if (Path(path) / STATE_FILE).exists():
            again = shlex.join(["charrnn", "train", "--resume", "-o", path])
            raise RunError(f"{path}: a run, not a text; to go on with it, {again}")
    saved = load_training(directory)
    _check_agreement(request, saved)
    paths = list(request.paths) or list(saved.corpus["paths"])
    if not request.paths and gone(paths):
        raise RunError(f"{directory}: its corpus came from stdin or a pipe; pipe it in again and name -")
    config = from_mapping(CorpusConfig, saved.corpus)
    corpus = read_corpus(paths, config, tokenizer_from(saved.tokenizer), directory)
    training = saved.training
    # The arithmetic is part of the result; the number of threads and the cadence of saving are not.
    prepare_torch(request.training.threads)
    machine = choose_machine(training.device, saved.precision)
    training = dataclasses.replace(training, save_every=request.training.save_every)
    trainer = Trainer(corpus, saved.architecture, training, machine, directory)
    trainer.restore(saved)
    return trainer


def _check_agreement(request: Request, saved: TrainingState) -> None:
    """Refuses a flag that contradicts the run: its settings come from its state.

    Raises:
        ConfigError: naming both values.
    """
    known: dict[str, Any] = {
        **dataclasses.asdict(saved.training),
        **dataclasses.asdict(saved.architecture),
        **saved.corpus,
    }
    asked: dict[str, Any] = {
        **dataclasses.asdict(request.training),
        **dataclasses.asdict(request.model),
        **dataclasses.asdict(request.corpus),
    }
    for name in sorted(request.given - CADENCE):
        if name in asked and name in known and asked[name] != known[name]:
            raise ConfigError(
                f"--{name.replace('_', '-')} {asked[name]}: this run was begun with {known[name]}; "
                "leave the flag out, or train anew with --output-dir"
            )
