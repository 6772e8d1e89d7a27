"""What ``charrnn sample`` says of options that cannot act, or that do something else than it seems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from charrnn.sampling.session import SamplingSession, lookup
from charrnn.settings import flag_of, parse_bias, rules
from charrnn.use_config import SamplingConfig

CHOOSING = ("top_k", "top_p", "min_p", "seed", "best_of")
IN_A_DIALOGUE = {"ban", "bias", "device"}  # what --interactive heeds


def remarks(session: SamplingSession, given: Mapping[str, Any]) -> Iterator[str]:
    """Lines about the options that were given.

    Args:
        session: the model and the settings.
        given: the parameters that the user gave, by name.
    """
    if given.get("interactive"):
        ignored = [name for name in rules(SamplingConfig) if name in given and name not in IN_A_DIALOGUE]
        if ignored:
            yield f"no effect with --interactive: {', '.join(map(flag_of, ignored))}"
        yield from _remarks_on_characters(session, given, ("ban", "bias"))
        return
    yield from _remarks_on_texts(session, given)
    yield from _remarks_on_characters(session, given, ("ban", "bias"))
    yield from _without_effect(session, given)


def _shown(text: str) -> str:
    return "'" + (text if text.isprintable() else ascii(text)[1:-1]) + "'"


def _listed(characters: str) -> str:
    return ", ".join(dict.fromkeys(map(_shown, characters)))


def _unknown(session: SamplingSession, text: str, flag: str) -> str:
    """The characters of a text that the vocabulary lacks."""
    ids = lookup(session.tokenizer, text, flag)
    if len(ids) != len(text):  # bytes, of which none is unknown
        return ""
    return "".join(text[place] for place in (ids == session.tokenizer.size).nonzero()[0].tolist())


def _remarks_on_texts(session: SamplingSession, given: Mapping[str, Any]) -> Iterator[str]:
    """On --stop and --until: texts that are never written, and backslashes that were meant as escapes."""
    config = session.config
    for flag, texts in (("--stop", config.stop), ("--until", config.until)):
        for text in texts:
            escape = "; --escape reads \\n as a newline" if _looks_escaped(text, given) else ""
            banned = {id for id in lookup(session.tokenizer, text, flag).tolist() if id in session.forbidden}
            if unknown := _unknown(session, text, flag):
                yield f"{flag} {_shown(text)}: never written, the vocabulary lacks {_listed(unknown)}{escape}"
            elif banned:
                characters = "".join(map(session.tokenizer.label, sorted(banned)))
                yield f"{flag} {_shown(text)}: never written, --ban bans {_listed(characters)}{escape}"
            elif escape:
                yield f"{flag} {_shown(text)}: read as it stands, with its backslash{escape}"


def _remarks_on_characters(
    session: SamplingSession, given: Mapping[str, Any], names: tuple[str, ...]
) -> Iterator[str]:
    """On --ban and --bias: characters that the vocabulary lacks, and backslashes."""
    texts = [("ban", "--ban", session.config.ban)] if session.config.ban else []
    texts += [("bias", "--bias", text) for text, _ in parse_bias(session.config.bias)]
    for name, flag, text in texts:
        if name not in names:
            continue
        if unknown := _unknown(session, text, flag):
            yield f"{flag} {_shown(text)}: the vocabulary lacks {_listed(unknown)}, which no model writes"
        if _looks_escaped(text, given):
            yield (
                f"{flag} {_shown(text)}: applies to the characters {_listed(text)}; "
                "--escape reads \\n as a newline"
            )


def _looks_escaped(text: str, given: Mapping[str, Any]) -> bool:
    return "\\" in text and not given.get("escape")


def _without_effect(session: SamplingSession, given: Mapping[str, Any]) -> Iterator[str]:
    """On options that change nothing beside the others that were given."""
    config, size = session.config, session.tokenizer.size
    if config.temperature == 0 and (found := [name for name in CHOOSING if name in given]):
        yield f"no effect at --temperature 0, which is greedy: {', '.join(map(flag_of, found))}"
    elif config.top_k >= size:
        yield f"no effect: --top-k {config.top_k}, since the vocabulary has {size:,} {session.tokenizer.unit}"
    if "repetition_window" in given and config.repetition_penalty == 1:
        yield "no effect without --repetition-penalty: --repetition-window"
    if "separator" in given and (config.num_samples == 1 or given.get("as_json")):
        yield "no effect without --num-samples, and with --json: --separator"
    if given.get("against") and not (config.novel or config.novel_span or given.get("copied")):
        yield "no effect without --novel, --novel-span or --copied: --against"
    escapable = ("prompt", "stop", "until", "ban", "bias", "separator")
    if given.get("escape") and not any(name in given for name in escapable):
        yield "no effect without a text that it could apply to: --escape"
