"""``charrnn evaluate``: measures how well a model predicts texts."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import PathName, config_option, given, models_options, quiet_option
from charrnn.config import CorpusConfig
from charrnn.errors import RunError
from charrnn.settings import from_mapping, rules
from charrnn.use_config import EvaluationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from charrnn.cli.report import Row
    from charrnn.evaluation.baselines import Baselines
    from charrnn.evaluation.dynamic import DynamicEvaluator
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.model.file import ModelFile
    from charrnn.text.scored import ScoredText


@click.command()
@click.argument("text", nargs=-1)
@models_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--per-line", is_flag=True, help="Print a tab-separated row for each line instead.")
@click.option("--heatmap", is_flag=True, help="Print the text, shaded by bits per character, instead.")
@click.option(
    "--html", type=PathName(), metavar="FILE",
    help="Write the shaded text as a page with the model's five best guesses at each character.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the FILE of --html if it is there.")
@click.option("--baselines", is_flag=True, help="Add uniform, unigram, n-grams, gzip, bzip2 and xz.")
@click.option("--dynamic", is_flag=True, help="Add dynamic evaluation: the model learns as it reads.")
@click.option(
    "--train", metavar="FILE",
    help="Training text of the n-grams and of --dynamic.  [default: the model's training split]",
)  # fmt: skip
@config_option(EvaluationConfig, "reset", metavar="[auto|none|lines|N]")
@config_option(EvaluationConfig, "precision")
@config_option(EvaluationConfig, "streams")
@config_option(EvaluationConfig, "device")
@config_option(EvaluationConfig, "dynamic_lr")
@config_option(EvaluationConfig, "dynamic_decay")
@config_option(EvaluationConfig, "dynamic_segment")
@click.option("--encoding", help="Encoding of the texts.  [default: that of the model's corpus]")
@click.option(
    "--newlines", type=click.Choice(rules(CorpusConfig)["newlines"].choices),
    help="Keep line endings of the texts, or convert them to \\n.  [default: as for the model's corpus]",
)  # fmt: skip
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="Whether --heatmap uses colours; without them it prints the bits as digits.",
)  # fmt: skip
@quiet_option
def evaluate(
    text: tuple[str, ...], models: tuple[str, ...], mix: str | None, quiet: bool, color: str, **options: Any
) -> None:
    """Measure how well a model predicts each TEXT: a file, a directory, or - for stdin.

    Without a TEXT, the model's own validation split is scored. A model of pairs answers the sources of each
    TEXT, and its answers are compared with the targets.
    """
    config = from_mapping(EvaluationConfig, options)
    check(text, options)

    from charrnn.cli.model import open_models
    from charrnn.cli.output import byte_writer, note
    from charrnn.cli.report import progress, summary, table, to_json, with_totals
    from charrnn.cli.tables import terminal_width
    from charrnn.cli.unused import unused
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.evaluation.mixing import CrossFitted

    for line in unused(click.get_current_context()):
        note(line, quiet=quiet)
    write = byte_writer()
    opened = open_models(models, mix, quiet=quiet)
    loaded = opened.model
    check_page(options["html"], [*(text or loaded.corpus.get("paths", ())), *opened.paths])
    scorer = Evaluator
    if loaded.parts and mix is None and not (text or options["heatmap"] or options["html"]):
        scorer = CrossFitted
        note("each half of the text is scored with weights that are fitted to the other half", quiet=quiet)
    job = Job(loaded, opened.name, config, scorer(loaded, config, progress(quiet=quiet)), write)
    texts = read_texts(text, loaded, options, quiet=quiet)
    if not quiet:
        texts = remarked(job, texts, given(click.get_current_context()), own=not text)
    if loaded.corpus.get("pairs"):
        from charrnn.cli.pairs import evaluate_pairs

        names = (opened.name, opened.path)
        evaluate_pairs(job.evaluator, texts, options | {"quiet": quiet}, names, write)
        return
    if options["per_line"]:
        note(summary(with_totals(list(job.write_lines(texts)))), quiet=quiet)
        return
    if options["heatmap"] or options["html"]:
        for line in job.write_heatmap(next(texts), options["html"], color, shown=options["heatmap"]):
            note(line, quiet=quiet)
        return
    if options["baselines"] or options["dynamic"]:
        learnt = job.learn(options, progress(quiet=quiet))
        note(f"baselines and dynamic evaluation use {learnt.name}, {len(learnt.ids):,} symbols", quiet=quiet)
        if text and options["train"] is None:
            note(f"the model's own text: {', '.join(loaded.corpus['paths'])}", quiet=quiet)
    rows = with_totals([row for item in texts for row in job.rows(item)])
    shown = to_json(rows, opened.path) if options["as_json"] else table(rows, terminal_width())
    write(shown.encode("utf-8", "replace"))


def check(texts: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuses options that contradict each other or have no effect.

    Raises:
        click.UsageError: names the options.
        RunError: the page's file exists and may not be replaced, or its directory does not exist.
    """
    outputs = ("as_json", "per_line", "heatmap", "html")
    chosen = [f"--{name.replace('as_', '').replace('_', '-')}" for name in outputs if options[name]]
    if len(chosen) > 1 and chosen != ["--heatmap", "--html"]:
        raise click.UsageError(f"{' and '.join(chosen)} are different outputs; give one")
    added = [f"--{name}" for name in ("baselines", "dynamic") if options[name]]
    if added and chosen and chosen != ["--json"]:
        raise click.UsageError(f"{added[0]} adds to the table or to --json; leave out {chosen[0]}")
    if options["train"] is not None and not added:
        raise click.UsageError("--train is for --baselines and --dynamic; give one of them too")
    if (options["heatmap"] or options["html"]) and len(texts) > 1:
        raise click.UsageError(f"{chosen[0]} shows one text; name one")
    page = options["html"]
    if page and not page.parent.is_dir():
        raise RunError(f"{page.parent}: no such directory; make it first")
    if page and page.is_dir():
        raise RunError(f"{page}: a directory; name a file")
    if page and page.exists() and not options["force"]:
        raise RunError(f"{page}: exists; replace it with --force, or name another file")


