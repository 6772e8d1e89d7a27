"""``charrnn evaluate`` as a process: what it prints where, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path
from subprocess import run

import pytest

from charrnn.evaluation.evaluator import Evaluator, score_text
from charrnn.model.file import load_model, save_model
from charrnn.text.recorded import recorded_split
from tests.conftest import PLAY, Charrnn, ModelWriter, environment, random_model
from tests.forkserver import Result

COLUMNS = [
    "text",
    "model",
    "chars",
    "bytes",
    "unknown",
    "nats/char",
    "bits/char",
    "bits/byte",
    "perplexity",
    "computed",
]


def table(result: Result) -> list[dict[str, str]]:
    """The table's rows by column, columns being cut where the header says."""
    assert result.status == 0, result.err
    header, *lines = result.out.splitlines()
    assert header.split() == COLUMNS
    rows = []
    for line in lines:
        cells = [cell for cell in line.split("  ") if cell]
        rows.append(dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True)))
    return rows


def complaint(result: Result, status: int = 1) -> str:
    """The one line with which a command refused."""
    assert result.status == status
    assert result.stdout == b""
    assert len(result.err.splitlines()) == 1
    assert "Traceback" not in result.err
    return result.err


def test_stdin(charrnn: Charrnn, model_path: Path) -> None:
    """A text on stdin gives one row, whose figures are those of the Python function."""
    (row,) = table(charrnn("evaluate", "-m", model_path, "-", input="I like apples\n"))
    nats = -float(score_text(load_model(model_path), "I like apples\n").sum(dtype="float64")) / 14
    assert row["text"] == "-"
    assert [row[name] for name in COLUMNS[2:5]] == ["14", "14", "0"]
    assert float(row["nats/char"]) == pytest.approx(nats, abs=1e-4)
    assert float(row["bits/char"]) == pytest.approx(nats / math.log(2), abs=1e-4)
    assert float(row["perplexity"]) == pytest.approx(math.exp(nats), rel=1e-3)
    assert row["computed"] == "numpy fp32 x1"


