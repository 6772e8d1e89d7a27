"""Weights of several models as one, fitted to a text by expectation maximization.

A mixture gives a text of T symbols the probability prod_t sum_i w_i p_i(t). Its logarithm is concave in the
weights, and each step

    w_i <- 1/T sum_t  w_i p_i(t) / sum_j w_j p_j(t)

makes it greater, until it is greatest (Dempster, Laird & Rubin, 1977; Jelinek & Mercer, 1980).

The text to which weights are fitted is a little more probable under them than others are. To score that very
text, each half of it is given the weights that are fitted to the other (two-fold cross-validation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.evaluator import Evaluator, section_ends
from charrnn.evaluation.measure import Piece
from charrnn.model.file import ModelFile
from charrnn.model.mixture import TINY, mix_models
from charrnn.text.pairs import target_mask
from charrnn.text.recorded import recorded_split
from charrnn.text.scored import ScoredText
from charrnn.text.tokenizer import Ids, Places
from charrnn.use_config import EvaluationConfig

FITTED = 1 << 14  # characters to which weights are fitted at most: enough for two decimals of a weight
STEPS, CLOSE = 1000, 1e-7  # of the steps of expectation maximization; a change of a weight that ends them
LEAST = 1e-6  # of a weight, so that no symbol of any part has probability 0


def fit_mix(models: Sequence[ModelFile], text: ScoredText | None = None) -> tuple[ModelFile, ScoredText]:
    """The mixture of models with the weights under which a text is most probable, and the text.

    Args:
        models: at least two.
        text: read with the mixture's tokenizer; the beginning of the first model's validation split if None.

    Raises:
        ConfigError: the models do not mix.
        CorpusError: the first model's text cannot be read again.
    """
    mixed = mix_models(models, [1.0] * len(models))
    if text is None:
        remedy = "give the weights yourself, with --mix"
        text = recorded_split(mixed.corpus, mixed.tokenizer, "validation", remedy).beginning(FITTED)
    found = probabilities_of(mixed, text)[:, learnt_symbols(mixed, text.ids)]
    return mix_models(models, fit_weights(found).tolist()), text


def probabilities_of(mixed: ModelFile, text: ScoredText) -> NDArray[np.float64]:
    """The probabilities (parts, time) that the parts of a mixture give to a text's symbols."""
    config = EvaluationConfig()
    evaluator = Evaluator(mixed, config)
    ends = section_ends(mixed, config, text)
    return np.stack(list(evaluator.part_probabilities(text.ids, text.tokenizer.start, ends)))


def learnt_symbols(model: ModelFile, ids: Ids) -> NDArray[np.bool_]:
    """Which of a text's ids (time,) a model predicts: all, or of pairs the targets and their line ends."""
    newline = model.tokenizer.newline
    if not model.corpus.get("pairs") or newline is None:
        return np.ones(len(ids), np.bool_)
    return target_mask(ids, newline, int(model.tokenizer.lookup("\t")[0]))


def cross_fitted(probabilities: NDArray[np.floating[Any]], learnt: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The probabilities (time,) of a mixture, each half with the weights that are fitted to the other.

    Args:
        probabilities: (parts, time) of the text's symbols.
        learnt: (time,) to which of them weights are fitted; each half has as many.
    """
    before: NDArray[np.int64] = np.cumsum(learnt) - learnt  # (time,) learnt symbols before each one
    first = before < learnt.sum() // 2
    mixed = np.empty(len(first))
    for half in (first, ~first):
        mixed[half] = fit_weights(probabilities[:, ~half & learnt][:, :FITTED]) @ probabilities[:, half]
    return mixed


class CrossFitted(Evaluator):
    """Scores the text to which the weights of a mixture were fitted, with ``cross_fitted`` ones."""

    def read(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Piece]:
        """The natural-log probabilities of ids, in one piece; the arguments are those of ``Evaluator``."""
        found = np.stack(list(self.part_probabilities(ids, start, ends)))
        yield 0, np.log(np.maximum(cross_fitted(found, learnt_symbols(self.model, ids)), TINY))


def fit_weights(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The weights (parts,) under which a text is most probable.

    Args:
        probabilities: (parts, time) of the text's symbols.

    >>> fit_weights(np.array([[0.8, 0.8, 0.1], [0.1, 0.1, 0.9]])).round(3).tolist()
    [0.702, 0.298]
    """
    parts = len(probabilities)
    weights = np.full(parts, 1 / parts)
    for _ in range(STEPS):
        joint = weights[:, None] * probabilities  # (parts, time)
        total = joint.sum(axis=0)
        possible = total > TINY  # a symbol that no part expects says nothing of the weights
        if not possible.any():
            break
        before, weights = weights, (joint[:, possible] / total[possible]).mean(axis=1)
        if np.abs(weights - before).max() < CLOSE:
            break
    found: NDArray[np.float64] = np.maximum(weights, LEAST) / np.maximum(weights, LEAST).sum()
    return found
