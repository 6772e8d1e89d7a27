"""Which texts are learnt, evaluated and compared with, as the command line reads them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from charrnn.model.file import ModelFile, load_model, save_model
from charrnn.text.recorded import recorded_split, whole_text
from tests.conftest import TINY, Charrnn, ModelWriter, random_model

QUICK = (*TINY, "--steps", 3, "--seed", 1)
MOW = "".join(f"{number} men went to mow, went to mow a meadow,\n" for number in range(60))
NAMES = [f"{first}{middle}{last}" for first in "BDKLMN" for middle in "aeio" for last in ("na", "ra", "lle")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of texts, in which the tests train."""
    path = tmp_path / "proj"
    (path / "part").mkdir(parents=True)
    (path / "mow.txt").write_text(MOW)
    (path / "part" / "more.txt").write_text(MOW.upper())
    return path


def model_of(directory: Path) -> ModelFile:
    """The model of a run."""
    return load_model(directory / "model.safetensors")


def learnt(directory: Path) -> list[str]:
    """The lines that a run's model learnt or held out."""
    model = model_of(directory)
    return whole_text(model.corpus, model.tokenizer).split("\n")[:-1]


def split_lines(model: ModelFile, split: str) -> list[str]:
    """The lines of a model's training or validation split."""
    assert split in ("training", "validation")
    text = recorded_split(model.corpus, model.tokenizer, "training" if split == "training" else "validation")
    return model.tokenizer.decode(text.ids).split("\n")[:-1]


def figures(output: str) -> dict[str, float]:
    """The figures of the first row of ``evaluate --json``."""
    row = json.loads(output)["results"][0]
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


# -- directories -------------------------------------------------------------------------------------------


def test_a_directory_does_not_learn_the_runs_that_lie_in_it(charrnn: Charrnn, folder: Path) -> None:
    """A run below the corpus is no part of it when it is trained, resumed, evaluated or compared with."""
    first = charrnn("train", ".", *QUICK, cwd=folder)
    assert first.status == 0, first.err
    own = folder / "runs" / "proj"
    (own / "notes.txt").write_text("ÄÖÜ\n" * 50)
    resumed = charrnn("train", ".", "--resume", cwd=folder)
    assert resumed.status == 0, resumed.err
    assert charrnn("evaluate", cwd=folder).status == 0
    novel = charrnn("sample", "--lines", 2, "--novel", "-n", 20, "-s", 1, cwd=folder)
    assert novel.status == 0, novel.err
    again = charrnn("train", ".", "-o", "part/deep/other", *QUICK, cwd=folder)
    assert again.status == 0, again.err
    assert "1 run directory passed over" in again.err
    other = model_of(folder / "part" / "deep" / "other")
    assert other.tokenizer.describe() == model_of(own).tokenizer.describe()
    assert other.corpus["sha256"] == model_of(own).corpus["sha256"]
    third = charrnn("train", ".", "-o", "third", *QUICK, cwd=folder)
    assert "2 run directories passed over" in third.err


def test_the_output_directory_is_no_part_of_the_corpus(charrnn: Charrnn, folder: Path) -> None:
    """What lies in the directory that a run is written to is not learnt, neither at first nor on resuming."""
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("ÄÖÜ\n" * 50)
    for flags in (("--force", *QUICK), ("--resume",)):
        result = charrnn("train", ".", "-o", "out", *flags, cwd=folder)
        assert result.status == 0, result.err
        assert "1 run directory passed over" in result.err
    assert "Ä" not in model_of(folder / "out").tokenizer.describe()["vocabulary"]


def test_a_corpus_that_is_its_own_run_can_be_resumed(charrnn: Charrnn, folder: Path) -> None:
    """Where the run is written beside the texts, its files are left out and the texts are learnt."""
    for flags in (("--force", *QUICK), ("--resume",)):
        result = charrnn("train", ".", "-o", ".", *flags, cwd=folder)
        assert result.status == 0, result.err
    assert model_of(folder).corpus["characters"] == 2 * len(MOW)


