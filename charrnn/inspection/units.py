"""Which units follow which features of a text, and how often gates are saturated.

A text is split in two: its first part picks, for each feature, the units that correlate with it most (for a
yes/no feature this is the point-biserial correlation); its second part, which had no say in that, measures
them: Pearson's correlation, or for a yes/no feature the area under the ROC curve. Sums are kept, not
activations, so that memory does not grow with the text.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.inspection.cells import GATES, Columns, Unit
from charrnn.inspection.features import Feature

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

CANDIDATES = 5  # units a feature is measured with
LEAST = 200  # characters below which nothing is compared: everything follows something in a short text
LEFT, RIGHT = 0.1, 0.9  # beyond which Karpathy, Johnson & Li (2015) call a gate saturated


@dataclasses.dataclass(frozen=True)
class Match:
    """A unit that follows a feature.

    Attributes:
        unit: which.
        picked: its correlation with the feature on the part that picked it.
        held_out: on the other part its correlation or, for a yes/no feature, the area under the curve of the
            unit, or of its negative where ``picked`` is negative.
    """

    unit: Unit
    picked: float
    held_out: float


@dataclasses.dataclass(frozen=True)
class Followed:
    """A feature, and the units that follow it best, best first on the part that picked them.

    Attributes:
        feature: its name.
        binary: whether it is a yes/no feature.
        local: whether the last two characters say it all.
        share: the feature's mean on the held-out part: of a yes/no feature, how often it is so.
        matches: of the units.
    """

    feature: str
    binary: bool
    local: bool
    share: float
    matches: list[Match]

    @property
    def strength(self) -> float:
        """How well the best unit follows on the held-out part: 0 is not at all, 1 is exactly."""
        if not self.matches:
            return 0.0
        best = self.matches[0].held_out
        return 2 * best - 1 if self.binary else abs(best)


class Matcher:
    """Compares every column with every feature while a text is read.

    Args:
        columns: what stands where in the activations.
        features: those of the characters that are read, or None for one that is given with each block.
        count: characters that will be read.
    """

    def __init__(self, columns: Columns, features: list[Feature], count: int) -> None:
        self._columns, self._features = columns, features
        self._picking = count // 2 if count >= LEAST else 0
        self._enough = count >= LEAST
        self._done = 0
        width = len(features)
        self._x, self._xx = np.zeros(columns.count), np.zeros(columns.count)
        self._f, self._ff = np.zeros(width), np.zeros(width)
        self._xf = np.zeros((columns.count, width))
        self._chosen: list[
            list[tuple[int, float]]
        ] = []  # for each feature its columns, and their correlation
        self._watched: NDArray[np.int64] = np.zeros(0, np.int64)
        self._held: list[Floats] = []  # (time, watched) each
        self._held_features: list[Floats] = []  # (time, features) each

    def add(self, block: Floats, values: Floats) -> None:
        """Takes the next characters' activations (time, columns) and features (time, features)."""
        if not self._enough:
            return
        cut = max(0, min(len(block), self._picking - self._done))
        if cut:
            self._pick(block[:cut], values[:cut])
        self._done += len(block)
        if self._done >= self._picking and not self._chosen:
            self._choose()
        if cut < len(block):
            self._held.append(block[cut:, self._watched])
            self._held_features.append(values[cut:])

    def _pick(self, block: Floats, values: Floats) -> None:
        f = values.astype(np.float64)
        self._x += block.sum(axis=0, dtype=np.float64)
        self._xx += np.einsum("tc,tc->c", block, block, dtype=np.float64)
        self._f += f.sum(axis=0)
        self._ff += (f * f).sum(axis=0)
        self._xf += block.T.astype(np.float64) @ f

    def _choose(self) -> None:
        count = self._picking
        deviation_x = np.sqrt(np.maximum(self._xx / count - (self._x / count) ** 2, 0))
        deviation_f = np.sqrt(np.maximum(self._ff / count - (self._f / count) ** 2, 0))
        covariance = self._xf / count - np.outer(self._x / count, self._f / count)
        scale = np.outer(deviation_x, deviation_f)
        alive = (deviation_x[:, None] > 1e-6) & (deviation_f > 0)
        r = np.divide(covariance, scale, out=np.zeros_like(scale), where=alive)
        for index in range(len(self._features)):
            own = r[:, index]
            order = np.argsort(-np.abs(own), kind="stable")
            self._chosen.append(self._distinct(order, own))
        self._watched = np.unique([c for found in self._chosen for c, _ in found]).astype(np.int64)

    def _distinct(self, order: NDArray[Any], r: Doubles) -> list[tuple[int, float]]:
        """The first columns in this order, each unit once: its hidden state and its cell are much alike."""
        found: list[tuple[int, float]] = []
        seen = set()
        for column in order[: 8 * CANDIDATES].tolist():
            unit = self._columns.unit(column)
            if r[column] == 0 or len(found) == CANDIDATES:
                break
            if (unit.layer, unit.unit) not in seen:
                seen.add((unit.layer, unit.unit))
                found.append((column, float(np.clip(r[column], -1, 1))))
        return found

    def followed(self) -> list[Followed]:
        """For each feature that varies in both parts, the units that follow it best."""
        if not self._held:
            return []
        held, values = np.concatenate(self._held), np.concatenate(self._held_features)
        found = []
        for index, feature in enumerate(self._features):
            own = values[:, index]
            if own.min() == own.max() or not self._chosen[index]:
                continue
            matches = []
            for column, r in self._chosen[index]:
                unit = held[:, int(np.searchsorted(self._watched, column))]
                if feature.binary:
                    measured = area_under_curve(unit if r > 0 else -unit, own > 0)
                else:
                    measured = correlation(unit, own)
                matches.append(Match(self._columns.unit(column), r, measured))
            found.append(Followed(feature.name, feature.binary, feature.local, float(own.mean()), matches))
        return found


