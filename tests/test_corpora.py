"""The text that ships is written, long and plain; the programs that write pairs compute right."""

from __future__ import annotations

import collections
import datetime
import lzma
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import PLAY, ROOT

TEXT = PLAY.read_text(encoding="utf-8")


def test_the_play_is_long_enough() -> None:
    """There are at least 120,000 characters to learn from."""
    assert len(TEXT) >= 120_000


def test_the_play_is_written_not_assembled() -> None:
    """The strongest compression leaves at least 0.30 of it, so it is no template filled in."""
    packed = lzma.compress(PLAY.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    assert len(packed) / PLAY.stat().st_size >= 0.30


def test_no_long_line_is_repeated() -> None:
    """No line of more than forty characters stands in it more than three times."""
    counts = collections.Counter(line for line in TEXT.splitlines() if len(line) > 40)
    assert counts.most_common(1)[0][1] <= 3


def test_the_play_is_plain_text() -> None:
    """It is ASCII with newlines only, without tabs or blanks at line ends, and ends with a newline."""
    assert TEXT.isascii()
    assert all(character == "\n" or character.isprintable() for character in TEXT)
    assert all(line == line.rstrip() for line in TEXT.split("\n"))
    assert TEXT.endswith("\n")
    assert not TEXT.endswith("\n\n")


def test_speakers_stand_on_their_own_lines() -> None:
    """Speakers are named in capitals on lines of their own, and there are several of them."""
    speakers = collections.Counter(
        line for line in TEXT.splitlines() if line.endswith(":") and line == line.upper()
    )
    assert len([name for name, lines in speakers.items() if lines >= 10]) >= 8


def test_the_shipped_texts_are_described() -> None:
    """The README beside the texts names each of them, its licence, and where the well-known ones are."""
    readme = ROOT / "corpora" / "README.md"
    if not readme.exists():
        pytest.fail("corpora/README.md is missing")
    text = readme.read_text(encoding="utf-8")
    for path in [*readme.parent.glob("*.txt"), *readme.parent.glob("*.py")]:
        assert path.name in text or path.name == "pairs.py"
    for name in ("CC0", "Shakespeare", "text8", "enwik8", "Nottingham", "Linux"):
        assert name in text, name


# -- programs that write pairs -------------------------------------------------------------------------


def write_pairs(arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``python corpora/ARGUMENTS`` writes, and how it ends."""
    program, *rest = arguments.split()
    line = [sys.executable, "-W", "error", str(ROOT / "corpora" / program), *rest]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def pairs(arguments: str, count: int) -> list[tuple[str, str]]:
    """The pairs of a program that succeeds: as many as asked for, and no source twice."""
    done = write_pairs(f"{arguments} --pairs {count}")
    assert (done.returncode, done.stderr) == (0, "")
    split = [tuple(line.split("\t")) for line in done.stdout.splitlines()]
    found = [(source, target) for source, target in split]
    assert len({source for source, _ in found}) == len(found) == count
    assert done.stdout.isascii()
    return found


@pytest.mark.parametrize("nesting", [0, 1, 2, 5, 9])
def test_programs_print_their_targets(nesting: int) -> None:
    """The target of every program is what Python prints when it runs the program."""
    for source, target in pairs(f"execute.py --nesting {nesting} --digits 4 --seed 3", 300):
        printed: list[Any] = []
        program = source.replace(";", "\n")
        exec(program, {"__builtins__": {"range": range, "print": printed.append}})
        assert [str(value) for value in printed] == [target], source
        assert all(len(number) <= 4 for number in re.findall(r"\d+", source))


def test_programs_contain_every_operation() -> None:
    """Single operations are each of the six, about equally often, and only they are."""
    shapes = {
        r"print\(\(\d+\+\d+\)\)": 0,
        r"print\(\(\d+-\d+\)\)": 0,
        r"print\(\((\d\*\d+|\d+\*\d)\)\)": 0,
        r"([a-wyz])=\d+;print\(\1\)": 0,
        r"([a-wyz])=\d+;for x in range\([1-9]\):\1[+-]=\d+;print\(\1\)": 0,
        r"print\(\(\d+ if \d+[<>]\d+ else \d+\)\)": 0,
    }
    for source, _ in pairs("execute.py", 1000):
        (shape,) = [shape for shape in shapes if re.fullmatch(shape, source)]
        shapes[shape] += 1
    assert min(shapes.values()) > 120


def test_nesting_says_how_many_operations_there_are() -> None:
    """A program of nesting N has N operations, a loop's assignment counted with it."""
    for source, _ in pairs("execute.py --nesting 3", 500):
        # A loop holds two of these signs beside its assignment's, an expression one.
        signs = re.findall(r"[+\-*]=|[a-z]=|if|[+\-*](?!=)", source)
        assert len(signs) - source.count("for") == 3, source


@pytest.mark.parametrize("digits", [1, 3, 9])
def test_sums_are_right(digits: int) -> None:
    """Every sum is that of its two numbers, which have no more digits than allowed; all of one digit come."""
    found = pairs(f"execute.py --task addition --digits {digits}", 100)
    for source, target in found:
        left, right = source.split("+")
        assert (str(int(left)), str(int(right)), max(len(left), len(right)) <= digits) == (left, right, True)
        assert str(int(left) + int(right)) == target
    assert len(found) == 100


DAYS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth",
    "twenty-fifth", "twenty-sixth", "twenty-seventh", "twenty-eighth",
    "twenty-ninth", "thirtieth", "thirty-first",
]  # fmt: skip


def read_date(text: str) -> datetime.date:
    """The date that a text means, found slowly: by what its parts can be, not by its form."""
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    roman = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]
    if re.fullmatch(r"\d{8}", text):
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    month, numbers, weekday = None, [], None
    for part in re.findall(r"twenty-\w+|thirty-\w+|\d+|[a-z]+", text.lower()):
        if part.isdigit():
            numbers.append(part)
        elif part in DAYS:
            numbers.append(str(DAYS.index(part) + 1))
        elif part[:3] in months:
            month = months.index(part[:3]) + 1
        elif part in roman:
            month = roman.index(part) + 1
        elif part.endswith("day") or (len(part) == 3 and part != "the"):
            weekday = part[:3]
        else:
            assert part in {"the", "of", "st", "nd", "rd", "th"}, text
    years = [number for number in numbers if len(number) == 4]
    year = years[0] if years else numbers[-1]
    numbers.remove(year) if years else numbers.pop()
    if month is None:
        day_first = "." in text and not text.startswith(year)
        month = int(numbers.pop(1 if day_first else 0))
    (day,) = numbers
    full = int(year) if years else int(year) + (1900 if int(year) >= 69 else 2000)
    date = datetime.date(full, month, int(day))
    assert weekday is None or date.strftime("%a").lower() == weekday, text
    ordinal = re.search(r"\d+(st|nd|rd|th)", text.lower())
    if ordinal:
        last = "th" if date.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
        assert ordinal[1] == last, text
    return date


