"""Run directories, and which model a command means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.errors import ModelFileError, RunError
from charrnn.files import LOG_FILE
from charrnn.runs import OURS, find_model, is_running, prepare_run, run_name
from charrnn.text.cache import MAGIC
from tests.conftest import ModelWriter


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test stands in an empty directory, without a model of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_MODEL", raising=False)
    return tmp_path


def make(path: str, age: int = 0) -> Path:
    """A file of no matter what content, so many seconds old."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    os.utime(file, (1_700_000_000 - age,) * 2)
    return file


def test_models_are_found_by_file_directory_and_name() -> None:
    """A file, a run directory and a run's name each mean the model that is there."""
    run = make("runs/play/model.safetensors")
    elsewhere = make("elsewhere/other.safetensors")
    assert find_model("elsewhere/other.safetensors") == elsewhere
    assert find_model("runs/play") == run
    assert find_model("runs/play/") == run
    assert find_model("play") == run


def test_without_a_name_the_newest_run_is_meant() -> None:
    """Of several runs, the one whose model was written last is taken, whatever its name."""
    make("runs/a/model.safetensors", age=30)
    newest = make("runs/b/model.safetensors", age=10)
    make("runs/c/model.safetensors", age=20)
    make("runs/d/state.safetensors")
    assert find_model(None) == newest


def test_the_environment_names_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """$CHARRNN_MODEL comes before the newest run and after the flag; empty, it is as if unset."""
    newest = make("runs/new/model.safetensors")
    named = make("runs/old/model.safetensors", age=100)
    monkeypatch.setenv("CHARRNN_MODEL", "old")
    assert find_model(None) == named
    assert find_model("new") == newest
    monkeypatch.setenv("CHARRNN_MODEL", "")
    assert find_model(None) == newest


def test_no_model_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no run is, the message says how to get one; a name that means nothing is repeated."""
    monkeypatch.setattr("charrnn.runs.SHIPPED", Path("nowhere"))
    with pytest.raises(ModelFileError, match=r"no model under runs/; train one \(charrnn train TEXT\)"):
        find_model(None)
    with pytest.raises(ModelFileError, match=r"^plai: no such model file, run directory, or run under runs/"):
        find_model("plai")
    Path("runs/begun").mkdir(parents=True)
    with pytest.raises(ModelFileError, match=r"^runs/begun: no model\.safetensors in this directory"):
        find_model("begun")


def test_a_directory_of_texts_does_not_hide_its_run() -> None:
    """A run is found by its name although the directory it learnt has the same."""
    make("library/text.txt")
    run = make("runs/library/model.safetensors")
    assert find_model("library") == run


@pytest.mark.parametrize(
    "path",
    [
        "runs/play/model.safetensors",
        "runs/-play/model.safetensors",
        "elsewhere/model.safetensors",
        "elsewhere/other.safetensors",
        "runs/play/best.safetensors",
        "runs/deep/er/model.safetensors",
        "runs/names/model.safetensors",
    ],
)
def test_the_name_that_is_advised_finds_the_model(path: str) -> None:
    """``find_model`` finds every model by its short name, which no command can take for a flag."""
    make("names")  # a text without a suffix, whose run has its name
    model = make(path)
    name = run_name(model)
    assert find_model(name) == model
    assert not name.startswith("-")


def test_names_are_short() -> None:
    """A run under runs/ is called by its directory alone."""
    assert run_name(Path("runs/play/model.safetensors")) == "play"


def test_new_runs_get_a_directory() -> None:
    """The directory of a run is made, with those above it; an empty one is taken as it is."""
    prepare_run(Path("deep/er/run"), force=False)
    prepare_run(Path("deep/er/run"), force=False)
    assert list(Path("deep/er/run").iterdir()) == []


@pytest.mark.parametrize("name", [*OURS, "thesis.tex", ".hidden"])
def test_occupied_directories_are_refused(name: str) -> None:
    """A directory that holds anything at all is left as it is, and the message says what to do."""
    file = make(f"run/{name}")
    with pytest.raises(RunError, match=r"^run: exists; .* with --force, or write elsewhere"):
        prepare_run(Path("run"), force=False)
    assert file.read_text() == "x"


def test_force_removes_a_run_and_nothing_else(write_model: ModelWriter) -> None:
    """``--force`` removes a former run's files, half-written ones too, and leaves all others."""
    write_model(name="run/model.safetensors")
    for name in ("run/state.safetensors", f"run/{LOG_FILE}", "run/model.safetensors.part"):
        make(name)
    kept = make("run/thesis.tex")
    prepare_run(Path("run"), force=True)
    assert list(Path("run").iterdir()) == [kept]


