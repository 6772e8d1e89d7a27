"""Pairs through the command line: train, resume, answer, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charrnn as package
from tests.conftest import TINY, Charrnn, run_charrnn

SOURCES = [f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abcdef"]
SMALL = (*TINY, "--batch-size", 8, "--seed", 1)


def target(source: str) -> str:
    """The target of a source: its first two letters the other way round."""
    return source[1::-1]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with pairs.tsv, and the run of a model that learnt them."""
    where = tmp_path_factory.mktemp("pairs")
    (where / "pairs.tsv").write_text("".join(f"{source}\t{target(source)}\n" for source in SOURCES))
    result = run_charrnn("train", "pairs.tsv", "--pairs", "-o", "run", *SMALL, "--steps", 200, cwd=where)
    assert result.status == 0, result.err
    assert "exactly right" in result.err
    assert "--each SOURCES" in result.out
    return where


def test_it_answers(charrnn: Charrnn, learnt: Path) -> None:
    """The model writes the targets of sources, held-out ones too, from the shell and from Python."""
    result = charrnn("sample", "-m", "run", "--each", "-", cwd=learnt, input="\n".join(SOURCES))
    answers = result.out.splitlines()
    assert answers == [target(source) for source in SOURCES]
    assert package.load(learnt / "run").answer(SOURCES) == answers
    assert package.load(learnt / "run").answer(SOURCES[:9], beam=3) == answers[:9]
    (one,) = charrnn("sample", "-m", "run", "-p", SOURCES[5], cwd=learnt).out.splitlines()
    assert one == answers[5]


def test_evaluate_compares_answers_with_targets(charrnn: Charrnn, learnt: Path) -> None:
    """Exact matches, error rate, nats, and with --per-line each answer beside the truth."""
    test = learnt / "test.tsv"
    test.write_text("abc\tba\nbca\tcb\nccc\tab\n")
    found = json.loads(charrnn("evaluate", "-m", "run", "--json", test, cwd=learnt).out)["results"][0]
    assert (found["pairs"], found["exact"], found["errors"], found["characters"]) == (3, 2, 2, 6)
    assert found["character_error_rate"] == pytest.approx(2 / 6)
    assert found["nats_per_character"] == pytest.approx(found["nats"] / 9)
    assert found["character_accuracy"] == found["hits"] / 9
    assert 6 <= found["hits"] < 9  # two whole targets with their line ends, and not all of the third
    rows = charrnn("evaluate", "-m", "run", "--per-line", "-q", test, cwd=learnt).out.splitlines()
    assert rows[0].split("\t") == ["line", "exact", "errors", "nats", "source", "answer", "truth"]
    assert [row.split("\t")[4:] for row in rows[1:]] == [
        ["abc", "ba", "ba"],
        ["bca", "cb", "cb"],
        ["ccc", "cc", "ab"],
    ]
    nats = sum(float(row.split("\t")[3]) for row in rows[1:])
    assert nats == pytest.approx(found["nats"], abs=1e-3)
    table = charrnn("evaluate", "-m", "run", cwd=learnt).out.splitlines()
    assert table[1].split()[0] == "pairs"
    assert "100.00%" in table[1]


@pytest.mark.parametrize("flag", ["--baselines", "--dynamic", "--heatmap"])
def test_what_is_not_for_pairs_is_refused(charrnn: Charrnn, learnt: Path, flag: str) -> None:
    """Outputs that score a whole text are a usage error."""
    result = charrnn("evaluate", "-m", "run", flag, cwd=learnt)
    assert result.status == 2
    assert f"leave out {flag}" in result.err
    assert charrnn("export", "-m", "run", "page.html", cwd=learnt).status == 2


def test_a_bad_test_file_names_its_line(charrnn: Charrnn, learnt: Path) -> None:
    """A line that is no pair is one line with file and number, in training and in evaluation."""
    (learnt / "bad.tsv").write_text("abc\tba\nabc\n")
    for arguments in (("evaluate", "-m", "run", "bad.tsv"), ("train", "bad.tsv", "--pairs", "-o", "other")):
        result = charrnn(*arguments, cwd=learnt)
        assert result.status == 1
        assert result.err.startswith("charrnn: bad.tsv, line 2: no tab")
        assert result.err.count("\n") == 1
    assert not (learnt / "other").exists()


def test_a_resumed_run_stays_one_of_pairs(charrnn: Charrnn, learnt: Path) -> None:
    """--resume knows that the run learns pairs, and --lines contradicts it."""
    done = charrnn("train", "--resume", "-o", "run", cwd=learnt)
    assert "finished already" in done.err
    assert charrnn("train", "--resume", "-o", "run", "--lines", cwd=learnt).status == 2


def test_a_second_training_begins_with_the_first(charrnn: Charrnn, learnt: Path) -> None:
    """--init-from and --tokenizer byte go with --pairs, and samples show answers."""
    arguments = ("train", "pairs.tsv", "--pairs", "--init-from", "run", "-o", "second", "--threads", 1)
    result = charrnn(*arguments, "--steps", 5, "--sample-every", "0.001s", "--seed", 1, cwd=learnt)
    assert result.status == 0, result.err
    assert "matched" in result.err
    assert "--- sample at step" in result.err
    as_bytes = ("train", "pairs.tsv", "--pairs", "--tokenizer", "byte", "-o", "bytes", *SMALL)
    assert charrnn(*as_bytes, "--steps", 150, cwd=learnt).status == 0
    evaluated = charrnn("evaluate", "-m", "bytes", "--json", "pairs.tsv", cwd=learnt)
    found = json.loads(evaluated.out)["results"][0]
    assert found["pairs"] == len(SOURCES)
    assert found["exact_share"] > 0.5