def test_files_that_cannot_be_read_are_named(charrnn: Charrnn, folder: Path) -> None:
    """The first three files of a directory that cannot be read are named with the reason, others counted."""
    (folder / "b.txt").write_bytes(b"caf\xe9\n")
    (folder / "c.gz").write_bytes(gzip.compress(b"text" * 99)[:-9])
    (folder / "d.png").write_bytes(b"\x89PNG\0")
    (folder / "e.txt").write_bytes(b"\xff")
    (folder / "empty").touch()
    (folder / "link").symlink_to("part")
    result = charrnn("train", ".", "-o", "../run", *QUICK, cwd=folder)
    assert result.status == 0, result.err
    assert "6 files skipped" in result.err
    skipped = [line for line in result.err.splitlines() if line.startswith("skipped")]
    assert skipped == [
        "skipped link: a link to a directory",
        "skipped b.txt: byte 0xe9 is not utf-8, at offset 3",
        "skipped c.gz: damaged gz file: Compressed file ended before the end-of-stream marker was reached",
        "skipped 2 more files for such reasons",
    ]
    evaluated = charrnn("evaluate", "-m", "../run", ".", cwd=folder)
    assert "skipped b.txt: byte 0xe9" in evaluated.err


# -- lines of several files --------------------------------------------------------------------------------


def test_every_file_ends_its_last_line(charrnn: Charrnn, tmp_path: Path) -> None:
    """With --lines, a file without a final newline ends its last item all the same."""
    (tmp_path / "a").write_text("Ann\nMia")
    (tmp_path / "b").write_text("Zoe\nBo\n")
    result = charrnn("train", "a", "b", "--lines", "-o", "run", "--val-fraction", 0, *QUICK)
    assert result.status == 0, result.err
    model = model_of(tmp_path / "run")
    assert split_lines(model, "training") == ["Ann", "Mia", "Zoe", "Bo"]
    assert charrnn("train", "--resume", "-o", "run").status == 0


def test_a_directory_of_names_is_a_list(charrnn: Charrnn, tmp_path: Path) -> None:
    """Files of one name each, without newlines, are as many items, and some of them are held out."""
    (tmp_path / "names").mkdir()
    for name in NAMES[:40]:
        (tmp_path / "names" / name).write_text(name)
    result = charrnn("train", "names", "--lines", "-o", "run", *QUICK)
    assert result.status == 0, result.err
    model = model_of(tmp_path / "run")
    training, held_out = split_lines(model, "training"), split_lines(model, "validation")
    assert (len(training), len(held_out)) == (36, 4)
    assert sorted(training + held_out) == sorted(NAMES[:40])


def test_several_files_to_compare_with_are_not_glued(
    charrnn: Charrnn, tmp_path: Path, write_model: ModelWriter
) -> None:
    """The last line of one --against file and the first of the next are two lines."""
    path = write_model(random_model(vocabulary="\nab", scale=0.1))
    (tmp_path / "1").write_text("a")
    (tmp_path / "2").write_text("b\r\naa\r\n")
    flags = ("--lines", 60, "-n", 3, "-s", 1, "--temp", 1)
    plain = charrnn("sample", "-m", path, *flags)
    assert {"a", "b", "aa", "ab"} <= {*plain.out.splitlines()}
    novel = charrnn("sample", "-m", path, *flags, "--novel", "--against", "1", "--against", "2")
    assert novel.status == 0, novel.err
    assert {*novel.out.splitlines()} == {"ab", "ba", "bb"}


