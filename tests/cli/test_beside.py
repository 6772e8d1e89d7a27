"""--with-ngram: a network and the n-gram of its text in one file, which every command reads."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.errors import ModelFileError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.model.file import ModelFile, joined, load_model, network_alone, save_model
from charrnn.model.mixture import mix_models
from charrnn.text.scored import text_of
from charrnn.training.lock import RunLock
from charrnn.training.trainer import Trainer
from tests.cli.test_ngram import Run, run
from tests.conftest import PLAY, random_model, run_charrnn
from tests.model.test_file import build, parse, repack
from tests.model.test_mixture import ngram

__all__ = ["run"]  # the fixture

TINY = ("--hidden-size", 16, "--num-layers", 1, "--embedding-size", 8, "--threads", 1, "--seed", 1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of both."""
    directory = tmp_path_factory.mktemp("beside")
    result = run_charrnn("train", PLAY, *TINY, "--steps", 30, "--with-ngram", "-o", "run", cwd=directory)
    assert result.status == 0, result.err
    assert result.out.splitlines()[-2].startswith("both        1.3")
    return directory / "run"


def test_the_file_holds_both(directory: Path) -> None:
    """Network, n-gram and weights come back; the quality is the mixture's, and the network's is there too."""
    model = load_model(directory / "model.safetensors")
    network, other = model.parts
    assert other.grams is not None
    assert sum(model.mix) == pytest.approx(1)
    validation = PLAY.read_text()[-16253:]
    found = [Evaluator(one).score(text_of(validation, one.tokenizer)) for one in (model, network, other)]
    nats = [score.nats_per_character for score in found]
    assert nats[0] < min(nats[1:]) + 1e-3
    assert model.quality["nats_per_character"] == pytest.approx(nats[0], abs=1e-4)
    assert model.quality["network_nats_per_character"] == pytest.approx(nats[1], abs=1e-4)
    same = mix_models([network, other], model.mix)
    assert Evaluator(same).score(text_of(validation, same.tokenizer)).nats == pytest.approx(
        found[0].nats, rel=1e-6
    )


def test_every_command_reads_it(directory: Path, run: Run) -> None:
    """Both write and score; what only a network can do, the network in it does."""
    assert len(run("sample", "-m", directory, "-n", 50, "--no-display-prompt", "--seed", 1).out) >= 50
    assert "evaluate" not in run("evaluate", "-m", directory, "--baselines").err
    described = json.loads(run("inspect", "-m", directory, "--json").out)["model"]
    assert (described["cell"], described["ngram"]["cell"]) == ("lstm", "ngram")
    shown = " ".join(run("inspect", "-m", directory).out.split())
    assert "mixed with weights" in shown
    alone = load_model(directory / "model.safetensors").quality["network_nats_per_character"]
    assert f"the network alone {alone:.4f} nats (step 30)" in shown
    run("inspect", "-m", directory, PLAY, "-n", 3000)
    run("export", "page.html", "-m", directory)
    run("train", PLAY, "--init-from", directory, "--steps", 1, "--threads", 1, "-o", "new", "-q")
    run("evaluate", "-m", directory, "-m", directory, "--mix", "1,1")
    assert charrnn.load(directory).score("The bell").sum() < 0


