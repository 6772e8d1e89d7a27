"""Draws benchmarks/session.svg: a real session, as a terminal shows it.

    python -m benchmarks.picture

Runs the commands, three minutes of training among them, and records what they print.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "charrnn train the-bell-under-the-sea.txt",
    "charrnn sample -n 560 -p 'PIPKIN:' --temp 0.7 -s 7",
    "charrnn evaluate the-bell-under-the-sea.txt",
)


def main() -> None:
    """Records the session."""
    console = Console(record=True, width=100, file=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    with tempfile.TemporaryDirectory() as directory:
        text = (ROOT / "corpora" / "the-bell-under-the-sea.txt").read_bytes()
        Path(directory, "the-bell-under-the-sea.txt").write_bytes(text)
        for command in COMMANDS:
            console.print(Text("$ ", "bold green") + Text(command, "bold"))
            done = subprocess.run(
                ["/bin/sh", "-c", command.replace("charrnn", f"{sys.executable} -m charrnn", 1)],
                cwd=directory, capture_output=True, text=True, check=True,
            )  # fmt: skip
            progress = [line for line in done.stderr.splitlines() if not line.startswith("step")]
            console.print(Text("\n".join(progress), "dim")) if progress else None
            console.print(Text(done.stdout.rstrip("\n")))
            console.print()
    console.save_svg(str(ROOT / "benchmarks" / "session.svg"), title="charrnn")


if __name__ == "__main__":
    main()