def test_no_line_is_both_learnt_and_held_out(charrnn: Charrnn, tmp_path: Path) -> None:
    """Of lines that are repeated, all copies are learnt or all are held out, about a tenth of them."""
    draw = random.Random(0)
    lines = [draw.choice(NAMES) for _ in range(1200)]
    (tmp_path / "names").write_text("".join(f"{line}\n" for line in lines))
    result = charrnn("train", "names", "--lines", "-o", "run", *QUICK)
    assert result.status == 0, result.err
    model = model_of(tmp_path / "run")
    training, held_out = split_lines(model, "training"), split_lines(model, "validation")
    assert sorted(training + held_out) == sorted(lines)
    assert not {*training} & {*held_out}
    assert 100 <= len(held_out) <= 120
    assert figures(charrnn("evaluate", "-m", "run", "--json").out)["characters"] == sum(
        len(line) + 1 for line in held_out
    )


def test_lines_that_cannot_be_held_out_are_reported(charrnn: Charrnn, tmp_path: Path) -> None:
    """Where every line has more copies than may be held out, all are learnt, and the start says so."""
    (tmp_path / "ab").write_text("aaa\nbbb\n" * 50)
    result = charrnn("train", "ab", "--lines", "-o", "run", *QUICK)
    assert "validation: none, since each line has too many copies" in result.err
    assert result.out.splitlines()[1].startswith("training ")


def test_models_of_lines_from_before_keep_their_split(charrnn: Charrnn, tmp_path: Path) -> None:
    """A model file that does not say how lines were held out is evaluated on what its version held out."""
    lines = [NAMES[number % 30] for number in range(200)]
    (tmp_path / "a").write_text("\r\n".join(lines[:101]))
    (tmp_path / "b").write_text("\n".join(lines[101:]))
    text = (tmp_path / "a").read_bytes().decode() + (tmp_path / "b").read_text() + "\n"
    assert charrnn("train", "a", "b", "--lines", "-o", "run", *QUICK).status == 0
    model = model_of(tmp_path / "run")
    recorded = {name: value for name, value in model.corpus.items() if name not in ("rules", "column")}
    recorded["bytes"] = len(text) - 1  # which that version counted before it ended the last line
    vocabulary = random_model(vocabulary="".join(sorted({*text})))
    old = dataclasses.replace(vocabulary, corpus=recorded)
    (tmp_path / "old").mkdir()
    save_model(tmp_path / "old" / "model.safetensors", old)
    glued = text.split("\n")[:-1]  # 199 lines, of which the 101st consists of two
    chosen = {*np.random.default_rng(0).permutation(199)[:19].tolist()}
    expected = sum(len(line) + 1 for number, line in enumerate(glued) if number in chosen)
    found = charrnn("evaluate", "-m", "old", "--json")
    assert found.status == 0, found.err
    assert figures(found.out)["characters"] == expected
    assert split_lines(old, "validation") == [line for n, line in enumerate(glued) if n in chosen]


# -- line ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_items_do_not_end_in_carriage_returns(charrnn: Charrnn, tmp_path: Path, tokenizer: str) -> None:
    """Of CRLF lines, an item is what stands before the CR, in characters and bytes, at the end too."""
    (tmp_path / "names").write_bytes("\r\n".join(NAMES).encode() + b"\r")
    result = charrnn("train", "names", "--lines", "--tokenizer", tokenizer, "-o", "run", *QUICK)
    assert result.status == 0, result.err
    model = model_of(tmp_path / "run")
    assert sorted(split_lines(model, "training") + split_lines(model, "validation")) == sorted(NAMES)
    assert charrnn("sample", "-m", "run", "--lines", 3, "--novel", "-n", 9, "-s", 1).status == 0


def test_carriage_returns_alone_are_pointed_out(charrnn: Charrnn, tmp_path: Path) -> None:
    """A text whose lines end in CR alone is learnt with a hint, and as lines refused with the same one."""
    (tmp_path / "old.txt").write_text(MOW.replace("\n", "\r"), newline="")
    plain = charrnn("train", "old.txt", "-o", "run", *QUICK)
    assert "--newlines unix" in plain.err
    lines = charrnn("train", "old.txt", "--lines", "-o", "lines", *QUICK)
    assert (lines.status, lines.err.count("\n")) == (1, 1)
    assert "add --newlines unix" in lines.err
    for tokenizer in ("char", "byte"):
        flags = ("--newlines", "unix", "--tokenizer", tokenizer, "--lines", "-o", tokenizer)
        unix = charrnn("train", "old.txt", *flags, *QUICK)
        assert unix.status == 0, unix.err
        assert "--newlines" not in unix.err
        assert sorted(learnt(tmp_path / tokenizer)) == sorted(MOW.splitlines())
        assert charrnn("evaluate", "-m", tokenizer).status == 0


