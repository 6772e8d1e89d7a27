"""What commands say of options whose values cannot act on this text, or on this model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charrnn.cli.options import written_duration
from charrnn.errors import counted
from charrnn.settings import flag_of
from charrnn.training.beside import symbols_counted

if TYPE_CHECKING:
    from charrnn.model.file import ModelFile
    from charrnn.text.scored import ScoredText
    from charrnn.training.trainer import Trainer
    from charrnn.use_config import EvaluationConfig

NEVER_DECODED = ("encoding", "min_count")  # settings of texts that a model of bytes has no use for


def idle_in_training(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    """Lines about options of ``charrnn train`` that change nothing.

    Args:
        trainer: ready to run.
        given: the parameters that the user gave, by name.
    """
    yield from _on_the_text(trainer, given)
    yield from _on_the_model(trainer, given)
    yield from _on_times(trainer, given)
    yield from _on_steps(trainer, given)
    yield from _on_the_ngram(trainer, given)


def _on_the_text(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    corpus = trainer.corpus
    tokenizer, config = corpus.tokenizer, corpus.config
    if tokenizer.kind == "byte":
        if found := [flag_of(name) for name in NEVER_DECODED if name in given]:
            yield f"no effect with --tokenizer byte, which decodes nothing: {', '.join(found)}"
    elif given.get("min_count", 1) > 1 and tokenizer.unknown is None:
        yield (
            f"no effect: --min-count {config.min_count}, since every character is that frequent; there is no "
            "unknown symbol"
        )
    if config.pairs and "seq_length" in given:
        yield "no effect with --pairs, which are read whole: --seq-length"


def _on_the_model(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    model = trainer.model.config
    if given.get("size", "auto") != "auto" and "hidden_size" in given:
        yield f"no effect with --hidden-size {model.hidden_size}: --size"
    replicas = trainer.step.replicas.count
    if given.get("replicas", 0) > replicas:
        yield f"no effect of more than --replicas {replicas}: that many sequences are read at once"
    untied = model.embedding_size != model.hidden_size
    if given.get("output") == "all" and model.num_layers == 1 and untied:
        yield "no effect: --output all, since there is one layer"


def _on_the_ngram(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    if given.get("with_ngram") is not False or given.get("resume"):
        return
    if not symbols_counted(dataclasses.replace(trainer.config, with_ngram=None), trainer.corpus):
        yield "no effect: --without-ngram, since none is counted here unless --with-ngram asks for it"


def _on_times(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    """On what is to happen every so often, but less often than the training is long."""
    time = trainer.config.time
    for name in ("save_every", "keep_every", "sample_every"):
        every = given.get(name)
        if time is not None and every is not None and every >= time:
            yield (
                f"no effect: {flag_of(name)} {written_duration(every)}, since the training takes "
                f"{written_duration(time)}"
            )


def _on_steps(trainer: Trainer, given: Mapping[str, Any]) -> Iterator[str]:
    """On evaluations and the warm-up, as far as the number of steps is known."""
    schedule, config = trainer.schedule, trainer.config
    steps, evaluations = schedule.most_steps, schedule.most_evaluations
    most = "" if schedule.total_steps is not None else "at most "
    if steps is not None and (config.eval_every or 0) >= steps and "eval_every" in given:
        yield (
            f"no effect: --eval-every {config.eval_every}, since there are {most}{counted(steps, 'step')}, "
            "and the last one is evaluated anyway"
        )
    # The first evaluation is the best so far, and after the last one there is nothing to stop.
    if evaluations is not None and given.get("patience", 0) > max(0, evaluations - 2):
        yield (
            f"no effect: --patience {config.patience}, since there "
            f"{'is' if evaluations == 1 else 'are'} {most}{counted(evaluations, 'evaluation')}"
        )
    if schedule.total_steps is not None and 0 < given.get("warmup", 0) * schedule.total_steps < 1:
        whole = counted(schedule.total_steps, "step")
        yield f"no effect: --warmup {config.warmup:g}, which is less than one of {whole}"


def idle_in_evaluation(model: ModelFile, given: Mapping[str, Any]) -> Iterator[str]:
    """Lines about options of ``charrnn evaluate`` that change nothing, whatever the text."""
    if model.tokenizer.kind == "byte" and "encoding" in given:
        yield "no effect: --encoding, since this is a model of bytes, which decodes nothing"
    shown = next((name for name in ("heatmap", "html") if given.get(name)), None)
    machine = [flag_of(name) for name in ("streams", "precision", "device") if name in given]
    if shown and machine:
        yield f"no effect with {flag_of(shown)}, which reads character by character: {', '.join(machine)}"
    elif model.grams is not None and machine:
        yield f"no effect: {', '.join(machine)}, since an n-gram looks counts up"


def idle_on_text(
    text: ScoredText, model: ModelFile, config: EvaluationConfig, given: Mapping[str, Any]
) -> Iterator[str]:
    """Lines about options of ``charrnn evaluate`` that change nothing for one text."""
    from charrnn.evaluation.evaluator import resets

    size = counted(text.characters, text.tokenizer.unit.removesuffix("s"))
    if config.window and config.window >= text.characters:
        yield f"{text.name}: {size}, so that the state never begins anew with --reset {config.window}"
    if config.reset == "lines" and len(text.line_ends) == 1:
        yield f"{text.name}: a single line, so that the state never begins anew with --reset lines"
    shown = given.get("heatmap") or given.get("html")
    if (config.streams or 1) > 1 and not shown and (config.window or resets(model, config)):
        yield f"{text.name}: no effect where the state begins anew: --streams {config.streams}"
    if given.get("dynamic") and config.dynamic_segment >= len(text.ids):
        yield f"{text.name}: no effect: --dynamic, since it ends within the first --dynamic-segment"


def idle_in_export(model: ModelFile, given: Mapping[str, Any]) -> Iterator[str]:
    """Lines about options of ``charrnn export`` that change nothing for this model."""
    precisions = [flag_of(name) for name in ("int8", "float32") if name in given]
    if model.grams is not None and precisions:
        yield f"no effect: {', '.join(precisions)}, since an n-gram has no weights, but counts"
    if "without_ngram" in given and model.grams is None and not model.parts:
        yield "no effect: --without-ngram, since there is no n-gram beside this network"
