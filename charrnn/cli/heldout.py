"""What ``charrnn train`` says of a held-out part that is unlike the training part."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.text.difference import Difference, difference
from charrnn.training.trainer import Trainer

NAMED = 20  # characters that a message names
# The share of characters that training lacks from which the loss is theirs: each costs some ten nats, so that
# one in a hundred adds 0.1; a tenth of it is worth a word.
DECISIVE, NOTEWORTHY = 0.01, 0.001


def difference_of(trainer: Trainer) -> Difference | None:
    """How what is validated on differs from what is learnt; None where nothing is."""
    corpus, ids = trainer.corpus, trainer.validation.ids
    if corpus.val is None:
        return difference(corpus.train, ids, corpus.tokenizer) if len(ids) else None
    scored = corpus.val.beginning(trainer.config.validate)
    return difference(corpus.train, ids, corpus.tokenizer, corpus.val.strangers, len(scored.unknown))


def warning(trainer: Trainer) -> Iterator[str]:
    """At the start of a training: a line, if what is held out is another text than what is learnt."""
    found = difference_of(trainer)
    if found is not None and found.gross:
        yield f"validation: {_unlike(trainer, found)}; {remedy(trainer)}"


def held_out_verdict(trainer: Trainer) -> tuple[str | None, str]:
    """At the end: the verdict, where the held-out part alone decides about it, and what to add to another."""
    found = difference_of(trainer)
    if found is None:
        return None, ""
    if found.gross or found.share >= DECISIVE:
        says = (
            "the validation loss says little" if found.gross else "a part of the validation loss is no fault"
        )
        said = _unlike(trainer, found) if found.gross else _lacking(trainer, found)
        return f"{says}: {said}; {remedy(trainer)}", ""
    return None, f" ({_lacking(trainer, found)})" if found.share >= NOTEWORTHY else ""


def _unlike(trainer: Trainer, found: Difference) -> str:
    """That the two are different texts, how far apart, and which characters the training part lacks."""
    what = "the held-out part" if trainer.corpus.val is None else trainer.corpus.val.name
    lacking = f", and {_lacking(trainer, found)}" if found.missing else ""
    unit = trainer.corpus.tokenizer.unit
    return (
        f"{what} is another kind of text than the training part (the frequencies of their {unit} differ by "
        f"{found.excess:.1f} nats{lacking})"
    )


def _lacking(trainer: Trainer, found: Difference) -> str:
    """The share of held-out characters that the training part lacks, and which these are."""
    tokenizer, config = trainer.corpus.tokenizer, trainer.corpus.config
    named = " ".join(map(_shown, found.kinds[:NAMED]))
    more = f" and {len(found.kinds) - NAMED:,} more" if len(found.kinds) > NAMED else ""
    rare = f", or has fewer than {config.min_count} times" if tokenizer.unknown is not None else ""
    which = f": {named}{more}" if named else ""
    return f"{_percent(found.share)} of the held-out {tokenizer.unit} are such as training lacks{rare}{which}"


def _shown(character: str) -> str:
    r"""A character for people to read, wherever it stands.

    >>> _shown("é"), _shown(" "), _shown("\t"), _shown("\\xe9")
    ('é', "' '", '\\t', '\\xe9')
    """
    if character.isspace() and character.isprintable():
        return f"'{character}'"
    return character if character.isprintable() else ascii(character)[1:-1]


def _percent(share: float) -> str:
    """A share in percent, to two digits.

    >>> _percent(0.123), _percent(0.0042), _percent(1.0)
    ('12%', '0.42%', '100%')
    """
    return f"{float(f'{100 * share:.2g}'):g}%"


def remedy(trainer: Trainer) -> str:
    """What makes the held-out part like the training part."""
    config = trainer.corpus.config
    if config.val is not None:
        return "name another --val, one like the corpus, or leave it out"
    if config.lines or config.pairs:
        return "give more text, or leave out what is rare with --min-count 2"
    return (
        "shuffle the files or their parts, validate on a text like it with --val, or use --lines for a list"
    )
