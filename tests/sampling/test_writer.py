"""Texts from models: lengths, seeds, stops, lines and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, ShortfallError, UnknownCharacterError
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.sampling.continuation import Continuation, best_continuation
from charrnn.sampling.lines import MOST_REFUSED_LINES, LineWriter
from charrnn.sampling.sampler import log_probabilities
from charrnn.sampling.session import Prompt, SamplingSession, Stepper, TokenChoice, Watch
from charrnn.sampling.writer import TextStream, pieces
from charrnn.text.tokenizer import CharTokenizer
from charrnn.use_config import SamplingConfig
from tests.conftest import ALPHABET, random_model

SMALL = "\nabc"


@dataclasses.dataclass(frozen=True)
class Request:
    """A session with a prompt, and what is written from them."""

    session: SamplingSession
    prompt: Prompt

    def continuation(self, index: int = 0, watch: Watch | None = None) -> Continuation:
        """Text ``index``."""
        return Continuation(self.session, self.prompt, self.session.seed_of(index), watch)

    def lines(self) -> LineWriter:
        """Lines of the first text."""
        return LineWriter(self.session, self.prompt, self.session.seed_of(0))

    def decode(self, ids: Iterable[int]) -> str:
        """The ids as text."""
        return self.session.tokenizer.decode(list(ids))


def request(model: ModelFile | None = None, prompt: str = "", source: str = "", **settings: Any) -> Request:
    """A session of a little model at temperature 1, with seed 1 unless another is given."""
    config = SamplingConfig(**{"seed": 1, "length": 60, "temperature": 1.0} | settings)
    session = SamplingSession(model or random_model(), config, source=source)
    return Request(session, session.prompt(prompt))


def text(model: ModelFile | None = None, prompt: str = "", index: int = 0, **settings: Any) -> str:
    """What such a session writes."""
    asked = request(model, prompt, **settings)
    return asked.decode(asked.continuation(index))


def small(*, items: bool = False) -> ModelFile:
    """A model of four characters, one of them the newline."""
    return dataclasses.replace(random_model(vocabulary=SMALL), corpus={"lines": items})


def lines_written(asked: Request) -> tuple[list[str], LineWriter]:
    """The lines that are written, and the writer that knows whether some are missing."""
    writer = asked.lines()
    return [asked.decode(line.ids) for line in writer], writer


@given(st.integers(0, 80), st.integers(0, 2**32), st.sampled_from(["", "Hello", "one\ntwo"]))
def test_length_and_seed_determine_the_text(length: int, seed: int, prompt: str) -> None:
    """A text has exactly the length asked for, and the same seed makes the same text."""
    first = text(prompt=prompt, length=length, seed=seed)
    assert len(first) == length
    assert text(prompt=prompt, length=length, seed=seed) == first


def test_a_longer_text_begins_as_a_shorter_one() -> None:
    """The length asked for changes where a text ends, not what it says; -1 never ends."""
    endless = request(length=-1).continuation()
    found = request().decode(itertools.islice(endless, 200))
    assert found == text(length=200)
    assert found.startswith(text(length=50))


def test_another_text_of_a_series_is_had_by_its_seed() -> None:
    """Text ``index`` is the first text of the seed that is ``index`` greater."""
    assert text(index=3) == text(seed=4)
    assert text(index=3) != text()


def test_temperature_0_is_the_argmax_of_the_model() -> None:
    """At temperature 0 each character is the one of the largest logit after all before it."""
    model = random_model()
    written = text(model, "Ab", temperature=0, length=30)
    ids = [model.tokenizer.start, *model.tokenizer.encode("Ab" + written).tolist()]
    logits = Engine(model).stream().read(np.array(ids[:-1]))
    assert logits.argmax(axis=1)[2:].tolist() == ids[3:]


def test_nothing_banned_or_unknown_is_written() -> None:
    """Neither banned characters nor the unknown symbol are ever written."""
    model = random_model(vocabulary=SMALL, unknown=True)
    assert set(text(model, length=500, ban="bz")) == {"\n", "a", "c"}


def test_banning_all_is_refused() -> None:
    """A ban that leaves nothing to write is a ConfigError."""
    with pytest.raises(ConfigError, match="--ban"):
        request(small(), ban=SMALL)


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 1000))
def test_a_text_ends_before_its_first_stop(stops: list[str], seed: int) -> None:
    """A text with stops is the text without them up to where the first of them begins to be complete."""
    model = random_model(vocabulary="ab")
    whole = text(model, length=60, seed=seed)
    asked = request(model, length=60, seed=seed, stop=tuple(stops))
    writing = asked.continuation()
    found = asked.decode(writing)
    ends = [whole.index(stop) + len(stop) for stop in stops if stop in whole]
    if not ends:
        assert (found, writing.finish_reason) == (whole, "length")
    else:
        longest = max(len(stop) for stop in stops if whole[: min(ends)].endswith(stop))
        assert (found, writing.finish_reason) == (whole[: min(ends) - longest], "stop")


def test_a_stop_is_never_begun() -> None:
    """What could begin a stop is held back until it cannot, so no part of a stop is ever handed out."""
    model = random_model(vocabulary="ab")
    whole = text(model, length=400, ban="")
    stop = whole[200:212]
    asked = request(model, length=400, stop=(stop,))
    seen = ""
    for id in asked.continuation():
        seen += asked.decode([id])
        assert not any(seen.endswith(stop[:n]) and whole[len(seen) - n :].startswith(stop) for n in (3, 8))
    assert seen == whole[: whole.index(stop)]


def test_a_stop_that_cannot_be_written_stops_nothing() -> None:
    """A stop with a character outside the vocabulary never comes."""
    assert text(small(), stop=("é",)) == text(small())


def test_a_choice_tells_what_the_model_thought() -> None:
    """A watcher gets each character's log-probability under the model, whatever the temperature."""
    model, choices = random_model(), list[TokenChoice]()
    asked = request(model, temperature=0.5, top_k=3, logprobs=2)
    ids = list(asked.continuation(watch=choices.append))
    read = np.array([model.tokenizer.start, *ids[:-1]])
    logs = log_probabilities(Engine(model).stream().read(read))
    assert [choice.id for choice in choices] == ids
    for choice, expected in zip(choices, logs, strict=True):
        assert choice.logprob == pytest.approx(expected[choice.id], abs=1e-4)
        assert [id for id, _ in choice.top] == np.argsort(-expected)[:2].tolist()


