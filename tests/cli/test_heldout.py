"""What ``charrnn train`` says where the held-out part is unlike the training part."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cli.test_texts import MOW, QUICK
from tests.conftest import Charrnn
from tests.forkserver import Result

GREEK = "θάλασσα και ουρανός, νύχτα μετά τη νύχτα\n" * 20
SAYS_LITTLE = "verdict     the validation loss says little: "


def run(charrnn: Charrnn, *arguments: object) -> Result:
    """A training of a few steps that works."""
    result = charrnn("train", *arguments, *QUICK)
    assert result.status == 0, result.err
    return result


@pytest.fixture
def two_scripts(tmp_path: Path) -> Path:
    """A text whose last tenth, and only that, is in another script."""
    path = tmp_path / "two.txt"
    path.write_text(MOW * 7 + GREEK)
    return path


def test_another_script_at_the_end_is_named_at_both_ends(charrnn: Charrnn, two_scripts: Path) -> None:
    """The start says that the held-out part is another text; so does the verdict, and names its letters."""
    result = run(charrnn, two_scripts)
    (start,) = (line for line in result.err.splitlines() if "another kind of text" in line)
    assert start.startswith("validation: the held-out part is another kind of text than the training part")
    assert "--val" in start
    assert "--lines" in start
    (verdict,) = (line for line in result.out.splitlines() if line.startswith("verdict"))
    assert verdict.startswith(SAYS_LITTLE)
    assert "overfitting" not in verdict
    text = two_scripts.read_text()
    learnt, held_out = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    share = 100 * sum(letter not in learnt for letter in held_out) / len(held_out)
    assert f"{share:.2g}% of the held-out characters" in verdict
    assert "τ" in verdict
    assert max(map(len, result.out.splitlines())) < 600


def test_a_resumed_training_says_so_again(charrnn: Charrnn, two_scripts: Path) -> None:
    """Going on with the run names the difference, and ends with the same verdict."""
    run(charrnn, two_scripts)
    again = charrnn("train", two_scripts, "--resume", "--steps", 6)
    assert again.status == 0, again.err
    assert "another kind of text" in again.err
    assert SAYS_LITTLE in again.out


def test_bytes_of_another_script(charrnn: Charrnn, two_scripts: Path) -> None:
    """A byte model's training names bytes."""
    result = run(charrnn, two_scripts, "--tokenizer", "byte")
    assert "validation: the held-out part is another kind of text" in result.err
    assert "of the held-out bytes" in result.out
    assert "\\xcf" in result.out


@pytest.mark.parametrize("flags", [(), ("--lines",), ("--min-count", 2)])
def test_another_text_to_validate_on(charrnn: Charrnn, tmp_path: Path, flags: tuple[object, ...]) -> None:
    """With --val FILE that file is named, and another one advised."""
    (tmp_path / "a.txt").write_text(MOW + "z")
    (tmp_path / "b.txt").write_text(MOW[:200] + GREEK)
    result = run(charrnn, "a.txt", "--val", "b.txt", *flags)
    assert "validation: b.txt is another kind of text than the training part" in result.err
    assert "name another --val" in result.err
    assert SAYS_LITTLE + "b.txt" in result.out
    assert ("or has fewer than 2 times" in result.out) == ("--min-count" in flags)


def test_pairs_of_rare_characters(charrnn: Charrnn, tmp_path: Path) -> None:
    """Where every pair has a character of its own, those that are held out are counted."""
    pairs = "".join(f"{chr(0x4E00 + number)}\tone\n" for number in range(40))
    (tmp_path / "pairs.tsv").write_text(pairs)
    result = run(charrnn, "pairs.tsv", "--pairs")
    assert "17% of the held-out characters are such as training lacks" in result.out  # one in six
    assert "--min-count 2" in result.out


def test_few_strange_characters_are_a_remark(charrnn: Charrnn, tmp_path: Path) -> None:
    """A character in some hundred takes part in the verdict, which stays; one in thousands is no matter."""
    (tmp_path / "few.txt").write_text(MOW * 3 + MOW.replace("59 men", "5µ men")[-900:])
    result = run(charrnn, "few.txt")
    assert "another kind" not in result.err + result.out
    size = len((tmp_path / "few.txt").read_text())
    share = 100 / (size - int(0.9 * size))
    assert f"({share:.2g}% of the held-out characters are such as training lacks: µ)" in result.out
    (tmp_path / "rare.txt").write_text(MOW * 6 + MOW.replace("59 men", "5µ men")[-900:])
    assert "training lacks" not in run(charrnn, "rare.txt").out


def test_at_most_twenty_characters_are_named(charrnn: Charrnn, tmp_path: Path) -> None:
    """Of many missing characters the most frequent are named, all printable, and the others counted."""
    letters = "".join(chr(0x4E00 + number) for number in range(50)) + "\x07"
    (tmp_path / "many.txt").write_text(MOW * 6 + "\x07" + letters * 20)
    result = run(charrnn, "many.txt")
    (verdict,) = (line for line in result.out.splitlines() if line.startswith("verdict"))
    assert "\\x07" in verdict
    assert "and 31 more" in verdict
    assert sum(letter in verdict for letter in letters) == 19


def test_an_ordinary_text_is_not_spoken_of(charrnn: Charrnn, tmp_path: Path) -> None:
    """A text that is like itself has a verdict of losses, and no warning."""
    lines = MOW.splitlines(keepends=True) * 5
    random.Random(0).shuffle(lines)
    (tmp_path / "plain.txt").write_text("".join(lines))
    result = run(charrnn, "plain.txt")
    assert "another kind" not in result.err + result.out
    assert "held-out" not in result.out


# -- line ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_mixed_line_ends_are_told(charrnn: Charrnn, tmp_path: Path, tokenizer: str) -> None:
    r"""A text of which some lines end in "\r\n" is said to have them; converted, there is nothing to say."""
    data = MOW.encode() * 3 + MOW.replace("\n", "\r\n").encode()
    (tmp_path / "mixed.txt").write_bytes(data)
    said = "line ends: 60 of 240 lines end in \\r\\n, the others in \\n; --newlines unix"
    assert said in run(charrnn, "mixed.txt", "--tokenizer", tokenizer, "-o", "a").err
    unix = run(charrnn, "mixed.txt", "--tokenizer", tokenizer, "--newlines", "unix", "-o", "b")
    assert "line ends" not in unix.err


@pytest.mark.parametrize("text", [MOW, MOW.replace("\n", "\r\n")])
def test_one_kind_of_line_end_is_not_told(charrnn: Charrnn, tmp_path: Path, text: str) -> None:
    """A text whose lines all end alike needs no hint."""
    (tmp_path / "same.txt").write_bytes(text.encode())
    assert "line ends" not in run(charrnn, "same.txt", "--tokenizer", "byte").err


def test_a_val_with_carriage_returns(charrnn: Charrnn, tmp_path: Path) -> None:
    """Where the text of --val has carriage returns and the corpus none, the remedy is named."""
    (tmp_path / "a.txt").write_text(MOW)
    (tmp_path / "b.txt").write_bytes(MOW.replace("\n", "\r\n").encode())
    result = run(charrnn, "a.txt", "--val", "b.txt")
    assert "60 of them are not in the corpus (--newlines unix" in result.err