def correlation(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Pearson's correlation of two (n,) series; 0 where one of them is constant.

    >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    -1.0
    """
    a, b = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    scale = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else 0.0


def area_under_curve(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The probability that a positive's score exceeds a negative's; ties count half (Hanley & McNeil, 1982).

    >>> area_under_curve(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, scores, side="left")
    ranks = (below + np.searchsorted(ordered, scores, side="right") + 1) / 2  # (n,) from 1, ties averaged
    count = int(positive.sum())
    others = len(scores) - count
    if count == 0 or others == 0:
        return 0.5
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


@dataclasses.dataclass(frozen=True)
class Saturated:
    """How often a layer's gate is saturated, unit by unit.

    Attributes:
        layer: from 0.
        gate: its name.
        left: (hidden,) the share of characters at which it is below 0.1.
        right: (hidden,) the share at which it is above 0.9.
    """

    layer: int
    gate: str
    left: Doubles
    right: Doubles


class Saturation:
    """Counts saturated gates while a text is read."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._gates = [
            (layer, signal)
            for layer in range(columns.config.num_layers)
            for signal in columns.signals
            if signal in GATES
        ]
        self._counts = [np.zeros((2, columns.config.hidden_size)) for _ in self._gates]
        self._done = 0

    def add(self, block: Floats) -> None:
        """Takes the next characters' activations (time, columns)."""
        self._done += len(block)
        for (layer, gate), counts in zip(self._gates, self._counts, strict=True):
            values = block[:, self._columns.of(layer, gate)]
            counts[0] += (values < LEFT).sum(axis=0)
            counts[1] += (values > RIGHT).sum(axis=0)

    def found(self) -> list[Saturated]:
        """The shares, by layer and gate; nothing for cells without gates."""
        return [
            Saturated(layer, gate, *(counts / max(1, self._done)))
            for (layer, gate), counts in zip(self._gates, self._counts, strict=True)
        ]
