"""``charrnn export``: one file, and nothing else is touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Charrnn, ModelWriter, random_model


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


def test_no_torch(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """Exporting does not import torch."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    result = charrnn("export", "page.html", "-m", model_path, env={"PYTHONPATH": f"{tmp_path}:{sys.path[0]}"})
    assert result.status == 0, result.err