def test_best_of_has_the_highest_mean() -> None:
    """``best_continuation`` is the one of its candidates with the greatest log-probability a character."""
    asked = request(best_of=5, length=20)
    means = {}
    for seed in range(6, 11):
        choices: list[TokenChoice] = []
        ids = tuple(Continuation(asked.session, asked.prompt, seed, choices.append))
        means[ids] = math.fsum(choice.logprob for choice in choices) / 20
    found, reason = best_continuation(asked.session, asked.prompt, asked.session.seed_of(1))
    assert tuple(choice.id for choice in found) == max(means, key=lambda ids: means[ids])
    assert reason == "length"


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_lines_are_counted_and_whole(items: bool, count: int) -> None:
    """``lines`` N gives N lines that each end, none with a newline inside, the same for the same seed."""
    asked = request(small(items=items), lines=count, length=200)
    writing = asked.lines()
    found = list(writing)
    assert len(found) == count
    assert writing.shortfall is None
    assert all(line.ended and asked.session.newline not in line.ids for line in found)
    assert found == list(asked.lines())


def test_items_written_together_have_the_distribution_of_items_alone() -> None:
    """Side by side, short items are no more frequent than the model says: what ends first comes not first."""
    model = small(items=True)
    found, _ = lines_written(request(model, lines=4000, length=500))
    counts = Counter(found)
    # No item is empty: the chance of each character is that after the start symbol, if no newline follows it.
    first = np.exp(log_probabilities(Engine(model).stream().step(model.tokenizer.start)))
    for id, letter in enumerate("abc", 1):
        after = Engine(model).stream().read(np.array([model.tokenizer.start, id]))[1]
        share = first[id] / (1 - first[0]) * np.exp(log_probabilities(after)[0])
        assert abs(counts[letter] - 4000 * share) < 4 * math.sqrt(4000 * share)
    assert counts[""] == 0


@pytest.mark.parametrize("items", [False, True])
def test_distinct_lines_differ(items: bool) -> None:
    """With ``distinct`` no line comes twice, where without it some do."""
    model = small(items=items)
    repeated, _ = lines_written(request(model, lines=150))
    found, writing = lines_written(request(model, lines=150, distinct=True))
    assert len(set(repeated)) < 150
    assert len(set(found)) == len(found) == 150
    assert writing.shortfall is None


@pytest.mark.parametrize("items", [False, True])
def test_novel_lines_are_not_in_the_text(items: bool) -> None:
    """With ``novel`` no line stands in the training text, where without it some do."""
    model = small(items=items)
    source = "\n".join(["", "a", "b", "c", "ab", "ca"])
    known = set(source.split("\n"))
    assert known & set(lines_written(request(model, lines=50))[0])
    found, _ = lines_written(request(model, source=source, lines=50, novel=True))
    assert len(found) == 50
    assert not known & set(found)


