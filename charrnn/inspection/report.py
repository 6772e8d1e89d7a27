"""All that was found about a model, as one object and as JSON."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, CorpusError
from charrnn.inspection.along import Along, read_along
from charrnn.inspection.cells import Columns, Unit
from charrnn.inspection.description import curves, describe
from charrnn.model.file import ModelFile
from charrnn.text.scored import ScoredText

if TYPE_CHECKING:
    from charrnn.inspection.gradients import Reach
    from charrnn.inspection.memory import Memory


@dataclasses.dataclass
class Inspection:
    """What was found about a model.

    Attributes:
        description: of the file, as ``describe`` gives it.
        curves: of its run, as ``curves`` gives them; empty where there is no log.
        text: the name of the text it was held to, or "".
        along: what its cells did along that text.
        gradients: how far gradients reach in it, and in fresh networks of its size.
        memory: how far back it looks.
    """

    description: dict[str, Any]
    curves: list[dict[str, Any]]
    text: str = ""
    along: Along | None = None
    gradients: list[Reach] | None = None
    memory: Memory | None = None

    @property
    def bits_per_character(self) -> float:
        """The cross-entropy of the text that was read."""
        assert self.along is not None
        return float(self.along.bits.mean(dtype=np.float64))


def inspect_file(path: Path, model: ModelFile) -> Inspection:
    """What can be said of a model without a text."""
    return Inspection(describe(path, model), curves(path))


def add_text(found: Inspection, model: ModelFile, text: ScoredText, length: int) -> None:
    """Reads a text and adds what the cells do along it."""
    found.text, found.along = text.name, read_along(model, text, length)


def add_gradients(found: Inspection, model: ModelFile) -> None:
    """Adds how far gradients reach in the text that was read.

    Raises:
        CorpusError: the text is too short, or the model begins anew at each line.
    """
    from charrnn.inspection.gradients import reaches

    if model.corpus.get("lines"):
        raise CorpusError(
            "gradients: the model learnt single lines, and each is shorter than what is measured"
        )
    found.gradients = reaches(model, _ids(found))


def add_memory(found: Inspection, model: ModelFile) -> None:
    """Adds how far back the model looks in the text that was read.

    Raises:
        CorpusError: the text is too short, or the model begins anew at each line.
    """
    from charrnn.inspection.memory import measure_memory

    assert found.along is not None
    nats = found.along.bits[found.along.script.places] * np.log(2)
    found.memory = measure_memory(model, _ids(found), nats.astype(np.float64))


def _ids(found: Inspection) -> NDArray[Any]:
    assert found.along is not None
    script = found.along.script
    return script.inputs[script.kept].astype(np.uint32)


def parse_unit(written: str, columns: Columns) -> Unit:
    """The unit that LAYER:UNIT or LAYER:UNIT:SIGNAL names; both count from 0.

    Raises:
        ConfigError: there is no such unit.
    """
    config = columns.config
    parts = [*written.split(":"), columns.main][:3]
    layer, unit = (int(part) if re.fullmatch("[0-9]{1,18}", part) else -1 for part in [*parts, ""][:2])
    signal = parts[-1]
    fits = 0 <= layer < config.num_layers and 0 <= unit < config.hidden_size and signal in columns.signals
    if not fits or written.count(":") not in (1, 2):
        raise ConfigError(
            f"--unit {written}: must be LAYER:UNIT or LAYER:UNIT:SIGNAL with a layer from 0 to "
            f"{config.num_layers - 1}, a unit from 0 to {config.hidden_size - 1}, and a signal among "
            f"{', '.join(columns.signals)}"
        )
    return Unit(layer, unit, signal)


def feature_unit(name: str, along: Along) -> Unit:
    """The unit that follows a feature best.

    Raises:
        ConfigError: there is no such feature, or no unit follows it in this text.
    """
    names = [found.feature for found in along.followed]
    unit = along.best(name)
    if unit is None:
        known = ", ".join(names) if names else "none, it is too short"
        raise ConfigError(f"--feature {name}: not a feature that varies in this text; those are: {known}")
    return unit


def scale_of(unit: Unit, values: NDArray[Any], cell: str) -> tuple[float, float]:
    """The lowest and highest value that shades tell apart: 0 and 1 of gates, else symmetric about 0."""
    if unit.signal not in ("hidden", "cell"):
        return 0.0, 1.0
    most = float(np.percentile(np.abs(values), 99)) if len(values) else 1.0
    most = most or 1.0
    return (0.0, most) if cell == "relu" else (-most, most)


def as_json(found: Inspection, unit: Unit | None) -> dict[str, Any]:
    """Every number that was found, as a JSON object.

    Args:
        found: what was found.
        unit: whose activations along the text are given, besides.
    """
    report: dict[str, Any] = {"model": found.description, "curves": found.curves}
    if found.along is not None:
        report["text"] = _text_json(found, found.along, unit)
    if found.gradients is not None:
        report["gradients"] = [
            {
                "network": reach.name,
                "cell": reach.config.cell,
                "half_life": reach.half_life,
                "norms": {kind: norms.tolist() for kind, norms in reach.norms.items()},
                "bound": None if reach.bound is None else reach.bound.tolist(),
            }
            for reach in found.gradients
        ]
    if found.memory is not None:
        report["memory"] = dataclasses.asdict(found.memory)
    return report


def _text_json(found: Inspection, along: Along, unit: Unit | None) -> dict[str, Any]:
    characters = along.script.characters
    report: dict[str, Any] = {
        "name": found.text,
        "characters": len(characters),
        "unknown": len(characters) - len(along.script.places),
        "bits_per_character": found.bits_per_character,
        "features": [
            {
                "feature": followed.feature,
                "measure": "auc" if followed.binary else "r",
                "mean": followed.share,
                "units": [
                    dataclasses.asdict(match.unit) | {"picked": match.picked, "held_out": match.held_out}
                    for match in followed.matches
                ],
            }
            for followed in along.followed
        ],
        "saturation": [
            {"layer": one.layer, "gate": one.gate, "left": one.left.tolist(), "right": one.right.tolist()}
            for one in along.saturation
        ],
    }
    if unit is not None:
        places = along.script.places[: len(along.shown)]
        report["unit"] = dataclasses.asdict(unit) | {
            "places": places.tolist(),
            "values": along.shown[:, along.columns.column(unit)].tolist(),
        }
    return report
