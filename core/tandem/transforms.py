"""Transforms: plain functions on NumPy columns, bound to columns by the names of their parameters.

* ``@on_demand`` computes a feature from the request and stored features; the result is a column of the function's name.
* ``@model_dependent`` prepares a column for one model, with state that was fitted in training (a scaler, an encoder).
* ``@postprocess`` computes a further field of the answer from the prediction.

Every transform must treat each row by itself; see :mod:`tandem.row_independence`. The decorators are in
:mod:`tandem.decorators`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tandem.dtypes import Column
from tandem.errors import DefinitionError
from tandem.fields import Field

Function = Callable[..., Any]
State = dict[str, Any]
"""Fitted values of one transform: numbers, strings, booleans, or lists of them."""


@dataclass(frozen=True)
class Transform:
    """A function with the columns that it reads.

    Attributes:
        name: Name of its result.
        function: Called with one array per input, shape ``(rows,)``, and its state as keywords.
        inputs: Names of the columns it reads.
        state_names: Names of its keyword-only parameters.
    """

    name: str
    function: Function
    inputs: tuple[str, ...]
    state_names: tuple[str, ...] = ()

    @property
    def required_state(self) -> frozenset[str]:
        """State that has no default in the function's signature."""
        parameters = inspect.signature(self.function).parameters
        return frozenset(name for name in self.state_names if parameters[name].default is inspect.Parameter.empty)


@dataclass(frozen=True)
class OnDemand(Transform):
    """An on-demand transform; made by :func:`on_demand`."""

    def __call__(self, *columns: Column) -> Column:
        """The function itself, so that a test can call it."""
        return self.function(*columns)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Postprocess(Transform):
    """A post-processing step; made by :func:`postprocess`.

    Attributes:
        answer: Type, unit and description of its result in an answer.
    """

    answer: Field = field(default_factory=lambda: Field("float64"))


Source = str | OnDemand
"""What a model-dependent transform or a model input reads: a column's name, or an on-demand transform."""


@dataclass(frozen=True)
class ModelDependent:
    """A model-dependent transform, not yet bound to columns; made by :func:`model_dependent`.

    Attributes:
        function: Called with one array per positional parameter, and the fitted state as keywords.
        fit: Called with the same arrays of the training data; returns the state. None where there is nothing to fit.
    """

    function: Function
    fit: Callable[..., Mapping[str, Any]] | None = None

    def __call__(self, *sources: Source) -> BoundTransform:
        """Bind the transform to columns: ``standardize("ctl_42d")``.

        Raises:
            DefinitionError: if the number of columns is not the number of positional parameters.
        """
        name = self.function.__name__
        positional, keywords = parameter_names(self.function)
        if len(sources) != len(positional):
            raise DefinitionError(f"{name} takes {len(positional)} column(s), not {len(sources)}")
        inputs = tuple(source if isinstance(source, str) else source.name for source in sources)
        return BoundTransform(
            # one function may be bound to several columns, each with its own state
            name="_".join((name, *inputs)),
            function=self.function,
            inputs=inputs,
            state_names=keywords,
            fit=self.fit,
            on_demand=tuple(source for source in sources if isinstance(source, OnDemand)),
        )


@dataclass(frozen=True)
class BoundTransform(Transform):
    """A model-dependent transform of given columns.

    Attributes:
        fit: See :class:`ModelDependent`.
        on_demand: The on-demand transforms among its sources.
    """

    fit: Callable[..., Mapping[str, Any]] | None = None
    on_demand: tuple[OnDemand, ...] = ()


F = TypeVar("F", bound=Function)


T = TypeVar("T", bound=Transform)


def order(transforms: Sequence[T], given: frozenset[str] | set[str]) -> list[T]:
    """Transforms in an order in which each finds its inputs.

    Args:
        transforms: Transforms of any order, with different names.
        given: Columns that exist before.

    Raises:
        DefinitionError: naming the transform and the input that nothing provides, or the transforms in a circle.
    """
    available = set(given)
    pending = list(transforms)
    ordered: list[T] = []
    while pending:
        ready = [transform for transform in pending if available.issuperset(transform.inputs)]
        if not ready:
            raise _unordered(pending, available)
        ordered += ready
        available |= {transform.name for transform in ready}
        pending = [transform for transform in pending if transform not in ready]
    return ordered


def _unordered(pending: Sequence[Transform], available: set[str]) -> DefinitionError:
    """Why transforms have no order: an input is missing, or they form a circle."""
    names = {transform.name for transform in pending}
    for transform in pending:
        for missing in transform.inputs:
            if missing not in available | names:
                return DefinitionError(f"{transform.name} reads {missing!r}, which nothing provides")
    return DefinitionError(f"transforms form a cycle: {', '.join(sorted(names))}")


def parameter_names(function: Function) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the positional and of the keyword-only parameters."""
    positional: list[str] = []
    keywords: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(f"{function.__name__}: name each parameter; *{parameter.name} binds to no column")
        (keywords if parameter.kind is parameter.KEYWORD_ONLY else positional).append(parameter.name)
    return tuple(positional), tuple(keywords)
