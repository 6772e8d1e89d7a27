"""``charrnn export``: one file, and nothing else is touched."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from charrnn.model.file import joined, load_model, network_alone, save_model
from charrnn.pages.export import rounding_cost
from tests.conftest import Charrnn, ModelWriter, random_model
from tests.model.test_mixture import ngram

PHRASE = "to be, or not to be\n" * 30


def test_a_page_is_written_and_described(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """The page is a whole HTML file of the run's name; stderr says its size and what rounding costs."""
    result = charrnn("export", "page.html", "-m", model_path)
    assert (result.status, result.stdout) == (0, b"")
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert written.endswith("</html>\n")
    first, second = result.err.splitlines()
    assert first == f"wrote page.html, {len(written.encode()) / 1e6:.1f} MB"
    assert second.startswith("float16 weights cost 0.0000")
    assert second.endswith(" nats a character, measured on text that the model writes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "page.html"]


def test_precisions(charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path) -> None:
    """Eight bits are smaller than sixteen, and these than 32; only float32 has nothing to say of a cost."""
    path = write_model(random_model(hidden=64))
    sizes = []
    for flags in (["--int8"], [], ["--float32"]):
        result = charrnn("export", "page.html", "-m", path, "--force", *flags)
        assert result.status == 0
        assert ("cost" in result.err) == (flags != ["--float32"])
        sizes.append((tmp_path / "page.html").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    both = charrnn("export", "other.html", "-m", path, "--int8", "--float32")
    assert both.status == 2
    assert "--int8 and --float32 are two precisions" in both.err


def test_title(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """The title is the one given, as text."""
    assert charrnn("export", "page.html", "-m", model_path, "--title", "<é>", "-q").err == ""
    assert "<h1>&lt;é&gt;</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_nothing_is_overwritten_unasked(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """A file that is there is replaced only with --force; the message names it and the remedy."""
    file = tmp_path / "page.html"
    file.write_text("mine")
    result = charrnn("export", "page.html", "-m", model_path)
    assert result.status == 1
    assert result.err == "charrnn: page.html: exists; replace it with --force, or name another file\n"
    assert file.read_text() == "mine"
    assert charrnn("export", "page.html", "-m", model_path, "--force").status == 0
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link"])
def test_the_model_is_never_overwritten(charrnn: Charrnn, model_path: Path, tmp_path: Path, way: str) -> None:
    """The model file stays as it is, even with --force, by whatever name the page would have replaced it."""
    name = tmp_path / "other.html"
    if way == "itself":
        name = model_path
    elif way == "symbolic link":
        name.symlink_to(model_path)
    else:
        name.hardlink_to(model_path)
    before = model_path.read_bytes()
    result = charrnn("export", name, "-m", model_path, "--force")
    assert result.status == 1
    assert result.err == f"charrnn: {name}: is the model itself; name another file for the page\n"
    assert model_path.read_bytes() == before


def test_places_that_cannot_be_written(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """A missing directory, and what is not a file, are one line each."""
    missing = charrnn("export", "no/page.html", "-m", model_path)
    assert (missing.status, missing.err) == (1, "charrnn: no: no such directory; make it first\n")
    (tmp_path / "folder").mkdir()
    folder = charrnn("export", "folder", "-m", model_path, "--force")
    assert folder.status == 1
    assert folder.err == "charrnn: folder: not a file that could be replaced; name another one\n"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """The file of a network with an n-gram beside it, that knows what each is worth."""
    counted = ngram(PHRASE)
    assert counted.grams is not None
    network = random_model(vocabulary="".join(sorted(set(PHRASE))))
    model = joined(network, counted.grams, (0.25, 0.75))
    quality = {"nats_per_character": 0.3, "bits_per_character": 0.43, "network_nats_per_character": 0.7}
    save_model(tmp_path / "both.safetensors", dataclasses.replace(model, quality=quality))
    return tmp_path / "both.safetensors"


def facts_of(page: Path) -> str:
    """The line that says what the page's model is."""
    (line,) = re.findall(r"</h1>\n<p>(.*)</p>", page.read_text(encoding="utf-8"))
    return str(line)


def test_a_network_and_its_ngram(charrnn: Charrnn, both: Path, tmp_path: Path) -> None:
    """The page has both unless --without-ngram leaves the n-gram out, and then what the network is worth."""
    result = charrnn("export", "page.html", "-m", both)
    assert result.status == 0, result.err
    assert "mixed 25 % to 75 % with a 3-gram" in facts_of(tmp_path / "page.html")
    assert facts_of(tmp_path / "page.html").endswith("; 0.43 bits a character on held-out text.")
    model = load_model(both)
    assert f"cost {rounding_cost(model, 'float16'):.5f} nats" in result.err
    result = charrnn("export", "network.html", "-m", both, "--without-ngram", "--int8")
    assert result.status == 0
    assert "gram" not in facts_of(tmp_path / "network.html")
    promise = [
        b"and from <code>charrnn sample" in (tmp_path / f"{name}.html").read_bytes()
        for name in ("page", "network")
    ]
    assert promise == [True, False]
    assert facts_of(tmp_path / "network.html").endswith("; 1.01 bits a character on held-out text.")
    assert "no effect" not in result.err
    assert f"cost {rounding_cost(network_alone(model), 'int8'):.5f} nats" in result.err
    assert (tmp_path / "network.html").stat().st_size < (tmp_path / "page.html").stat().st_size


def test_an_ngram_alone(charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path) -> None:
    """It has a page, on which no precision has an effect; without it there is nothing to write with."""
    path = write_model(ngram(PHRASE))
    result = charrnn("export", "page.html", "-m", path)
    assert result.status == 0
    assert result.err.splitlines() == [
        f"wrote page.html, {(tmp_path / 'page.html').stat().st_size / 1e6:.1f} MB"
    ]
    assert facts_of(tmp_path / "page.html").startswith("A 3-gram (")
    result = charrnn("export", "page.html", "-m", path, "--force", "--int8")
    assert "no effect: --int8, since an n-gram has no weights, but counts" in result.err.splitlines()
    assert result.err.count("\n") == 2
    result = charrnn("export", "none.html", "-m", path, "--without-ngram")
    assert result.status == 2
    assert ": an n-gram alone, of which --without-ngram leaves nothing (see " in result.err
    assert not (tmp_path / "none.html").exists()


def test_without_an_ngram_there_is_none_to_leave_out(charrnn: Charrnn, model_path: Path) -> None:
    """That is one line on stderr, which -q silences, and the page is the same."""
    line = "no effect: --without-ngram, since there is no n-gram beside this network"
    given = charrnn("export", "page.html", "-m", model_path, "--without-ngram")
    assert given.err.splitlines()[0] == line
    assert charrnn("export", "quiet.html", "-m", model_path, "--without-ngram", "-q").err == ""
    pages = [(model_path.parent / name).read_bytes() for name in ("page.html", "quiet.html")]
    assert pages[0] == pages[1]


def test_no_torch(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """Exporting does not import torch."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    result = charrnn("export", "page.html", "-m", model_path, env={"PYTHONPATH": f"{tmp_path}:{sys.path[0]}"})
    assert result.status == 0, result.err