def test_dates_are_what_a_slow_reader_finds() -> None:
    """Every target is the ISO form of the date that an independent reader finds in the source."""
    for source, target in pairs("dates.py --seed 5", 4_000):
        assert read_date(source).isoformat() == target, source


def test_dates_come_in_many_forms() -> None:
    """There are at least 34 forms, and they cover two centuries."""
    found = pairs("dates.py", 4_000)
    letters = re.compile(r"[A-Za-z]{4,}|(?i:may)")
    forms = {re.sub(r"\d+", "0", letters.sub("a", source.lower())) for source, _ in found}
    assert len(forms) >= 34
    years = {target[:4] for _, target in found}
    assert len(years) == 200


GOLDEN = {
    "execute.py --pairs 3": [
        "k=844;for x in range(3):k+=511;print(k)\t2377",
        "print((477-784))\t-307",
        "print((505-618))\t-113",
    ],
    "execute.py --pairs 2 --nesting 3 --digits 2 --seed 8": [
        "l=(13 if 70<9 else 23);print((l*5))\t115",
        "print((((83+2)*9)+99))\t864",
    ],
    "execute.py --pairs 2 --task addition --seed 9223372036854775807": ["316+631\t947", "803+453\t1256"],
    "dates.py --pairs 3 --seed 17": [
        "05/25/04\t2004-05-25",
        "12/4/1957\t1957-12-04",
        "11 April 2032\t2032-04-11",
    ],
}


@pytest.mark.parametrize("arguments", GOLDEN)
def test_pairs_are_those_of_the_seed(arguments: str) -> None:
    """The pairs of a seed are these, in every version of Python."""
    assert write_pairs(arguments).stdout.splitlines() == GOLDEN[arguments]


@pytest.mark.parametrize(
    "arguments",
    [
        "dates.py --pairs 0", "dates.py --pairs 1000001", "dates.py --pairs x", "dates.py --pairs 1.5",
        "dates.py --pairs nan", "dates.py --seed -1", "dates.py --seed 9223372036854775808",
        "dates.py --pairs", "dates.py --nesting 1", "dates.py file", "execute.py --nesting 10",
        "execute.py --nesting -1",
        "execute.py --digits 0", "execute.py --digits 10", "execute.py --digits \u0663",
        "execute.py --task sums",
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused_in_one_line(arguments: str) -> None:
    """An argument out of its range is one line that names the option, status 2, and no pair."""
    done = write_pairs(arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert arguments.split()[1].removeprefix("--") in done.stderr


def test_more_pairs_than_there_are_is_an_error() -> None:
    """Where there are fewer different sources than asked for, all of them are written, and a line says so."""
    done = write_pairs("execute.py --nesting 0 --digits 1 --pairs 10")
    assert sorted(done.stdout.splitlines()) == [f"print({number})\t{number}" for number in range(1, 10)]
    assert done.stderr == "execute.py: --pairs 10: only 9 different sources were found\n"
    assert done.returncode == 1


@pytest.mark.parametrize("program", ["execute.py", "dates.py"])
def test_a_reader_that_goes_away_is_no_error(program: str) -> None:
    """``| head -1`` gets its line, and nobody complains."""
    line = shlex.join([sys.executable, str(ROOT / "corpora" / program), "--pairs", "20000"])
    done = subprocess.run(f"{line} | head -1", shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("program", ["execute.py", "dates.py"])
def test_a_full_disk_is_one_line(program: str) -> None:
    """A device without room is one line that says so, and status 1."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
        line = [sys.executable, str(ROOT / "corpora" / program)]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{program}: stdout: No space left on device\n")