@pytest.mark.parametrize("items", [False, True])
def test_a_shortfall_is_explained(items: bool) -> None:
    """Where too few distinct lines can be written, the writing ends and says why, in numbers."""
    model = small(items=items)
    found, writing = lines_written(request(model, lines=500, distinct=True, length=2, ban="c"))
    assert 3 <= len(found) < 20
    assert writing.shortfall is not None
    assert f"wrote {len(found)} of 500 lines: the last {MOST_REFUSED_LINES:,} lines" in writing.shortfall
    assert "written before" in writing.shortfall


@pytest.mark.parametrize("settings", [{"novel": True}, {"distinct": True}])
@pytest.mark.parametrize("length", [0, 1, 57, 300])
def test_refusing_lines_keeps_the_length(settings: dict[str, Any], length: int) -> None:
    """Without ``lines``, novel and distinct texts have exactly the length asked for, whole lines obeying."""
    asked = request(random_model(vocabulary=SMALL + "defgh"), source="a\nb\nab", length=length, **settings)
    writing = asked.lines()
    written = "".join(asked.decode(line.ids) + "\n" * line.ended for line in writing)
    assert len(written) == length
    found = [line for line in written.split("\n") if line]
    assert len(found) == len(set(found)) or "novel" in settings
    assert not {"a", "b", "ab"} & set(found) or "distinct" in settings


@pytest.mark.parametrize("items", [False, True])
def test_novel_spans_keep_runs_out(items: bool) -> None:
    """With ``novel_span`` K no run of K characters of the training text is written, as one else is."""
    model = dataclasses.replace(random_model(vocabulary=SMALL + "def"), corpus={"lines": items})
    source = text(model, seed=77, length=60)
    runs = {source[i : i + 3] for i in range(len(source))}
    lines: dict[str, Any] = {"lines": 20, "length": 300} if items else {"length": 300}

    def written(**settings: Any) -> list[str]:
        asked = request(model, source=source, **lines, **settings)
        return [line + "\n" for line in lines_written(asked)[0]] if items else [text(model, **lines)]

    assert any(run in line for run in runs for line in written())
    asked = request(model, source=source, novel_span=3, **lines)
    found = lines_written(asked)[0] if items else [asked.decode(asked.continuation())]
    assert found
    assert not any(len(run) == 3 and run in line for run in runs for line in found)


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("span", [2, 3, 5])
def test_novel_spans_begin_in_the_prompt(span: int, items: bool) -> None:
    """The prompt's end and the first characters after it make no run of the training text either."""
    model = dataclasses.replace(random_model(vocabulary=SMALL + "def"), corpus={"lines": items})
    source = text(model, seed=77, length=60)
    runs = {source[i : i + span] for i in range(len(source) - span + 1)}
    kinds: dict[str, Any] = {"lines": 3, "length": 9} if items else {"length": 9}

    def copies(**settings: Any) -> int:
        """How many runs of the source are completed by what is written after each piece of it."""
        count = 0
        for begin in range(40):
            prompt = source[begin : begin + 6]
            asked = request(model, prompt, source=source, **kinds, **settings)
            written = lines_written(asked)[0] if items else [asked.decode(asked.continuation())]
            for found in written:
                whole = prompt + found
                ends = range(max(span, len(prompt) + 1), len(whole) + 1)
                count += sum(whole[end - span : end] in runs for end in ends)
        return count

    assert copies() > 5
    assert copies(novel_span=span) == 0


def test_a_text_without_a_way_out_ends() -> None:
    """Where every character would complete a run of the training text, the text ends and says so."""
    model = random_model(vocabulary="ab")
    asked = request(model, source="aaabbbabaabba", novel_span=2)
    writing = asked.continuation()
    assert len(list(writing)) <= 1
    assert writing.finish_reason == "novelty"


def test_lines_begin_with_the_prompt() -> None:
    """What the prompt gave of a line counts when lines are compared: of each item, of a text's first line."""
    model = small(items=True)
    found, _ = lines_written(request(model, "ab", source="abc\nabb", lines=50, novel=True))
    assert not {"c", "b"} & set(found)
    ordinary, _ = lines_written(request(small(), "a\nab", source="abc\nabb\nab", lines=1, novel=True))
    assert ordinary[0] not in {"c", "b", ""}


def test_lines_need_a_newline() -> None:
    """Lines asked of a model that has no newline are refused at once."""
    with pytest.raises(ConfigError, match="no newline"):
        request(random_model(vocabulary="ab"), lines=1)


