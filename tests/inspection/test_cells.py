"""Activations against the equations, in blocks, and from Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from charrnn.api import Model
from charrnn.config import Cell
from charrnn.errors import UnknownCharacterError
from charrnn.inspection import cells
from charrnn.inspection.cells import SIGNALS, Columns, Reader, Unit, activations
from tests.conftest import ALPHABET, random_model
from tests.inspection.models import naive_activations

CELLS: list[Cell] = ["lstm", "gru", "rnn", "relu"]
TEXT = "To be, or not to be: that is the question.\nWhether"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "embedding"), [(1, 5), (2, 8), (3, 5)])
def test_activations_are_the_equations(cell: Cell, layers: int, embedding: int) -> None:
    """Every signal of every unit is that of a naive loop over gates in float64, to 1e-5."""
    model = random_model(cell, layers, embedding=embedding)
    ids = model.tokenizer.encode(TEXT)
    found = activations(model, ids)
    expected = naive_activations(model, [model.tokenizer.start, *ids.tolist()])
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values[:, 1:], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_blocks_are_the_whole(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text read in blocks of seven characters has the activations of one read at once."""
    model = random_model(cell)
    ids = model.tokenizer.encode(TEXT)
    whole = activations(model, ids)
    monkeypatch.setattr(cells, "BLOCK", 7)
    for name, values in activations(model, ids).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_reset_is_a_new_beginning(cell: Cell) -> None:
    """After a reset the activations are those of a reader that has read nothing before."""
    model = random_model(cell)
    ids = model.tokenizer.encode(TEXT).astype(np.int64)
    found = Reader(model).read(ids, {20})
    np.testing.assert_allclose(found[20:], Reader(model).read(ids[20:]), atol=1e-6)
    np.testing.assert_allclose(found[:20], Reader(model).read(ids[:20]), atol=1e-6)


@pytest.mark.parametrize("text", [TEXT + "\nit", "one\ntwo\n", "\n\n"])
def test_items_know_nothing_of_each_other(text: str) -> None:
    """A model that learnt each line by itself has, in each line of a text, the activations of that line."""
    model = dataclasses.replace(random_model(), corpus={"lines": True})
    found = activations(model, model.tokenizer.encode(text))
    lines = [activations(model, model.tokenizer.encode(line)) for line in text.splitlines(keepends=True)]
    for name, values in found.items():
        np.testing.assert_allclose(values, np.concatenate([line[name] for line in lines], axis=1), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_columns_name_their_units(cell: Cell) -> None:
    """Each column has one unit, and each unit's column is that column."""
    columns = Columns(random_model(cell).config)
    units = [columns.unit(column) for column in range(columns.count)]
    assert [columns.column(unit) for unit in units] == list(range(columns.count))
    assert set(units) == {Unit(la, u, s) for la in range(2) for u in range(8) for s in SIGNALS[cell]}


def test_from_python() -> None:
    """``model.activations`` gives (units, characters) under names that say layer and signal."""
    found = Model(random_model("lstm")).activations("To be")
    assert {name.split(".")[1] for name in found} == set(SIGNALS["lstm"])
    assert {array.shape for array in found.values()} == {(8, 5)}
    assert Model(random_model()).activations("")["0.cell"].shape == (8, 0)
    assert Model(random_model(vocabulary=None)).activations("é")["0.cell"].shape == (8, 2)
    with pytest.raises(UnknownCharacterError, match="é"):
        Model(random_model(vocabulary=ALPHABET)).activations("é")