def test_totals(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """Several files give a row each and a total, which sums their nats, characters and unknown ones."""
    (tmp_path / "a").write_text("to be\n")
    (tmp_path / "b").write_text("or nót\n\n")
    result = charrnn("evaluate", "-m", model_path, "--json", "a", "b")
    first, second, total = json.loads(result.out)["results"]
    assert [first["text"], second["text"], total["text"]] == ["a", "b", "total"]
    for key in ("characters", "bytes", "unknown", "nats"):
        assert total[key] == pytest.approx(first[key] + second[key])
    assert (total["characters"], total["bytes"], total["unknown"]) == (14, 15, 1)
    assert [row["text"] for row in table(charrnn("evaluate", "-m", model_path, "a", "b"))] == [
        "a",
        "b",
        "total",
    ]


def test_validation_split(charrnn: Charrnn, trained: Path) -> None:
    """Without a text it is the model's validation split, with the figure that training recorded."""
    model = load_model(trained / "model.safetensors")
    result = json.loads(charrnn("evaluate", "-m", trained, "--json").out)
    (row,) = result["results"]
    assert result["model"] == str(trained / "model.safetensors")
    assert (
        row["characters"]
        == model.quality["characters"]
        == recorded_split(model.corpus, model.tokenizer, "validation").characters
    )
    assert row["nats_per_character"] == pytest.approx(model.quality["nats_per_character"], abs=1e-3)


@pytest.mark.parametrize("what", ["changed", "gone", "stdin", "none"])
def test_no_validation_split(what: str, charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """A recorded text that changed, went or never was a file is one line that asks for a text."""
    model, text = load_model(trained / "model.safetensors"), tmp_path / "text"
    text.write_text(PLAY.read_text() + ("x" if what == "changed" else ""))
    if what == "gone":
        text.unlink()
    paths = {"stdin": ["-"], "none": []}.get(what, [str(text)])
    save_model(tmp_path / "m", dataclasses.replace(model, corpus=model.corpus | {"paths": paths}))
    line = complaint(charrnn("evaluate", "-m", "m"))
    assert {"changed": "changed", "gone": "no such file", "stdin": "stdin", "none": "not say"}[what] in line
    assert "evaluate" in line


def test_line_model_validates_on_its_held_out_lines(charrnn: Charrnn, tmp_path: Path) -> None:
    """A model of single lines is evaluated, by default, on the lines held out, each for itself."""
    (tmp_path / "names").write_text("".join(f"name {'ab'[i % 2] * (i % 7)}\n" for i in range(200)))
    small = ("--hidden-size", 8, "--num-layers", 1, "--steps", 5, "--threads", 1, "--seed", 0)
    assert charrnn("train", "names", "--lines", "-o", "run", *small, "-q").status == 0
    model = load_model(tmp_path / "run" / "model.safetensors")
    (row,) = json.loads(charrnn("evaluate", "-m", "run", "--json").out)["results"]
    assert row["characters"] == model.quality["characters"]
    assert row["nats_per_character"] == pytest.approx(model.quality["nats_per_character"], abs=1e-4)


def test_errors(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """What cannot be evaluated is one line that names it, and status 1."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad").write_bytes(b"abc\xff")
    (tmp_path / "cut").write_bytes(model_path.read_bytes()[:500])
    assert "missing: no such file" in complaint(charrnn("evaluate", "-m", model_path, "missing"))
    assert "empty: empty" in complaint(charrnn("evaluate", "-m", model_path, "empty"))
    assert "-: empty" in complaint(charrnn("evaluate", "-m", model_path, "-"))
    line = complaint(charrnn("evaluate", "-m", model_path, "bad"))
    assert "offset 3" in line
    assert "--encoding" in line
    assert "cut: " in complaint(charrnn("evaluate", "-m", "cut", "bad"))
    assert "nothing" in complaint(charrnn("evaluate", "-m", "nothing", "bad"))
    line = complaint(charrnn("evaluate", "-m", model_path, "--html", "nowhere/page", "-", input="to be"))
    assert "nowhere: no such directory" in line
    assert not (tmp_path / "nowhere").exists()


def test_device_is_heeded(charrnn: Charrnn, model_path: Path) -> None:
    """A device asked for by name is used or refused, even for a text so short that NumPy would do."""
    result = charrnn("evaluate", "-m", model_path, "--device", "mps", "-", input="to be\n")
    if result.status:
        assert "--device mps" in complaint(result, status=2)
    else:
        assert table(result)[0]["computed"] == "torch fp32 x1"


@pytest.mark.parametrize(
    "flags",
    [
        ["--json", "--per-line"],
        ["--per-line", "--baselines"],
        ["--heatmap", "--dynamic"],
        ["--train", "x"],
        ["--heatmap", "x", "y"],
        ["--streams", "0"],
        ["--reset", "pages"],
        ["--precision", "int8"],
    ],
)
def test_usage(flags: list[str], charrnn: Charrnn, model_path: Path) -> None:
    """Options that contradict each other, say nothing or are out of range are one line and status 2."""
    line = complaint(charrnn("evaluate", "-m", model_path, *flags), status=2)
    assert flags[0] in line


def test_encoding(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """--encoding reads a text that is not encoded as the corpus was."""
    (tmp_path / "latin").write_bytes(b"caf\xe9 and tea")
    (row,) = table(charrnn("evaluate", "-m", model_path, "--encoding", "latin-1", "latin"))
    assert [row[name] for name in COLUMNS[2:5]] == ["12", "13", "1"]


def test_byte_model(charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path) -> None:
    """A byte model evaluates any bytes at all; a byte is its character."""
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    (row,) = table(charrnn("evaluate", "-m", write_model(random_model(vocabulary=None)), "bytes"))
    assert [row[name] for name in COLUMNS[2:5]] == ["256", "256", "0"]
    assert row["bits/char"] == row["bits/byte"]


def test_torch_is_not_imported(model_path: Path, tmp_path: Path) -> None:
    """A short text, its lines and its heatmap are evaluated without torch."""
    (tmp_path / "text").write_text("to be\nor not\n")
    for flags in ([], ["--per-line"], ["--heatmap"], ["--html", "page"]):
        code = (
            "import sys; from charrnn.cli.main import run;"
            f"assert run(['evaluate', '-m', {str(model_path)!r}, 'text', *{flags}]) == 0;"
            "assert 'torch' not in sys.modules"
        )
        done = run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=False)
        assert done.returncode == 0, flags


def test_per_line(charrnn: Charrnn, model_path: Path) -> None:
    """--per-line gives a header and a row for each line in order, blank ones too, that sum to the text's."""
    text = "I like apples\n\nI sit ápples\nlike I apples"
    result = charrnn("evaluate", "-m", model_path, "--per-line", "-", input=text)
    header, *lines = [line.split("\t") for line in result.out.splitlines()]
    assert header == ["line", "chars", "unk", "log10prob", "bits_per_char"]
    assert [line[:3] for line in lines] == [
        ["1", "14", "0"], ["2", "1", "0"], ["3", "13", "1"], ["4", "13", "0"],
    ]  # fmt: skip
    model = load_model(model_path)
    log10 = float(score_text(model, text).sum(dtype="float64")) / math.log(10)
    assert sum(float(line[3]) for line in lines) == pytest.approx(log10, abs=1e-3)
    for line in lines:
        assert float(line[4]) == pytest.approx(-float(line[3]) * math.log2(10) / int(line[1]), abs=1e-2)
    assert "41 characters, 1 unknown" in result.err
    assert charrnn("evaluate", "-q", "-m", model_path, "--per-line", "-", input=text).err == ""


def test_per_line_of_several(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """The lines of several texts are numbered through, under one header."""
    (tmp_path / "a").write_text("x\ny\n")
    (tmp_path / "b").write_text("z\n")
    out = charrnn("evaluate", "-m", model_path, "--per-line", "a", "b").out
    assert [line.split("\t")[0] for line in out.splitlines()] == ["line", "1", "2", "3"]


def test_per_line_reset(charrnn: Charrnn, model_path: Path) -> None:
    """With --reset lines, equal lines have equal scores wherever they stand."""
    text = "to be\nor not\nto be\n"
    reset = charrnn("evaluate", "-m", model_path, "--per-line", "--reset", "lines", "-", input=text).out
    rows = [line.split("\t")[1:] for line in reset.splitlines()]
    assert rows[1] == rows[3]
    carried = charrnn("evaluate", "-m", model_path, "--per-line", "-", input=text).out.splitlines()
    assert carried[1].split("\t")[1:] == rows[1]
    assert carried[3].split("\t")[1:] != rows[3]


def test_baselines(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """--baselines stand in one table with the model, over the same characters."""
    (tmp_path / "learnt").write_text("to be or not to be\n" * 20)
    (tmp_path / "text").write_text("to be or not\n")
    rows = table(charrnn("evaluate", "-m", model_path, "--baselines", "--train", "learnt", "text"))
    names = [row["model"] for row in rows]
    ngrams = [f"{n}-gram" for n in range(2, 9)]
    assert names[1:] == ["uniform", "unigram", *ngrams, "gzip -9", "bzip2 -9", "xz -9e"]
    assert {row["chars"] for row in rows} == {"13"}
    bits = {row["model"]: float(row["bits/char"]) for row in rows}
    size = load_model(model_path).tokenizer.size
    assert bits["uniform"] == pytest.approx(math.log2(size), abs=1e-4)
    assert bits["4-gram"] < 2 < bits["unigram"] < bits["uniform"]


def test_baselines_learn_from_the_training_split(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """Without --train the n-grams learn from the model's training split, and say so."""
    text = PLAY.read_text()
    cut = int(len(text) * 0.9)
    (tmp_path / "train").write_text(text[:cut])
    (tmp_path / "text").write_text(text[cut:])
    default = charrnn("evaluate", "-m", trained, "--baselines", "text")
    assert f"{cut:,} symbols" in default.err
    assert default.out == charrnn("evaluate", "-m", trained, "--baselines", "--train", "train", "text").out


def test_dynamic(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """--dynamic adds a row of its own under the static figure, which stays what it was."""
    (tmp_path / "train").write_text(PLAY.read_text()[:2000])
    (tmp_path / "text").write_text("The bell beneath the sea! " * 30)
    static = table(charrnn("evaluate", "-m", trained, "text"))
    first, second = table(charrnn("evaluate", "-m", trained, "--dynamic", "--train", "train", "text"))
    assert first == static[0]
    assert second["model"].endswith("(dynamic)")
    assert float(second["nats/char"]) < float(first["nats/char"])


def test_streams_and_precision_are_said(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """What computed a figure, in which arithmetic and how many streams, is in the output."""
    (tmp_path / "text").write_text(PLAY.read_text()[:4000])
    for streams in (2, 5):
        (row,) = table(charrnn("evaluate", "-m", trained, "--streams", streams, "text"))
        assert row["computed"] == f"torch fp32 x{streams}"
    (row,) = json.loads(charrnn("evaluate", "-m", trained, "--json", "text").out)["results"]
    assert row["computed"] == "numpy fp32 x1"
    result = charrnn("evaluate", "-m", trained, "--precision", "bf16", "text")
    assert "bf16" in (result.out if result.status == 0 else complaint(result, status=2))


def test_heatmap(charrnn: Charrnn, model_path: Path) -> None:
    """--heatmap prints the text with digits where there is no colour, and shades where it is asked for."""
    plain = charrnn("evaluate", "-m", model_path, "--heatmap", "-", input="to be\n")
    text, digits, _ = plain.out.splitlines()
    assert text == "to be "
    assert digits.isdigit()
    assert len(digits) == 6
    assert "bits/char" in plain.err
    coloured = charrnn("evaluate", "-m", model_path, "--heatmap", "--color", "always", "-", input="to be\n")
    assert "\x1b[" in coloured.out
    forced = charrnn(
        "evaluate", "-m", model_path, "--heatmap", "-", input="to be\n", env={"FORCE_COLOR": "1"}
    )
    assert forced.out == coloured.out


def test_html(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """--html writes a page, and replaces one only with --force."""
    (tmp_path / "text").write_text("to be\n")
    page = tmp_path / "page.html"
    result = charrnn("evaluate", "-m", model_path, "--html", "page.html", "text")
    assert (result.status, result.stdout) == (0, b"")
    assert "wrote page.html" in result.err
    written = page.read_bytes()
    assert written.count(b"<i class=") == 6
    page.write_bytes(b"mine")
    assert "--force" in complaint(charrnn("evaluate", "-m", model_path, "--html", "page.html", "text"))
    assert page.read_bytes() == b"mine"
    assert charrnn("evaluate", "-m", model_path, "--html", "page.html", "--force", "text").status == 0
    assert page.read_bytes() == written


def test_html_and_heatmap(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """Page and terminal may be had at once."""
    result = charrnn("evaluate", "-m", model_path, "--html", "p", "--heatmap", "-", input="to be\n")
    assert result.out.startswith("to be")
    assert (tmp_path / "p").exists()


def test_nothing_is_left_behind(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """An evaluation writes no file, beside the model or where it was called."""
    run_directory = tmp_path / "run"
    shutil.copytree(trained, run_directory)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert charrnn("evaluate", "-m", "run", "-", input="to be").status == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_long_texts_go_to_torch(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are scored in NumPy for a second, then in torch, and the figures agree."""
    from charrnn.text.scored import text_of

    model = load_model(trained / "model.safetensors")
    evaluator, text = Evaluator(model), text_of(PLAY.read_text()[:3000], model.tokenizer)
    by_numpy = evaluator.score(text)
    assert evaluator.used == "numpy fp32 x1"
    monkeypatch.setattr("charrnn.evaluation.evaluator.NUMPY_SECONDS", 0.0)
    by_torch = evaluator.score(text)
    assert evaluator.used == "torch fp32 x2"
    assert by_torch.nats == pytest.approx(by_numpy.nats, rel=1e-3)


def test_the_page_replaces_nothing_that_is_read(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """--html --force spares the texts, the model, and the text that the model learnt."""
    model = tmp_path / "m.safetensors"
    (tmp_path / "texts").mkdir()
    for name in ("text", "texts/a", "learnt"):
        (tmp_path / name).write_text("to be\n")
    (tmp_path / "link").symlink_to("text")
    loaded = load_model(trained / "model.safetensors")
    save_model(
        model, dataclasses.replace(loaded, corpus=loaded.corpus | {"paths": [str(tmp_path / "learnt")]})
    )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for page, texts in (
        ("text", ["text"]), ("./text", ["text"]), ("link", ["text"]), ("texts/a", ["texts"]),
        ("m.safetensors", ["text"]), ("learnt", []),
    ):  # fmt: skip
        line = complaint(charrnn("evaluate", "-m", model, *texts, "--html", page, "--force"))
        assert "is read here, so it cannot be replaced" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    empty = charrnn("evaluate", "-m", model, "text", "--html", "", "--force")
    assert "an empty path; is a shell variable unset?" in complaint(empty, status=2)
    assert "no such file" in complaint(
        charrnn("evaluate", "-m", model, "text", "--baselines", "--train", "x")
    )
    assert "an empty path" in complaint(
        charrnn("evaluate", "-m", model, "text", "--baselines", "--train", "")
    )


def test_what_a_model_makes_us_read_is_told(charrnn: Charrnn, trained: Path) -> None:
    """Without a text, stderr names the file that the model names, unless it is quiet."""
    result = charrnn("evaluate", "-m", trained)
    assert result.err == f"the model's own text: {PLAY}\n"
    assert charrnn("evaluate", "-m", trained, "-q").err == ""


def test_a_model_that_names_a_device(charrnn: Charrnn, trained: Path, tmp_path: Path) -> None:
    """A stranger's model does not make us read a device, in whatever way its text is asked for."""
    loaded = load_model(trained / "model.safetensors")
    corpus = loaded.corpus | {"paths": ["/dev/zero"]}
    save_model(tmp_path / "m", dataclasses.replace(loaded, corpus=corpus))
    for arguments in (
        ["evaluate"],
        ["evaluate", "--baselines", str(PLAY)],
        ["sample", "--novel", "--lines", 1],
    ):
        line = complaint(charrnn(*arguments, "-m", "m", timeout=60))
        assert "/dev/zero: not a file or a directory, though the model names it" in line