def test_other_line_ends_are_named_and_converted(
    charrnn: Charrnn, tmp_path: Path, write_model: ModelWriter
) -> None:
    """A CRLF text and a model of LF text: unknown characters are named, and --newlines unix converts them."""
    path = write_model()
    (tmp_path / "lf").write_text("Hello\nthere\n")
    (tmp_path / "crlf").write_text("Hello\r\nthere\r\nö\n", newline="")
    result = charrnn("evaluate", "-m", path, "crlf")
    named = "crlf: 3 unknown characters: '\\r' (2), '\\xf6' (1) (--newlines unix reads \"\\r\\n\" as \"\\n\")"
    assert named in result.err.splitlines()
    assert named not in charrnn("evaluate", "-m", path, "crlf", "-q").err
    (tmp_path / "crlf").write_text("Hello\r\nthere\r\n", newline="")
    converted = charrnn("evaluate", "-m", path, "crlf", "--newlines", "unix", "--json")
    same = charrnn("evaluate", "-m", path, "lf", "--json")
    assert figures(converted.out) == figures(same.out)
    assert "unknown" not in converted.err


# -- columns of tables -------------------------------------------------------------------------------------

TABLE = '\n"id","name, full",town\n1,"Ann ""A."" Lee",x\n\n2, ,y\n3,"Zo\u00eb\nMay",\n4\n5,Bo ,"z,z"\n'
CELLS = ['Ann "A." Lee', "Zo\u00eb May", "Bo"]


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("names.csv", TABLE, "name, full"),
        ("names.csv", TABLE, "2"),
        ("names.CSV.gz", TABLE, "2"),
        ("names.tsv", "id\tname\n1\tAnn, Lee\n\n3\t\n2\tBo\n", "name"),
        ("twice.csv", "name,name,,2\nx,Ann,y,1\nx,Bo,y,1\n", "name.1"),
        ("twice.csv", "n,m,,2\nx,y,Ann,1\nx,y,Bo,1\n", "Unnamed: 2"),
        ("twice.csv", "n,m,,2\nx,y,z,Ann\nx,y,z,Bo\n", "2"),
        ("marked.csv", "\ufeffname\r\nAnn\r\nBo", "name"),
    ],
)
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_a_column_is_a_list(
    charrnn: Charrnn, tmp_path: Path, name: str, table: str, column: str, tokenizer: str
) -> None:
    """--column takes a name from the header or a number from 1; blank cells are no items."""
    data = table.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    flags = ("--lines", "--column", column, "--tokenizer", tokenizer, "--val-fraction", 0, "-o", "run")
    result = charrnn("train", name, *flags, *QUICK)
    assert result.status == 0, result.err
    expected = CELLS if table == TABLE else ["Ann, Lee", "Bo"] if name.endswith(".tsv") else ["Ann", "Bo"]
    assert split_lines(model_of(tmp_path / "run"), "training") == expected


