"""Transforms written as ONNX: a function of NumPy is called with arrays that write down what is done to them.

What cannot be written is refused with its name: a branch on values, a loop over rows, a function of NumPy without a
counterpart here, and times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from tandem.errors import DefinitionError
from tandem.onnx_graphs import ELEMENT_TYPES, GraphWriter

SAMPLE_ROWS: Final = 2
"""Rows with which NumPy is asked for the dtype and shape of a result."""

_OPERATORS: Final[Mapping[str, str]] = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negative": "Neg",
    "absolute": "Abs",
    "fabs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "sin": "Sin",
    "cos": "Cos",
    "tanh": "Tanh",
    "floor": "Floor",
    "ceil": "Ceil",
    "rint": "Round",
    "sign": "Sign",
    "power": "Pow",
    "isnan": "IsNaN",
    "logical_not": "Not",
    "invert": "Not",
}
"""Operators whose operands have the dtype of their result, or one operand of its own."""

_COMPARISONS: Final[Mapping[str, str]] = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
_OF_BOOLEANS: Final[Mapping[str, str]] = {
    "logical_and": "And",
    "bitwise_and": "And",
    "logical_or": "Or",
    "bitwise_or": "Or",
    "logical_xor": "Xor",
    "bitwise_xor": "Xor",
}


_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Sin", "Cos", "Tanh", "Floor", "Ceil", "Round", "IsNaN"), "f"),
    "Not": "b",
}
"""Kinds of dtypes that an operator takes; the others take all numbers."""


class NotTraceable(DefinitionError):
    """A transform cannot be written as ONNX; the message says what it does."""


class Traced(NDArrayOperatorsMixin):
    """An array of a graph under construction.

    Args:
        graph: The graph.
        name: Name of the value in it.
        sample: Values of the same dtype, and of the same shape but for the rows.
    """

    def __init__(self, graph: GraphWriter, name: str, sample: NDArray[Any]) -> None:
        self.graph = graph
        self.name = name
        self.sample = sample

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.sample.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.sample.ndim

    def astype(self, dtype: Any, **options: Any) -> Traced:
        """The values as another dtype."""
        sample = self.sample.astype(dtype, **options)
        return self if sample.dtype == self.dtype else Traced(self.graph, self.cast(sample.dtype), sample)

    def clip(self, low: Any = None, high: Any = None) -> Traced:
        """The values within limits."""
        result: Any = self
        if low is not None:
            result = np.maximum(result, low)
        return result if high is None else np.minimum(result, high)  # type: ignore[no-any-return]

    def cast(self, dtype: np.dtype[Any]) -> str:
        """Name of the values as another dtype."""
        if dtype == self.dtype:
            return self.name
        if "O" in (dtype.kind, self.dtype.kind):
            raise NotTraceable(f"turns {self.dtype} into {dtype}")
        return self.graph.node("Cast", [self.name], to=_element_type(dtype))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise NotTraceable(f"calls numpy.{ufunc.__name__} with {method if options == {} else ', '.join(options)}")
        operands = tuple(map(_as_operand, operands))
        samples = [operand.sample if isinstance(operand, Traced) else operand for operand in operands]
        with np.errstate(all="ignore"):
            sample = ufunc(*samples)
        return Traced(self.graph, _write(self.graph, ufunc.__name__, operands, samples, sample.dtype), sample)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        if function not in _FUNCTIONS or options:
            raise NotTraceable(f"calls numpy.{function.__name__}{' with ' if options else ''}{', '.join(options)}")
        return _FUNCTIONS[function](self.graph, *arguments)

    def __getitem__(self, index: Any) -> Traced:
        match index:
            case (slice(start=None, stop=None, step=None), None) if self.ndim == 1:
                axes = self.graph.constant(np.array([1]))
                return Traced(self.graph, self.graph.node("Unsqueeze", [self.name, axes]), self.sample[:, None])
            case (slice(start=None, stop=None, step=None), int(column)) if self.ndim == 2:
                place = self.graph.constant(np.array(column))
                return Traced(self.graph, self.graph.node("Gather", [self.name, place], axis=1), self.sample[:, column])
        raise NotTraceable("takes rows by their number")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotTraceable(f"uses .{name} of an array")

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotTraceable("reads single values, as in a branch or a loop")

    __bool__ = __iter__ = __len__ = __float__ = __int__ = __index__ = __array__ = __contains__ = _refuse


def _write(graph: GraphWriter, name: str, operands: Sequence[Any], samples: Sequence[Any], dtype: np.dtype[Any]) -> str:
    """The node of a call of NumPy; returns the name of its output."""
    # of what says something about values: their own dtype
    own = np.result_type(*samples)
    if name in _COMPARISONS:
        return graph.node(_COMPARISONS[name], _operands(graph, operands, own))
    if name == "not_equal":
        return graph.node("Not", [graph.node("Equal", _operands(graph, operands, own))])
    if name in _OF_BOOLEANS and own.kind == "b":
        return graph.node(_OF_BOOLEANS[name], _operands(graph, operands, own))
    if name in ("minimum", "maximum"):
        return _extreme(graph, name, _operands(graph, operands, dtype), dtype)
    if name == "square":
        return graph.node("Mul", _operands(graph, operands, dtype) * 2)
    kinds = _KINDS.get(_OPERATORS.get(name, ""), "iuf")
    if name not in _OPERATORS or own.kind not in kinds or (dtype.kind not in kinds and name != "isnan"):
        if own.kind in "iu" and dtype.kind == "f" and name in _OPERATORS:
            # whole numbers become floats, as those of a division
            return graph.node(_OPERATORS[name], _operands(graph, operands, dtype))
        raise NotTraceable(f"calls numpy.{name} of {own}")
    return graph.node(_OPERATORS[name], _operands(graph, operands, own if name == "isnan" else dtype))


def _extreme(graph: GraphWriter, name: str, operands: Sequence[str], dtype: np.dtype[Any]) -> str:
    """The smaller or the greater one; NaN as NumPy has it, whatever the runtime's own operators do with it."""
    chosen = graph.node("Less" if name == "minimum" else "Greater", operands)
    if dtype.kind == "f":
        chosen = graph.node("Or", [chosen, graph.node("IsNaN", operands[:1])])
    return graph.node("Where", [chosen, *operands])


