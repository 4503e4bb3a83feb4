"""Transforms: plain functions on NumPy columns, bound to columns by the names of their parameters.

* ``@on_demand`` computes a feature from the request and stored features; the result is a column of the function's name.
* ``@model_dependent`` prepares a column for one model, with state that was fitted in training (a scaler, an encoder).
* ``@postprocess`` computes a further field of the answer from the prediction.

Every transform must treat each row by itself: :func:`check_row_independence` rejects one that leaks across rows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np

from tandem.contract import NUMPY_DTYPES, Column, Field, FieldType, array_length, check_name
from tandem.errors import DefinitionError

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
        positional, keywords = _parameters(self.function)
        if len(sources) != len(positional):
            raise DefinitionError(f"{name} takes {len(positional)} column(s), not {len(sources)}")
        inputs = tuple(source if isinstance(source, str) else source.name for source in sources)
        return BoundTransform(
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


def on_demand(function: Function) -> OnDemand:
    """Declare an on-demand transform.

    The function's parameters name the columns it reads: request fields, features, other on-demand transforms,
    ``as_of`` (``datetime64[us]``), or ``<view>_age`` (``float64``, seconds since the event time, NaN where missing).

    Raises:
        DefinitionError: if a parameter is not positional.
    """
    check_name(function.__name__, "on-demand transform")
    positional, keywords = _parameters(function)
    if keywords:
        raise DefinitionError(
            f"{function.__name__}: an on-demand transform has no state, so {keywords[0]} must be positional"
        )
    return OnDemand(function.__name__, function, positional)


@overload
def model_dependent(function: Function, /) -> ModelDependent: ...
@overload
def model_dependent(*, fit: Callable[..., Mapping[str, Any]] | None = None) -> Callable[[Function], ModelDependent]: ...
def model_dependent(
    function: Function | None = None, /, *, fit: Callable[..., Mapping[str, Any]] | None = None
) -> ModelDependent | Callable[[Function], ModelDependent]:
    """Declare a model-dependent transform.

    Positional parameters are columns, given when the transform is bound; keyword-only parameters are its state. The
    result has shape ``(rows,)``, or ``(rows, k)`` for k model inputs, as of an encoder.

    Args:
        function: The transform, where there is nothing to fit.
        fit: Computes the state from the columns of the training data.

    Raises:
        DefinitionError: if the function has state and nothing fits it.
    """

    def declare(function: Function) -> ModelDependent:
        check_name(function.__name__, "model-dependent transform")
        _, keywords = _parameters(function)
        if keywords and fit is None:
            raise DefinitionError(f"{function.__name__}: nothing fits its state {', '.join(keywords)}; give fit=")
        return ModelDependent(function, fit)

    return declare(function) if function else declare


def postprocess(type: FieldType, *, unit: str = "", description: str = "") -> Callable[[Function], Postprocess]:
    """Declare a post-processing step, whose result becomes a field of the answer under the function's name.

    Positional parameters name columns: the prediction, another step, an output tensor of the model, or anything that
    an on-demand transform can read. Keyword-only parameters are state, given when the bundle is written.

    Args:
        type: Type of the result: a single value, not an array.
        unit: Its unit.
        description: For people.

    Raises:
        DefinitionError: if it is an array.
    """
    if array_length(type) is not None:
        raise DefinitionError(f"a post-processing step gives single values, not {type}")

    def declare(function: Function) -> Postprocess:
        check_name(function.__name__, "post-processing step")
        positional, keywords = _parameters(function)
        answer = Field(type, unit=unit, description=description or inspect.getdoc(function) or "")
        return Postprocess(function.__name__, function, positional, keywords, answer)

    return declare


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
            names = {transform.name for transform in pending}
            for transform in pending:
                for missing in transform.inputs:
                    if missing not in available | names:
                        raise DefinitionError(f"{transform.name} reads {missing!r}, which nothing provides")
            raise DefinitionError(f"transforms read each other in a circle: {', '.join(sorted(names))}")
        ordered += ready
        available |= {transform.name for transform in ready}
        pending = [transform for transform in pending if transform not in ready]
    return ordered


def call(transform: Transform, columns: Mapping[str, Column], state: Mapping[str, Any]) -> Any:
    """Result of a transform, checked for its shape.

    Raises:
        DefinitionError: if it is not an array with one entry per row.
    """
    inputs = [columns[name] for name in transform.inputs]
    rows = len(inputs[0]) if inputs else len(next(iter(columns.values())))
    return checked(transform.name, transform.function(*inputs, **as_arrays(state)), rows)


def as_arrays(state: Mapping[str, Any]) -> State:
    """Fitted state as a transform gets it: lists as arrays."""
    return {name: np.asarray(value) if isinstance(value, list) else value for name, value in state.items()}


def check_finite(name: str, state: Mapping[str, Any]) -> None:
    """Refuse fitted state with a NaN or an infinity: JSON has none, and whatever is computed with it is lost.

    Args:
        name: Of the transform.
        state: Its state.

    Raises:
        DefinitionError: naming the transform and the state.
    """
    for key, value in state.items():
        if not _is_finite(value):
            raise DefinitionError(f"{name}: state {key!r} is not finite: {value!r:.80}")


def _is_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def checked(name: str, result: Any, rows: int) -> Any:
    """The result of a transform, if it is an array with one entry per row.

    Raises:
        DefinitionError: if it is not.
    """
    # subclasses such as masked arrays would not reach the model as they are
    if type(result) is np.ndarray and result.ndim and len(result) == rows:
        return result
    outcome = f"{type(result).__name__} {getattr(result, 'shape', '')}".rstrip()
    raise DefinitionError(f"{name} must return an array of {rows} rows, not {outcome}")


def check_row_independence(transform: Transform, columns: Mapping[str, Column], state: Mapping[str, Any]) -> None:
    """Reject a transform whose result for a row depends on the other rows.

    The transform runs on all rows, on each of up to 16 rows alone, on halves, and in reverse; all results must be
    equal bit for bit.

    Args:
        transform: The transform.
        columns: Sample of its inputs; at least two rows.
        state: Its state.

    Raises:
        DefinitionError: naming the transform and a row that changes with its neighbours.
    """
    with np.errstate(all="ignore"):
        whole = call(transform, columns, state)
        rows = len(whole)
        selections = [np.array([row]) for row in range(0, rows, max(1, rows // 16))]
        selections += [np.arange(rows // 2), np.arange(rows // 2, rows), np.arange(rows)[::-1]]
        for selection in selections:
            if not len(selection):
                continue
            arguments = {name: np.ascontiguousarray(columns[name][selection]) for name in transform.inputs}
            differs = ~_equal(call(transform, arguments, state), whole[selection])
            if differs.any():
                row = int(selection[np.flatnonzero(differs)[0]])
                raise DefinitionError(
                    f"{transform.name} is not row-independent: row {row} of {rows} gets another value when computed "
                    f"among {len(selection)} row(s); a transform must not use mean, std, sort, cumulative sums … "
                    "across rows"
                )


def _equal(left: Any, right: Any) -> Any:
    """Rows that are equal bit for bit, NaN equal to NaN; ``bool``, shape ``(rows,)``."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return np.zeros(len(left), bool)
    same = left == right
    if left.dtype.kind in "fmM":
        same |= np.isnan(left) & np.isnan(right) if left.dtype.kind == "f" else np.isnat(left) & np.isnat(right)
    return same.reshape(len(left), -1).all(axis=1)


def as_answer_column(values: Column, type_: FieldType) -> Column:
    """A prediction or post-processing result in the dtype of its declared type.

    Raises:
        TypeError: if that would change values, such as numbers to strings or fractions to whole numbers.
    """
    dtype = NUMPY_DTYPES[type_]
    if type_ == "string":
        texts = values.astype(object) if values.dtype.kind == "U" else values
        if texts.dtype != dtype or set(map(type, texts.tolist())) - {str}:
            raise TypeError(f"values of dtype {values.dtype} are no strings")
        return texts
    return values if values.dtype is dtype else values.astype(dtype, casting="same_kind", copy=False)


def _parameters(function: Function) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the positional and of the keyword-only parameters."""
    positional: list[str] = []
    keywords: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(f"{function.__name__}: name each parameter; *{parameter.name} binds to no column")
        (keywords if parameter.kind is parameter.KEYWORD_ONLY else positional).append(parameter.name)
    return tuple(positional), tuple(keywords)