def test_a_column_is_remembered(charrnn: Charrnn, tmp_path: Path) -> None:
    """Resuming, evaluating and comparing read the same column; other texts are read as lines."""
    rows = "".join(f"{number},{name}\n" for number, name in enumerate(NAMES))
    (tmp_path / "names.csv").write_text(f"id,name\n{rows}")
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in NAMES))
    flags = ("--lines", "--column", "name", *TINY, "--seed", 1)
    assert charrnn("train", "names.csv", "-o", "run", *flags, "--steps", 3).status == 0
    resumed = charrnn("train", "names.csv", "-o", "run", "--resume", "--column", "name")
    assert resumed.status == 0, resumed.err
    refused = charrnn("train", "-o", "run", "--resume", "--column", "id")
    assert refused.status == 2
    assert "--column" in refused.err
    own = charrnn("evaluate", "-m", "run", "--json")
    assert figures(own.out)["characters"] == sum(
        len(line) + 1 for line in split_lines(model_of(tmp_path / "run"), "validation")
    )
    table, plain = (charrnn("evaluate", "-m", "run", name, "--json") for name in ("names.csv", "names.txt"))
    assert figures(table.out) == figures(plain.out)
    assert figures(table.out)["characters"] == sum(len(name) + 1 for name in NAMES)
    piped = charrnn("evaluate", "-m", "run", "-", "--json", input="".join(f"{name}\n" for name in NAMES))
    assert figures(piped.out) == figures(plain.out)
    against = charrnn(
        "sample", "-m", "run", "--lines", 2, "--novel", "-n", 9, "-s", 1, "--against", "names.csv"
    )
    assert against.status == 0, against.err
    assert learnt(tmp_path / "run") == NAMES


def test_directories_and_pipes_of_tables(charrnn: Charrnn, tmp_path: Path) -> None:
    """In a directory only tables are read for a column, and what is piped in is read as .csv."""
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "1.csv").write_text("name\nAnn\nBo")
    (tmp_path / "all" / "2.tsv").write_text("town\tname\nx\tZoe\n")
    (tmp_path / "all" / "README.txt").write_text("about\n")
    flags = ("--lines", "--column", "name", "--val-fraction", 0, *QUICK)
    result = charrnn("train", "all", "-o", "run", *flags)
    assert result.status == 0, result.err
    assert "skipped all/README.txt: not .csv or .tsv" in result.err
    assert split_lines(model_of(tmp_path / "run"), "training") == ["Ann", "Bo", "Zoe"]
    piped = charrnn("train", "-", "-o", "piped", *flags, input="name,x\nAnn,1\nBo,2\n")
    assert piped.status == 0, piped.err
    assert model_of(tmp_path / "piped").corpus["characters"] == len("Ann\nBo\n")