def _as_operand(value: Any) -> Any:
    """A constant as an array, with texts as objects; Python's numbers stay, since they take the dtype of the others."""
    if isinstance(value, Traced | bool | int | float):
        return value
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else array


def _operands(graph: GraphWriter, operands: Sequence[Any], dtype: np.dtype[Any]) -> list[str]:
    return [
        operand.cast(dtype) if isinstance(operand, Traced) else graph.constant(np.asarray(operand, _known(dtype)))
        for operand in operands
    ]


def _known(dtype: np.dtype[Any]) -> np.dtype[Any]:
    _element_type(dtype)
    return dtype


def _element_type(dtype: np.dtype[Any]) -> int:
    if str(dtype) not in ELEMENT_TYPES:
        raise NotTraceable(f"computes with {dtype}")
    return ELEMENT_TYPES[str(dtype)]


def _where(graph: GraphWriter, condition: Any, chosen: Any, other: Any) -> Traced:
    operands = tuple(map(_as_operand, (condition, chosen, other)))
    samples = [operand.sample if isinstance(operand, Traced) else operand for operand in operands]
    sample = np.where(*samples)
    names = [*_operands(graph, operands[:1], np.dtype(bool)), *_operands(graph, operands[1:], sample.dtype)]
    return Traced(graph, graph.node("Where", names), sample)


def _nan_to_num(graph: GraphWriter, values: Traced) -> Traced:
    if values.dtype.kind != "f":
        return values
    limits = np.finfo(values.dtype)
    return _where(graph, np.isnan(values), 0.0, values.clip(limits.min, limits.max))


_FUNCTIONS: Final[Mapping[Callable[..., Any], Callable[..., Traced]]] = {
    np.where: _where,
    np.nan_to_num: _nan_to_num,
    np.clip: lambda graph, values, low, high: values.clip(low, high),
}
