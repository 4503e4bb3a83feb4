from __future__ import annotations

import pytest

from tandem import DefinitionError, model_dependent, on_demand, postprocess
from tandem.transforms import order


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

    with pytest.raises(DefinitionError, match="form a cycle: a, b"):
        order([a, b], set())


def test_missing_input_is_named() -> None:
    @on_demand
    def a(x):
        return x

    with pytest.raises(DefinitionError, match="a reads 'x', which nothing provides"):
        order([a], {"y"})


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