@pytest.mark.parametrize(
    ("name", "table", "flags", "message"),
    [
        ("a.csv", "id,name\n1,Ann\n", ("--column", "town"), "no such column; there are 2 columns: id, name"),
        ("a.csv", "id,name\n1,Ann\n", ("--column", "3"), "--column 3: no such column"),
        ("a.csv", "id,name\n1,Ann\n", ("--column", "9" * 5000), "no such column"),
        ("a.csv", "id,name\n1,Ann\n2,Bo,Lee\n", ("--column", "name"), "line 3 has 3 cells and the header 2"),
        ("a.csv", "name\rAnn\rBo\r", ("--column", "name"), "add --newlines unix"),
        ("a.csv", "name\n\n", ("--column", "name"), "a.csv: empty"),
        ("a.txt", "name\nAnn\n", ("--column", "name"), "a.txt: not .csv or .tsv"),
        ("a.csv", "a,b\n1,2\n", ("--column", "a", "--column", "b"), "--lines learns one column"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused(
    charrnn: Charrnn, tmp_path: Path, name: str, table: str, flags: tuple[str, ...], message: str
) -> None:
    """A column that is not there, a row that is too long and a file that is no table are one line each."""
    (tmp_path / name).write_text(table, newline="")
    result = charrnn("train", name, "--lines", *flags, "-o", "run", *QUICK)
    assert result.status in (1, 2)
    assert result.err.count("\n") == 1
    assert message in result.err


def test_a_column_without_lines_is_refused(charrnn: Charrnn, tmp_path: Path) -> None:
    """--column is for items: without --lines it would do nothing, and says so."""
    (tmp_path / "a.csv").write_text("name\nAnn\nBo\n")
    result = charrnn("train", "a.csv", "--column", "name", *QUICK)
    assert result.status == 2
    assert "add --lines" in result.err


# -- another text for validation ---------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--lines",), ("--min-count", 70), ("--tokenizer", "byte")])
def test_another_text_can_be_validated_on(
    charrnn: Charrnn, tmp_path: Path, flags: tuple[object, ...]
) -> None:
    """With --val the corpus is learnt whole, and the figure is evaluate's, unknown characters included."""
    (tmp_path / "mow.txt").write_text(MOW)
    (tmp_path / "other.txt").write_text("60 Men went\nto mëw,\n\nwent tö")
    result = charrnn("train", "mow.txt", "--val", "other.txt", "-o", "run", *flags, *QUICK)
    assert result.status == 0, result.err
    assert "validation: other.txt, " in result.err
    model = model_of(tmp_path / "run")
    training = recorded_split(model.corpus, model.tokenizer, "training")
    assert training.characters == model.corpus["characters"] == len(MOW)
    own = figures(charrnn("evaluate", "-m", "run", "--json").out)
    named = figures(charrnn("evaluate", "-m", "run", "--json", "other.txt").out)
    assert own == named
    assert own["nats_per_character"] == pytest.approx(model.quality["nats_per_character"], rel=1e-5)
    assert own["characters"] == model.quality["characters"]
    if not flags:
        assert own["unknown"] == 3


def test_a_validation_text_is_remembered(charrnn: Charrnn, tmp_path: Path) -> None:
    """Resuming and evaluating find the validation text again, moved if the place is named, or refuse it."""
    (tmp_path / "mow.txt").write_text(MOW)
    (tmp_path / "other.txt").write_text(MOW.upper())
    train = ("train", "mow.txt", "--val", "other.txt", "-o", "run", *QUICK)
    assert charrnn(*train).status == 0
    assert charrnn("train", "mow.txt", "--resume", "-o", "run").status == 0
    assert charrnn("train", "--val", "other.txt", "--resume", "-o", "run").status == 0
    (tmp_path / "other.txt").rename(tmp_path / "moved.txt")
    missing = charrnn("train", "--resume", "-o", "run")
    assert missing.status == 1
    assert "other.txt: no such file" in missing.err
    assert charrnn("train", "--resume", "-o", "run", "--val", "moved.txt").status == 0
    (tmp_path / "other.txt").write_text(MOW.upper() + "X")
    for command in (("train", "--resume", "-o", "run"), ("evaluate", "-m", "run")):
        changed = charrnn(*command)
        assert (changed.status, changed.err.count("\n")) == (1, 1)
        assert "other.txt: " in changed.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--val", "other.txt", "--val-fraction", 0.2), "--val and --val-fraction"),
        (("--val", "nowhere"), "nowhere: no such file"),
        (("--val", "-"), "-: --val needs a file"),
        (("--val", "greek.txt"), "greek.txt: none of its characters"),
    ],
)
def test_validation_texts_that_cannot_be_used_are_refused(
    charrnn: Charrnn, tmp_path: Path, flags: tuple[object, ...], message: str
) -> None:
    """A validation text that is missing, a pipe or in other characters is an error of one line."""
    (tmp_path / "mow.txt").write_text(MOW)
    (tmp_path / "other.txt").write_text(MOW)
    (tmp_path / "greek.txt").write_text("\u03b1\u03b2")
    result = charrnn("train", "mow.txt", "-o", "run", *flags, *QUICK)
    assert result.status in (1, 2)
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_run_without_a_validation_text_does_not_get_one(charrnn: Charrnn, tmp_path: Path) -> None:
    """A run that holds out a part of its corpus refuses --val when it is resumed."""
    (tmp_path / "mow.txt").write_text(MOW)
    assert charrnn("train", "mow.txt", "-o", "run", *QUICK).status == 0
    result = charrnn("train", "--resume", "-o", "run", "--val", "mow.txt")
    assert result.status == 2
    assert "--val mow.txt: this run was begun with None" in result.err
