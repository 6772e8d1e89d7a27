"""Options of ``charrnn train`` and ``evaluate`` whose values cannot act on a text are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.cli.main import run
from tests.conftest import TINY, ModelWriter, random_model

TEXT = "".join(f"{number} men went to mow, went to mow a meadow,\n" for number in range(60))
PAIRS = "".join(f"{number}\t{number + 1}\n" for number in range(60))
STEPS = ("--steps", "4", "--seed", "1")


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts in the test's directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mow.txt").write_text(TEXT)
    (tmp_path / "pairs.tsv").write_text(PAIRS)


BYTES = "no effect with --tokenizer byte, which decodes nothing: "
IDLE = [
    (("--tokenizer", "byte", "--encoding", "latin-1"), BYTES + "--encoding"),
    (("--tokenizer", "byte", "--min-count", "2"), BYTES + "--min-count"),
    (("--min-count", "2"), "no effect: --min-count 2, since every character is that frequent"),
    (("--size", "small"), "no effect with --hidden-size 32: --size"),
    (("--output", "all"), "no effect: --output all, since there is one layer"),
    (("--eval-every", "9"), "no effect: --eval-every 9, since there are 4 steps"),
    (("--without-ngram",), "no effect: --without-ngram, since none is counted here unless --with-ngram asks"),
    (("--eval-every", "4"), "no effect: --eval-every 4, since there are 4 steps"),
    (("--patience", "2", "--eval-every", "2"), "no effect: --patience 2, since there are 2 evaluations"),
    (("--patience", "1", "--eval-every", "4"), "no effect: --patience 1, since there is 1 evaluation"),
    (("--replicas", "40"), "no effect of more than --replicas"),
    (("--warmup", "0.2"), "no effect: --warmup 0.2, which is less than one of 4 steps"),
]
ACTING = [
    ("--tokenizer", "byte", "--newlines", "unix"),
    ("--encoding", "latin-1"),
    ("--val-fraction", "0"),
    ("--output", "all", "--embedding-size", "32"),
    ("--eval-every", "3"),
    ("--patience", "2", "--eval-every", "1"),
    ("--patience", "0"),
    ("--replicas", "1"),
    ("--warmup", "0.25"),
    ("--warmup", "0"),
    ("--save-every", "10s", "--keep-every", "10s", "--sample-every", "10s"),
]


def train(*arguments: str, capfd: pytest.CaptureFixture[str]) -> str:
    """The stderr of a little training that works."""
    status = run(["train", *map(str, TINY), *arguments])
    err = capfd.readouterr().err
    assert status == 0, err
    return err


@pytest.mark.parametrize(("flags", "said"), IDLE)
def test_training_names_values_that_cannot_act(
    flags: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A value that changes nothing for this text and this length is a line that says why."""
    assert said in train("mow.txt", *STEPS, *flags, capfd=capfd)


@pytest.mark.parametrize("flags", ACTING)
def test_training_is_silent_about_values_that_act(
    flags: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """What can act is not spoken of, nor is what has its default."""
    assert "no effect" not in train("mow.txt", *STEPS, *flags, capfd=capfd)


@pytest.mark.parametrize("name", ["save", "keep", "sample"])
def test_intervals_longer_than_the_training(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With --time, what is to happen less often than once is named with both lengths."""
    flags = ("--time", "1s", f"--{name}-every", "1m30s", "--seed", "1")
    said = f"no effect: --{name}-every 1m30s, since the training takes 1s"
    assert said in train("mow.txt", *flags, capfd=capfd)


def test_with_time_the_most_evaluations_are_known(capfd: pytest.CaptureFixture[str]) -> None:
    """With --time there are twenty at most, and a patience of as many never ends."""
    err = train("mow.txt", "--time", "1s", "--patience", "19", "--seed", "1", capfd=capfd)
    assert "no effect: --patience 19, since there are at most 20 evaluations" in err


def test_pairs_are_read_whole(capfd: pytest.CaptureFixture[str]) -> None:
    """With --pairs, --seq-length changes nothing."""
    err = train("pairs.tsv", "--pairs", *STEPS, "--seq-length", "9", capfd=capfd)
    assert "no effect with --pairs, which are read whole: --seq-length" in err


SCORED = [
    (("--reset", "9999"), "mow.txt: 2,", "so that the state never begins anew with --reset 9999"),
    (("--reset", "lines", "--streams", "4"), "mow.txt: no effect where the state begins anew", "--streams 4"),
    (("--reset", "10", "--streams", "4"), "mow.txt: no effect where the state begins anew", "--streams 4"),
    (("--heatmap", "--streams", "4"), "no effect with --heatmap", ": --streams"),
    (("--html", "a.html", "--device", "cpu"), "no effect with --html", ": --device"),
]


@pytest.mark.parametrize(("flags", "begin", "end"), SCORED)
def test_evaluation_names_values_that_cannot_act(
    write_model: ModelWriter, flags: tuple[str, ...], begin: str, end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A value that changes nothing for a text is a line with its name, on stderr."""
    model = str(write_model(random_model(vocabulary="".join(sorted(set(TEXT))))))
    assert run(["evaluate", "-m", model, "mow.txt", *flags]) == 0
    found = [line for line in capfd.readouterr().err.splitlines() if line.startswith(begin)]
    assert len(found) == 1
    assert found[0].endswith(end)


def test_a_single_line_and_a_long_segment(
    write_model: ModelWriter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Resetting at the lines of one line, and learning after the text's end, are named."""
    (tmp_path / "one.txt").write_text("went to mow")
    model = str(write_model())
    flags = ["--reset", "lines", "--dynamic", "--train", "one.txt", "--dynamic-segment", "50"]
    assert run(["evaluate", "-m", model, "one.txt", *flags]) == 0
    err = capfd.readouterr().err
    assert "one.txt: a single line, so that the state never begins anew with --reset lines" in err
    assert "one.txt: no effect: --dynamic, since it ends within the first --dynamic-segment" in err


def test_bytes_have_no_encoding(write_model: ModelWriter, capfd: pytest.CaptureFixture[str]) -> None:
    """A model of bytes has no use for --encoding; another model has, and defaults are not spoken of."""
    model = str(write_model(random_model(vocabulary=None)))
    assert run(["evaluate", "-m", model, "mow.txt", "--encoding", "latin-1"]) == 0
    assert "no effect: --encoding" in capfd.readouterr().err
    letters = str(write_model(random_model(vocabulary="".join(sorted(set(TEXT)))), "letters.safetensors"))
    for arguments in (["-m", model], ["-m", letters, "--encoding", "latin-1", "--reset", "lines"]):
        assert run(["evaluate", "mow.txt", *arguments]) == 0
        assert "effect" not in capfd.readouterr().err
