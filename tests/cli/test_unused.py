"""Every option acts by itself, or says so where it cannot act beside the others."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from charrnn.cli.main import cli, run
from charrnn.cli.unused import IDLE, NEEDS, unused
from tests.fuzz.edges import EDGES, Flag

# Options that act by themselves, and those whose misuse is an error of the command, or depends on a value and
# is told by charrnn.cli.remarks or charrnn.cli.idle. A new option belongs here or in charrnn.cli.unused.
ALONE = {
    "train": """
        corpus output_dir resume force init_from time epochs steps size cell num_layers hidden_size
        embedding_size output dropout lr matrix_lr optimizer batch_size seq_length clip weight_decay warmup
        patience seed val_fraction val tokenizer encoding min_count lines pairs column newlines device
        precision threads replicas eval_every save_every keep_every sample_every tensorboard order with_ngram
        quiet""",
    "sample": """
        models mix prompt prompt_file each escape length temperature top_k top_p min_p repetition_penalty
        repetition_window no_repeat ban bias best_of beam seed stop until num_samples separator lines distinct
        novel novel_span against copied as_json logprobs interactive device quiet""",
    "evaluate": """
        text models mix as_json per_line heatmap html baselines dynamic train reset precision streams device
        quiet
        """,
    "inspect": "text model unit feature gradients memory html as_json quiet",
    "export": "page model int8 float32 without_ngram title force quiet",
    "list": "as_json quiet",
}


def declared(command: str) -> set[str]:
    """The parameters of a command that cannot always act."""
    return {*NEEDS.get(command, {}), *IDLE.get(command, {})}


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_is_considered(command: str) -> None:
    """Each option is known to act alone, or declared with what it needs."""
    params = {str(param.name) for param in cli.commands[command].params}
    assert declared(command) | set(ALONE[command].split()) == params
    assert not declared(command) & set(ALONE[command].split())


def written(command: str, name: str) -> list[str]:
    """A parameter on a command line, with a value that it takes; "name=value" with that one."""
    name, _, value = name.partition("=")
    (param,) = (param for param in cli.commands[command].params if param.name == name)
    if isinstance(param, click.Argument):
        return ["t.txt"]
    option = next(opt for opt in param.opts if opt.startswith("--"))
    edge = EDGES[command][option]
    return [option] if isinstance(edge, Flag) else [option, value or (edge.ok or edge.any)[0]]


def said(command: str, *names: str) -> list[str]:
    """What is said of these parameters together."""
    args = [part for name in names for part in written(command, name)]
    group = cli.make_context("charrnn", [command])
    return list(unused(cli.commands[command].make_context(command, args, parent=group)))


NEEDED = [
    (command, name, other) for command, table in NEEDS.items() for name in table for other in table[name]
]
IDLING = [
    (command, name, other) for command, table in IDLE.items() for name in table for other in table[name]
]


@pytest.mark.parametrize(("command", "name", "other"), NEEDED)
def test_what_needs_another_option(command: str, name: str, other: str) -> None:
    """Alone it is named on a line with what it needs; beside any of these it is not."""
    option = written(command, name)[0]
    (line,) = said(command, name)
    assert line.startswith("no effect without ")
    assert line.endswith(f": {option}")
    assert written(command, other)[0] in line or other == "text"
    assert not [line for line in said(command, name, other) if "without" in line]


@pytest.mark.parametrize(("command", "name", "other"), IDLING)
def test_what_another_option_makes_idle(command: str, name: str, other: str) -> None:
    """Beside the other option it is named on a line; the other option alone is not."""
    option = written(command, name)[0]
    line = f"no effect with {' '.join(written(command, other)[: 1 + ('=' in other)])}: {option}"
    assert line in said(command, name, other)
    assert said(command, other) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "t.txt", "--dynamic-lr", "0.1"], "no effect without --dynamic: --dynamic-lr"),
        (["inspect", "--force"], "no effect without --html: --force"),
        (
            ["sample", "-n", "3", "--seed", "1", "--json", "--color", "always"],
            "no effect with --json: --color",
        ),
    ],
)
def test_commands_say_it(
    arguments: list[str],
    line: str,
    model_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The line comes on stderr, unless --quiet is given, and the command does its work."""
    monkeypatch.chdir(model_path.parent)
    Path("t.txt").write_text("the fox\n")
    assert run([*arguments, "-m", str(model_path)]) == 0
    assert line in capfd.readouterr().err.splitlines()
    assert run([*arguments, "-m", str(model_path), "-q"]) == 0
    assert capfd.readouterr().err == ""
