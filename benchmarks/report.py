"""What every benchmark says of the machine, and how it says its results."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from charrnn.system import available_cores


def machine() -> str:
    """The processor, its cores, and the versions that matter, on one line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), name)
    cores = available_cores()
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "numpy"))
    return f"{name}, {cores} cores, Python {platform.python_version()}, {versions}"


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of paired measurements: what a noisy machine leaves comparable."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
