"""The inspection as a page: curves, the text shaded by any unit, saturation, gradients and memory.

The page is complete in itself and allows nothing else: its Content-Security-Policy names the hash of its one
script and its one style. The script draws all pictures as SVG from the figures in the page. What a shade or a
line means can be told without colour: shades are bars of different heights behind the characters, and lines
have different dashes and their names at their ends.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.surprise import shown
from charrnn.inspection.along import SHOWN_BYTES, Along
from charrnn.inspection.cells import Unit
from charrnn.inspection.description import CELL_NAMES, facts
from charrnn.inspection.report import Inspection, as_json, scale_of
from charrnn.pages.template import template

MOST_LEVEL = 255


def page(found: Inspection, unit: Unit | None) -> str:
    """One self-contained HTML page.

    Args:
        found: what was found; what is None is left out.
        unit: which shades the text at first; the strongest one if None.
    """
    title = found.description["path"]
    data: dict[str, Any] = {"facts": facts(found.description), "cells": CELL_NAMES}
    report = as_json(found, None)
    data |= {key: report[key] for key in ("curves", "gradients", "memory") if key in report}
    if found.along is not None:
        data["text"] = _text_data(found, found.along, report["text"], unit)
    # "<" would end the script element where the text holds "</script>"
    figures = json.dumps(_rounded(data), separators=(",", ":")).replace("<", "\\u003c")
    written = template("inspection.html")
    parts = {"TITLE": html.escape(title), "DATA": figures, "POLICY": _policy(written)}
    return "".join(parts.get(part, part) for part in written.split("%%"))


def _policy(written: str) -> str:
    """Nothing but this script and this style, and no address at all."""
    hashes = []
    for tag in ("script", "style"):
        body = re.findall(f"<{tag}>(.*?)</{tag}>", written, flags=re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        hashes.append(f"{tag}-src 'sha256-{digest}'")
    return f"default-src 'none'; {'; '.join(hashes)}; base-uri 'none'; form-action 'none'"


def _rounded(value: Any) -> Any:
    """The same JSON with five significant digits, which no picture shows more of."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _text_data(found: Inspection, along: Along, report: dict[str, Any], unit: Unit | None) -> dict[str, Any]:
    """The beginning of the text, with the activations of every unit and the values of every feature."""
    columns, config = along.columns, along.columns.config
    places = along.script.places[: len(along.shown)]
    count = int(places[-1]) + 1 if len(places) else 0
    byte = found.description["vocabulary"]["kind"] == "byte"
    kept = _kept_units(along, unit)
    return report | {
        "shown": [_visible(c, byte=byte) for c in along.script.characters[:count]],
        "bits": along.bits[:count].tolist(),
        "places": places.tolist() if len(places) < count else None,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "signal": columns.main,
        "first": str(unit or (kept[0] if kept else "")),
        "units": [_unit_data(along, one) for one in kept],
        "values": [
            {"feature": feature.name, **_packed(feature.values[:count], *_range(feature.values[:count]))}
            for feature in along.features
            if count and feature.values[:count].min() < feature.values[:count].max()
        ],
    }


def _kept_units(along: Along, unit: Unit | None) -> list[Unit]:
    """Units whose activations are in the page: those that follow features, then all main signals, as fit."""
    columns, config = along.columns, along.columns.config
    found = [match.unit for followed in along.strongest() for match in followed.matches]
    every = [
        Unit(layer, number, columns.main)
        for layer in range(config.num_layers)
        for number in range(config.hidden_size)
    ]
    wanted = dict.fromkeys([*([unit] if unit else []), *found, *every])
    most = SHOWN_BYTES // max(1, len(along.shown))
    return list(wanted)[: most + len(found)]


def _unit_data(along: Along, unit: Unit) -> dict[str, Any]:
    values = along.shown[:, along.columns.column(unit)]
    return {"unit": str(unit)} | _packed(values, *scale_of(unit, values, along.columns.config.cell))


def _range(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _packed(values: NDArray[Any], low: float, high: float) -> dict[str, Any]:
    """A byte a character, in base64: its place between the lowest and the highest value."""
    levels = np.clip(np.round((values - low) / ((high - low) or 1) * MOST_LEVEL), 0, MOST_LEVEL)
    packed = base64.b64encode(levels.astype(np.uint8).tobytes()).decode()
    return {"low": low, "high": high, "data": packed}


def _visible(character: str, *, byte: bool) -> str:
    if character in "\n\t":
        return character
    if byte and ord(character) >= 0x80:
        return f"\\x{ord(character):02x}"
    return character if character.isprintable() else shown(character)