def test_list(directory: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list names both."""
    monkeypatch.setattr("charrnn.runs.RUNS", directory.parent)
    assert "lstm 1x16 + " in run("list").out


def test_extending(run: Run) -> None:
    """A run that is extended has the n-gram again in the end, and one that is finished keeps it."""
    run("train", PLAY, *TINY, "--steps", 5, "--with-ngram", "-o", "run", "-q")
    out = run("train", "--resume", "--steps", 9, "-o", "run", "-q").out
    assert out.splitlines()[-2].startswith("both        1.")
    model = load_model(Path("run/model.safetensors"))
    assert model.parts
    save_model(Path("run/model.safetensors"), model.parts[0])  # as if the end had been killed
    run("train", "--resume", "-o", "run", "-q")
    assert load_model(Path("run/model.safetensors")).parts


@pytest.mark.parametrize("kind", ["lines", "pairs", "val"])
def test_other_texts(kind: str, run: Run) -> None:
    """With lines, pairs and another text to validate on, the quality is what evaluate finds."""
    Path("t.txt").write_text("".join(f"{n}\t{'odd' if n % 2 else 'even'} {n % 10}\n" for n in range(400)))
    Path("v.txt").write_text("401\todd 1\n\u2603 402\teven 2\n")
    options = {"lines": ("--lines",), "pairs": ("--pairs",), "val": ("--val", "v.txt")}[kind]
    run("train", "t.txt", *TINY, "--steps", 3, *options, "--with-ngram", "-o", "run", "-q")
    quality = load_model(Path("run/model.safetensors")).quality
    row = json.loads(run("evaluate", "-m", "run", "--json").out)["results"][0]
    assert quality["nats_per_character"] == pytest.approx(row["nats_per_character"], abs=1e-4)


def test_the_default(run: Run) -> None:
    """With --time the n-gram is written beside the network where it helps, with --steps it is not."""
    lines = run("train", PLAY, *TINY, "--time", 4, "-o", "run").out.splitlines()
    (both,) = (line for line in lines if line.startswith("both"))
    model = load_model(Path("run/model.safetensors"))
    assert f"{model.quality['nats_per_character']:.4f} nats/char" in both
    assert f"weights {model.mix[0]:.3f} and {model.mix[1]:.3f}" in both
    assert model.quality["nats_per_character"] < model.quality["network_nats_per_character"] - 0.1
    row = json.loads(run("evaluate", "-m", "run", "--json").out)["results"][0]
    assert row["nats_per_character"] == pytest.approx(model.quality["nats_per_character"], abs=2e-4)
    run("train", PLAY, *TINY, "--steps", 3, "-o", "steps", "-q")
    assert not load_model(Path("steps/model.safetensors")).parts


def test_without(run: Run) -> None:
    """--without-ngram leaves the network alone, takes an n-gram out again, and --with-ngram puts it in."""
    run("train", PLAY, *TINY, "--time", 3, "--without-ngram", "-o", "run", "-q")
    network = load_model(Path("run/model.safetensors"))
    assert not network.parts
    assert not load_model_after(run, "--resume").parts
    both = load_model_after(run, "--resume", "--with-ngram")
    assert both.quality["network_nats_per_character"] == network.quality["nats_per_character"]
    load_model_after(run, "--resume", "--without-ngram")
    again = load_model_after(run, "--resume")  # which remembers it
    assert not again.parts
    assert again.quality == network.quality
    assert all(np.array_equal(again.weights[name], weight) for name, weight in network.weights.items())


def load_model_after(run: Run, *options: str) -> ModelFile:
    """The model of the run after another command."""
    run("train", *options, "-o", "run", "-q")
    return load_model(Path("run/model.safetensors"))


def test_what_only_the_network_does_says_so(directory: Path, run: Run) -> None:
    """Dynamic evaluation stands beside the static figure of the network, which alone learns."""
    text = Path("t.txt")
    text.write_text(PLAY.read_text()[-3000:])
    rows = json.loads(run("evaluate", "-m", directory, "--dynamic", "--json", text).out)["results"]
    whats = ("", " (network alone)", " (network alone, dynamic)")
    assert [row["model"] for row in rows] == [f"{directory}{what}" for what in whats]


def test_no_better_network_replaces_both(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that is interrupted leaves its better network with the n-gram that was there."""
    run("train", PLAY, *TINY, "--steps", 20, "--eval-every", 10, "--with-ngram", "-o", "run", "-q")
    before = load_model(Path("run/model.safetensors"))

    def stop(trainer: Trainer) -> None:
        score(trainer)
        if trainer.best_logs is not None:
            signal.raise_signal(signal.SIGINT)

    score = Trainer._evaluate
    monkeypatch.setattr(Trainer, "_evaluate", stop)
    assert run("train", "--resume", "--steps", 60, "-o", "run", status=130) is not None
    between = load_model(Path("run/model.safetensors"))
    assert between.mix == before.mix
    assert between.quality["nats_per_character"] < before.quality["network_nats_per_character"]
    monkeypatch.setattr(Trainer, "_evaluate", score)
    run("train", "--resume", "-o", "run", "-q")
    after = load_model(Path("run/model.safetensors"))
    assert after.mix != before.mix
    assert after.quality["nats_per_character"] < after.quality["network_nats_per_character"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_failure_leaves_the_network(error: Exception, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the n-gram cannot be written, the results of the training are printed, and a line says why."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("charrnn.cli.beside.mixed", fail)
    done = run("train", PLAY, *TINY, "--time", 2, "-o", "run")
    assert {line.split()[0] for line in done.out.splitlines()} >= {"model", "validation", "verdict", "sample"}
    assert "the n-gram is left out: " in done.err
    assert not load_model(Path("run/model.safetensors")).parts
    assert run("train", "--resume", "--with-ngram", "-o", "run", status=1).out == ""


def test_the_run_is_locked(directory: Path, run: Run) -> None:
    """While another process trains in the run, its file is left alone."""
    lock = RunLock(directory)
    lock.acquire()
    try:
        done = run("train", "--resume", "--without-ngram", "-o", directory, status=1)
        assert "is being trained by" in done.err
        assert load_model(directory / "model.safetensors").parts
    finally:
        lock.release()


def test_an_ngram_that_does_not_help(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was not asked for is left out if the network alone is as good; one that was is written."""
    monkeypatch.setattr("charrnn.cli.beside.LEAST_GAIN", 9.0)
    out = run("train", PLAY, *TINY, "--time", 2, "-o", "run", "-q").out
    assert "left out: the held-out text is no better predicted" in out
    assert not load_model(Path("run/model.safetensors")).parts
    run("train", "--resume", "--with-ngram", "-o", "run", "-q")
    assert load_model(Path("run/model.safetensors")).parts


def test_nothing_held_out(run: Run) -> None:
    """Without validation there are weights nevertheless, and no quality is claimed."""
    run("train", PLAY, *TINY, "--steps", 2, "--val-fraction", 0, "--with-ngram", "-o", "run", "-q")
    model = load_model(Path("run/model.safetensors"))
    assert model.mix == pytest.approx((0.7, 0.3))
    assert "nats_per_character" not in model.quality


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A little file of both."""
    network, other = random_model(vocabulary="\nab"), ngram("ab\nba\n" * 9)
    assert other.grams is not None
    save_model(tmp_path / "m", joined(network, other.grams, (0.6, 0.4)))
    return tmp_path / "m"


def test_format(file: Path) -> None:
    """Tensors of both stand in the file, with the order and the weights."""
    header, description, _ = parse(file.read_bytes())
    assert description["ngram"] == {"order": 3}
    assert description["mix"] == [0.6, 0.4]
    assert {"embedding.weight", "grams.1.symbols", "grams.3.counts"} <= header.keys()
    loaded = load_model(file)
    assert loaded.config == loaded.parts[0].config
    assert all(np.array_equal(loaded.weights[name], w) for name, w in loaded.parts[0].weights.items())


WRONG = {
    "no weights": lambda d: d.pop("mix"),
    "no order": lambda d: d["ngram"].pop("order"),
    "no n-gram": lambda d: d.pop("ngram"),
    "another order": lambda d: d["ngram"].update(order=2),
    "a negative weight": lambda d: d.update(mix=[1.5, -0.5]),
    "one weight": lambda d: d.update(mix=[1]),
    "weights that are text": lambda d: d.update(mix=["0.5", "0.5"]),
    "two n-grams": lambda d: d.update(architecture={"cell": "ngram", "order": 3}),
    "a list": lambda d: d.update(ngram=[3]),
}


@pytest.mark.parametrize("what", WRONG)
def test_damaged_descriptions(what: str, file: Path) -> None:
    """What contradicts the tensors, or is none of its kind, is refused and named."""
    header, description, body = parse(file.read_bytes())
    WRONG[what](description)
    file.write_bytes(build(header, description, body))
    with pytest.raises(ModelFileError, match=r"ngram|mix|grams"):
        load_model(file)


def test_damaged_tensors(file: Path) -> None:
    """A missing tensor of either is refused."""
    data = file.read_bytes()
    for name in ("grams.2.children", "output.bias"):
        file.write_bytes(repack(data, {name: None}))
        with pytest.raises(ModelFileError, match=name):
            load_model(file)


def test_the_network_alone(directory: Path) -> None:
    """It has no n-gram, and the quality that was measured without one; what has none stays as it is."""
    model = load_model(directory / "model.safetensors")
    network = network_alone(model)
    assert (network.parts, network.mix, network.grams) == ((), (), None)
    nats = model.quality["network_nats_per_character"]
    assert network.quality["nats_per_character"] == nats
    assert network.quality["bits_per_character"] == pytest.approx(nats / np.log(2))
    assert "network_nats_per_character" not in network.quality
    assert network_alone(network) is network
    save_model(directory.parent / "alone.safetensors", network)
    validation = text_of(PLAY.read_text()[-16253:], network.tokenizer)
    score = Evaluator(load_model(directory.parent / "alone.safetensors")).score(validation)
    assert score.nats_per_character == pytest.approx(nats, abs=1e-4)