def test_an_endless_line_is_given_up() -> None:
    """A model that may not write a newline falls short of whole lines instead of running on."""
    found, writing = lines_written(request(small(), lines=1, ban="\n", length=20))
    assert found == []
    assert "longer than --length" in str(writing.shortfall)


def test_characters_outside_the_vocabulary() -> None:
    """An unknown character of the prompt is an error, skipped, or the unknown symbol, and counted."""
    plain = request(random_model(vocabulary="abc")).session
    with_unknown = request(random_model(vocabulary="abc", unknown=True)).session
    with pytest.raises(UnknownCharacterError, match=r"é \(U\+00E9\), at position 1.*--skip-unknown"):
        plain.prompt("aébé")
    for session, skip, ids in (
        (plain, True, [0, 1]),
        (with_unknown, False, [0, 3, 1, 3]),
        (with_unknown, True, [0, 1]),
    ):
        prompt = session.prompt("aébé", skip_unknown=skip)
        assert (prompt.ids.tolist(), prompt.unknown) == (ids, 2)
    byte = request(random_model(vocabulary=None)).session.prompt("é", skip_unknown=True)
    assert (byte.ids.tolist(), byte.unknown) == ([0xC3, 0xA9], 0)


def test_a_seed_that_is_not_given_is_drawn() -> None:
    """A session without a seed draws one, says which, and that seed repeats its text."""
    drawn = request(seed=None)
    assert drawn.session.config.seed is not None
    assert text(seed=drawn.session.config.seed) == drawn.decode(drawn.continuation())


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"stop": ("a", "bc")}, {"best_of": 3}, {"best_of": 2, "stop": ("ca",)}, {"lines": 9},
        {"lines": 9, "distinct": True}, {"novel": True}, {"novel_span": 4}, {"distinct": True},
    ],
)  # fmt: skip
@pytest.mark.parametrize("items", [False, True])
def test_looking_at_choices_changes_no_text(settings: dict[str, Any], items: bool) -> None:
    """The ids with their probabilities are the ids without them, each under the model's distribution."""
    if items and "lines" in settings:
        settings = settings | {"repetition_penalty": 1.1}  # otherwise many are written in lockstep
    asked = request(small(items=items), source="a\nb\nab\ncab", logprobs=4, **settings)
    choices = list(TextStream(asked.session, asked.prompt, 1).choices())
    assert [choice.id for choice in choices] == list(TextStream(asked.session, asked.prompt, 1))
    for choice in choices:
        assert math.fsum(math.exp(logprob) for _, logprob in choice.top) == pytest.approx(1)
        assert (choice.id, choice.logprob) in choice.top


@given(st.lists(st.integers(0, len(ALPHABET) - 1)))
def test_pieces_are_the_whole(ids: list[int]) -> None:
    """Pieces joined are the text, and the first character comes alone, at once."""
    tokenizer = CharTokenizer("".join(sorted(ALPHABET)))
    found = list(pieces(ids, tokenizer.decode_bytes))
    assert b"".join(found) == tokenizer.decode_bytes(ids)
    assert not ids or found[0] == tokenizer.decode_bytes(ids[:1])


def test_endless_text_needs_no_more_memory() -> None:
    """What one step of a stream allocates is freed by the next: 3,000 steps grow nothing."""
    ids = iter(request(length=-1).continuation())
    for _ in range(100):
        next(ids)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(3000):
        next(ids)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 10_000


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "relu"])
def test_the_torch_engine_writes_the_same_greedy_text(cell: Any) -> None:
    """At temperature 0 the text is the same whichever engine writes it, restored states included."""
    model = random_model(cell, vocabulary=SMALL + "def")
    assert text(model, "ab", temperature=0, device="auto") == text(model, "ab", temperature=0)
    settings: dict[str, Any] = {"novel": True, "seed": 3, "top_k": 2, "source": "a\nb\nfd"}
    ours, theirs = (lines_written(request(model, device=device, **settings))[0] for device in ("cpu", "auto"))
    assert ours == theirs


@given(st.integers(0, 1000), st.integers(2, 4), st.sampled_from(["", "abab\ncc", "aa\n\na"]), st.booleans())
def test_no_run_is_written_twice(seed: int, span: int, prompt: str, greedy: bool) -> None:
    """With ``no_repeat`` no run of that length ends in what was written, if the text has it before."""
    asked = request(
        small(), prompt, seed=seed, no_repeat=span, temperature=float(not greedy), length=120, ban="bc"
    )
    text = asked.continuation()
    written = asked.decode(text)
    whole = prompt + written
    for end in range(max(span, len(prompt) + 1), len(whole) + 1):
        assert whole.find(whole[end - span : end]) == end - span
    assert text.finish_reason == "repetition"  # two characters make few runs
    assert len(written) < 120