def check_page(page: Path | None, inputs: list[str | Path]) -> None:
    """Refuses to replace what is read.

    Raises:
        RunError: the page is one of the inputs, or lies in one of them.
    """
    from charrnn.files import is_input

    if page is not None and is_input(page, [name for name in inputs if name != "-"]):
        raise RunError(f"{page}: is read here, so it cannot be replaced; name another file for the page")


def remarked(
    job: Job, texts: Iterator[ScoredText], asked: Mapping[str, Any], *, own: bool
) -> Iterator[ScoredText]:
    """The texts; what is to be said of each, and of the options, goes to stderr.

    Args:
        job: the model and the settings.
        texts: to be scored.
        asked: the parameters that the user gave.
        own: whether the text is the model's, whose line ends it knows.
    """
    from charrnn.cli.idle import idle_in_evaluation, idle_on_text
    from charrnn.cli.output import note
    from charrnn.cli.report import on_line_ends, remarks

    for line in idle_in_evaluation(job.model, asked):
        note(line)
    for text in texts:
        for line in remarks(text):
            note(line)
        for line in () if own else on_line_ends(text, job.model, job.config):
            note(line)
        for line in idle_on_text(text, job.model, job.config, asked):
            note(line)
        yield text


def read_texts(
    names: Iterable[str], model: ModelFile, options: dict[str, Any], *, quiet: bool
) -> Iterator[ScoredText]:
    """The texts to score, read as the options say.

    Without names it is the model's validation split, and where that is read from is told.
    """
    from charrnn.cli.output import note
    from charrnn.text.recorded import recorded_split
    from charrnn.text.scored import read_text, text_config

    if not names:
        own = recorded_split(model.corpus, model.tokenizer, "validation")
        note(f"the model's own text: {', '.join(model.corpus['paths'])}", quiet=quiet)
        yield own
    config = text_config(model.corpus, model.tokenizer, options["encoding"], options["newlines"])
    for name in names:
        yield read_text(name, model.tokenizer, config)


