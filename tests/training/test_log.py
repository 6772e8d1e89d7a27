"""The run's log."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.inspection.description import curves
from charrnn.training.listener import Report
from charrnn.training.log import Log


def report(step: int) -> Report:
    """A report of an evaluation at a step."""
    return Report(step, 0.5, 100 * step, 1.5, 2.0, None, None, 0.01, 0.7, 1000.0)


def lines_in(directory: Path) -> list[str]:
    """The lines of the log."""
    return (directory / "log.jsonl").read_text().splitlines()


def test_each_report_is_a_line(tmp_path: Path) -> None:
    """A line is the report's fields as a JSON object, in the order of the evaluations."""
    log = Log(tmp_path)
    for step in (5, 10):
        log.append(report(step))
    assert [json.loads(line) for line in lines_in(tmp_path)] == [
        dataclasses.asdict(report(step)) for step in (5, 10)
    ]


@pytest.mark.parametrize(
    ("step", "kept"), [(0, []), (5, [5]), (14, [5, 10]), (15, [5, 10, 15]), (99, [5, 10, 15])]
)
def test_later_steps_are_cut(tmp_path: Path, step: int, kept: list[int]) -> None:
    """Cutting at a step keeps its line and those before it."""
    log = Log(tmp_path)
    for logged in (5, 10, 15):
        log.append(report(logged))
    log.cut(step)
    assert [json.loads(line)["step"] for line in lines_in(tmp_path)] == kept


@pytest.mark.parametrize("rest", [b'{"st', b"\0\xff\n", b"[]\n", b'{"loss": 1}\n'])
def test_a_broken_line_is_cut_with_what_follows(tmp_path: Path, rest: bytes) -> None:
    """From a line on that is no report, nothing is kept."""
    log = Log(tmp_path)
    log.append(report(5))
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(rest)
    log.append(report(6))
    log.cut(10)
    assert [json.loads(line)["step"] for line in lines_in(tmp_path)] == [5]


def test_no_log_is_made_by_cutting(tmp_path: Path) -> None:
    """A run without a log has none after cutting either."""
    Log(tmp_path).cut(3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "large"])
def test_what_is_no_log_is_refused(tmp_path: Path, kind: str) -> None:
    """A pipe would never be read to its end, and what is no log is not written over."""
    path = tmp_path / "log.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(
        RunError, match=r"log\.jsonl: not a plain file, or too large for a log; move it away$"
    ):
        Log(tmp_path).cut(3)
    assert curves(tmp_path / "model.safetensors") == []
