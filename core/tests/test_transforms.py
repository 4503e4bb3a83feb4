from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, model_dependent, on_demand, postprocess
from tandem.evaluation import as_answer_column, evaluate
from tandem.row_independence import check_row_independence
from tandem.transforms import order

X = {"x": np.random.default_rng(1).normal(size=40), "y": np.arange(40.0)}


def test_order_puts_each_after_its_inputs() -> None:
    @on_demand
    def a(b, c):
        return b

    @on_demand
    def b(c):
        return c

    @on_demand
    def c(x):
        return x

    assert [step.name for step in order([a, b, c], {"x"})] == ["c", "b", "a"]


def test_circle_is_named() -> None:
    @on_demand
    def a(b):
        return b

    @on_demand
    def b(a):
        return a

    with pytest.raises(DefinitionError, match="in a circle: a, b"):
        order([a, b], set())


def test_missing_input_is_named() -> None:
    @on_demand
    def a(x):
        return x

    with pytest.raises(DefinitionError, match="a reads 'x', which nothing provides"):
        order([a], {"y"})


LEAKS = {
    "mean": lambda x: x - x.mean(),
    "std": lambda x: x / x.std(),
    "cumsum": np.cumsum,
    "sort": np.sort,
    "rank": lambda x: np.argsort(np.argsort(x)).astype(float),
    "shift": lambda x: np.roll(x, 1),
    "max": lambda x: x / x.max(),
    "position": lambda x: np.arange(len(x)) + x,
    "length": lambda x: x * len(x),
    "first": lambda x: x - x[0],
    "dtype": lambda x: x.astype(np.float32) if len(x) == 1 else x,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_leak_across_rows_is_caught(leak: str) -> None:
    @on_demand
    def leaky(x):
        return LEAKS[leak](x)

    with pytest.raises(DefinitionError, match="leaky is not row-independent: row"):
        check_row_independence(leaky, X, {})


@pytest.mark.parametrize(
    "function",
    [np.exp, np.log, np.abs, np.isnan, lambda x: np.where(x > 0, x, np.nan), lambda x: np.stack([x, x * 2], axis=1)],
)
def test_functions_of_one_row_pass(function: Any) -> None:
    @on_demand
    def fine(x):
        return function(x)

    with np.errstate(all="ignore"):
        check_row_independence(fine, X, {})


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


def test_declarations_are_checked() -> None:
    with pytest.raises(DefinitionError, match="has no state, so k must be positional"):

        @on_demand
        def f(x, *, k):
            return x

    with pytest.raises(DefinitionError, match=r"name each parameter; \*columns binds to no column"):

        @on_demand
        def g(*columns):
            return columns[0]

    with pytest.raises(DefinitionError, match="nothing fits its state k"):

        @model_dependent
        def h(x, *, k):
            return x

    with pytest.raises(DefinitionError, match=r"takes 1 column\(s\), not 2"):

        @model_dependent
        def i(x):
            return x

        i("a", "b")

    with pytest.raises(DefinitionError, match="reserved"):

        @postprocess("string")
        def degraded(x):
            return x


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