@pytest.mark.parametrize("settings", [{"no_repeat": 2}, {"novel_span": 3, "source": "abc\nabba\ncab"}])
def test_a_place_that_is_returned_to_bars_what_it_barred(settings: dict[str, Any]) -> None:
    """What was written from there meanwhile is forgotten: greedily the same is written again."""
    asked = request(small(), "ab", temperature=0.0, **settings)
    stepper = Stepper(asked.session, asked.prompt, 1)
    saved = stepper.save()
    first = [stepper.step() for _ in range(4)]
    stepper.restore(saved)
    assert [stepper.step() for _ in range(4)] == first
    assert None not in first


def test_a_text_without_repeats_that_ends_early_says_so() -> None:
    """A text that ``no_repeat`` ends before its length reports it, from Python as an error."""
    asked = request(small(), no_repeat=2, length=500)
    stream = TextStream(asked.session, asked.prompt)
    assert len(list(stream)) < 500
    assert stream.finish_reason == "repetition"
    with pytest.raises(ShortfallError, match="--no-repeat"):
        stream.require_complete()


@pytest.mark.parametrize("items", [False, True])
def test_lines_without_repeats(*, items: bool) -> None:
    """With ``lines``, too, no run is written twice: within an item, or within the text of all lines."""
    lines, _ = lines_written(request(small(items=items), lines=6, no_repeat=3, distinct=True, length=30))
    texts = lines if items else ["\n".join(lines)]
    assert any(len(text) > 3 for text in texts)
    for text in texts:
        runs = [text[i : i + 3] for i in range(len(text) - 2)]
        assert len(set(runs)) == len(runs)


@given(st.integers(0, 500), st.integers(0, 40), st.lists(st.text("abc", min_size=1, max_size=3), min_size=1))
def test_until_goes_on_to_the_next(seed: int, length: int, untils: list[str]) -> None:
    """A text ends at the first place from ``length`` on where one of ``until`` ends, or at twice that."""
    free = text(small(), seed=seed, length=2 * length)
    asked = request(small(), seed=seed, length=length, until=tuple(untils))
    stream = asked.continuation()
    found = asked.decode(stream)
    ends = [n for n in range(length, 2 * length + 1) if any(free[:n].endswith(one) for one in untils)]
    assert found == free[: ends[0] if ends else 2 * length]
    assert stream.finish_reason == ("until" if ends else "length")


def test_a_stop_comes_before_until() -> None:
    """Where a stop is met on the way to ``until``, it ends the text."""
    free = text(length=80)
    stop = free[45:48]
    found = text(length=40, until=("zzzz",), stop=(stop,))
    assert found == free[: free.index(stop)]


def test_a_bias_makes_rarer_and_commoner() -> None:
    """A negative bias makes characters rare, a positive one common; twice half of it is the same."""
    plain, rare = text(small(), length=2000), text(small(), length=2000, bias=("ab=-6",))
    assert rare.count("a") + rare.count("b") < 0.1 * (plain.count("a") + plain.count("b"))
    assert text(small(), length=200, bias=("c=50",)) == "c" * 200
    halves = text(small(), length=200, bias=("a=-1", "ab=-1", "b=-1"))
    assert halves == text(small(), length=200, bias=("ab=-2",))


@pytest.mark.parametrize("name", ["stop", "until", "ban", "bias"])
def test_half_a_surrogate_pair_is_refused_by_a_byte_model(name: str) -> None:
    """What has no bytes cannot be looked for among bytes: a ConfigError that names the option."""
    value: Any = {"ban": "\ud800", "bias": ("\ud800=1",)}.get(name, ("\ud800",))
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=rf"^--{name}.*U\+D800"):
        request(random_model(vocabulary=None), **settings)
    with pytest.raises(ConfigError, match=r"^prompt.*U\+D800"):
        request(random_model(vocabulary=None), prompt="\ud800")


@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"repetition_penalty": 1e39, "temperature": 0}])
def test_extreme_weights_write_allowed_characters(settings: dict[str, Any]) -> None:
    """A model whose weights overflow writes characters that are allowed, whatever they are."""
    model = random_model(scale=5e37)
    with np.errstate(all="ignore"):
        found = text(model, length=50, ban="\n", **settings)
    assert len(found) == 50
    assert set(found) <= set(ALPHABET) - {"\n"}