@pytest.mark.parametrize("force", [True, False])
def test_kept_ids_are_nothing_to_lose(force: bool) -> None:
    """What a training that never began left does not stand in a run's way; its ids go only with --force."""
    other, own = make(f"run/ids-{'0123' * 4}.bin"), make(f"run/ids-{'89ab' * 4}.bin")
    for path in (other, own):
        path.write_bytes(MAGIC)
    make(f"run/{own.name}.charrnn-123.part")
    prepare_run(Path("run"), force=force, cache=own)
    assert sorted(Path("run").iterdir()) == ([own] if force else [other, own])


@pytest.mark.parametrize(
    "name", ["ids-train.npy", "ids-1.bin", f"ids-{'0' * 16}.bin", "model.part", "ids-0.bin.part", "lock"]
)
def test_files_of_others_are_not_ours(name: str) -> None:
    """A file that charrnn did not write is in the way of a run, and is not removed even with --force."""
    file = make(f"run/{name}")
    with pytest.raises(RunError, match=r"^run: exists"):
        prepare_run(Path("run"), force=False)
    prepare_run(Path("run"), force=True)
    assert file.read_text() == "x"


def test_nothing_that_is_read_is_removed() -> None:
    """--force does not remove an input, under whatever name; nothing else is removed then either."""
    log, model = make(f"run/{LOG_FILE}"), make("run/model.safetensors")
    Path("link").symlink_to(log)
    for name in (log, Path("run/../run/log.jsonl"), Path("link")):
        with pytest.raises(RunError, match=r"^run/log\.jsonl: is read, so it cannot be replaced"):
            prepare_run(Path("run"), force=True, inputs=[name])
    assert log.exists()
    assert model.exists()


def test_no_directory_is_advised_to_resume_what_has_no_state() -> None:
    """The remedy for an occupied directory is one that works there."""
    make("run/model.safetensors")
    with pytest.raises(RunError) as caught:
        prepare_run(Path("run"), force=False)
    assert "--resume" not in str(caught.value)
    make("run/state.safetensors")
    with pytest.raises(RunError, match="go on with --resume"):
        prepare_run(Path("run"), force=False)


def test_an_empty_name_is_not_the_newest_model() -> None:
    """An unset variable in ``-m "$MODEL"`` is an error, while no -m at all is the newest run."""
    make("runs/a/model.safetensors")
    assert find_model(None) == Path("runs/a/model.safetensors")
    with pytest.raises(ModelFileError, match="empty name"):
        find_model("")


@pytest.mark.parametrize("force", [True, False])
def test_a_file_in_the_way_stays(force: bool) -> None:
    """Where a file has the run's name, it is an error even with ``--force``."""
    file = make("run")
    with pytest.raises(RunError, match=r"^run: "):
        prepare_run(Path("run"), force=force)
    assert file.read_text() == "x"


def test_a_directory_below_a_file_is_an_error() -> None:
    """A run cannot be made below a file, and the message gives the system's reason."""
    make("file")
    with pytest.raises(RunError, match=r"^file/run: cannot be made: Not a directory"):
        prepare_run(Path("file/run"), force=False)


def test_force_removes_all_kept_models(tmp_path: Path) -> None:
    """Copies of the model of a former run go, also those numbered from 10 on; other models stay."""
    for name in (
        "model-0003.safetensors",
        "model-0012.safetensors",
        "model-12345.safetensors",
        "model-b.safetensors",
    ):
        (tmp_path / name).touch()
    prepare_run(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model-b.safetensors"]


def test_a_pipe_in_place_of_a_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Nobody trains there; to find that out takes no other process."""
    os.mkfifo(tmp_path / "lock")
    assert not is_running(tmp_path)