@dataclasses.dataclass
class Job:
    """One call of the command: the model, the evaluators, and the function that writes results."""

    model: ModelFile
    name: str
    config: EvaluationConfig
    evaluator: Evaluator
    write: Callable[[bytes], None]
    baselines: Baselines | None = None
    dynamic: DynamicEvaluator | None = None
    alone: Evaluator | None = None  # of the network, where an n-gram is beside it, which does not learn

    def learn(self, options: dict[str, Any], on_piece: Callable[[int], None]) -> ScoredText:
        """Prepares baselines and dynamic evaluation, and returns the training text they use."""
        from charrnn.text.recorded import recorded_split

        model = self.model
        if options["train"] is not None:
            (text,) = read_texts((options["train"],), model, options, quiet=True)
        else:
            text = recorded_split(model.corpus, model.tokenizer, "training")
        if options["baselines"]:
            from charrnn.evaluation.baselines import Baselines

            self.baselines = Baselines(text, items=bool(model.corpus.get("lines")))
        if options["dynamic"]:
            from charrnn.evaluation.dynamic import DynamicEvaluator
            from charrnn.evaluation.evaluator import Evaluator
            from charrnn.model.device import prepare_torch
            from charrnn.model.file import network_alone

            prepare_torch()
            self.dynamic = DynamicEvaluator(self.model, text, self.config, on_piece)
            if self.model.parts:
                self.alone = Evaluator(network_alone(self.model), self.config)
        return text

    def rows(self, text: ScoredText) -> Iterator[Row]:
        """The model's row, followed by those of dynamic evaluation and the baselines."""
        from charrnn.cli.report import Row

        yield Row(text.name, self.name, self.evaluator.score(text), self.evaluator.used)
        if self.dynamic is not None:
            which = "dynamic"
            if self.alone is not None:
                which = "network alone, dynamic"
                yield Row(text.name, f"{self.name} (network alone)", self.alone.score(text), self.alone.used)
            yield Row(text.name, f"{self.name} ({which})", self.dynamic.score(text), self.dynamic.used)
        if self.baselines is not None:
            for name, score in self.baselines.scores(text):
                yield Row(text.name, name, score, "baseline")

    def write_lines(self, texts: Iterator[ScoredText]) -> Iterator[Row]:
        """Prints a row for each line, numbered across texts like ``cat -n``; yields a row for each text."""
        from charrnn.cli.report import LINE_HEADER, Row, line_rows
        from charrnn.evaluation.measure import sum_of

        first = 1
        for text in texts:
            scores = self.evaluator.log_probabilities(text)
            rows = line_rows(text, scores, first)
            if first == 1:
                rows = itertools.chain([LINE_HEADER], rows)
            while block := "".join(itertools.islice(rows, 4096)):
                self.write(block.encode())
            first += len(text.line_ends)
            yield Row(text.name, self.name, sum_of(text, scores), self.evaluator.used)

    def write_heatmap(self, text: ScoredText, file: Path | None, color: str, *, shown: bool) -> Iterator[str]:
        """Prints the shaded text, writes it as a page, or both; yields lines for stderr."""
        from charrnn.cli.report import print_heatmap, write_page
        from charrnn.evaluation.surprise import surprise

        found = surprise(self.model, text, self.config)
        if file is not None:
            write_page(file, found, text.name, self.name)
            yield f"wrote {file}"
        if shown:
            print_heatmap(found, color)
        score = found.score
        yield f"{score.bits_per_character:.4f} bits/char, perplexity {score.perplexity:.4f}"
        if score.characters < text.characters:
            yield f"shown: the first {score.characters:,} of {text.characters:,} characters"
