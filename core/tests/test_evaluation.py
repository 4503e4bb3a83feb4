from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, model_dependent, on_demand
from tandem.evaluation import as_answer_column, evaluate
from tandem.row_independence import check_row_independence

X = {"x": np.random.default_rng(1).normal(size=40), "y": np.arange(40.0)}


def test_fitted_lists_reach_a_transform_as_arrays() -> None:
    @model_dependent(fit=lambda x: {"edges": [0.0, 1.0]})
    def bucket(x, *, edges):
        return np.searchsorted(edges, x).astype(float) + edges.shape[0]

    check_row_independence(bucket("x"), X, {"edges": [0.0, 1.0]})


@pytest.mark.parametrize(
    "result", [1.0, [1.0] * 40, np.float64(1), np.zeros(3), np.array(1.0), None, np.ma.masked_array(np.zeros(40))]
)
def test_result_must_have_a_row_for_each(result: Any) -> None:
    @on_demand
    def odd(x):
        return result

    with pytest.raises(DefinitionError, match="odd must return an array of 40 rows, not "):
        evaluate(odd, X, {})


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (np.array([1.5]), "int64"),
        (np.array([1.5]), "string"),
        (np.array([1, 2], object), "string"),
        (np.array(["1"]), "float64"),
        (np.array([1.0]), "timestamp"),
        (np.array([1.0]), "bool"),
    ],
)
def test_answer_of_another_type_is_refused(values: Any, type_: Any) -> None:
    with pytest.raises(TypeError):
        as_answer_column(values, type_)


def test_answers_are_widened() -> None:
    assert as_answer_column(np.array([1], np.int32), "float64").dtype == np.float64
    assert as_answer_column(np.array([1], np.int32), "int64").dtype == np.int64
    assert as_answer_column(np.array(["a"]), "string").tolist() == ["a"]
