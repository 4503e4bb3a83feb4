"""Decorators that declare transforms: ``@on_demand``, ``@model_dependent``, ``@postprocess``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, overload

from tandem.contract import is_answer_type
from tandem.dtypes import FieldType
from tandem.errors import DefinitionError
from tandem.fields import Field, check_name
from tandem.transforms import Function, ModelDependent, OnDemand, Postprocess, parameter_names


def on_demand(function: Function) -> OnDemand:
    """Declare an on-demand transform.

    The function's parameters name the columns it reads: request fields, features, other on-demand transforms,
    ``as_of`` (``datetime64[us]``), ``<view>_age`` (``float64``, seconds since the event time, NaN where missing), or
    ``<column>_mask`` (``bool``, shape ``(rows, n)``, which numbers of arrays of different length count).

    Raises:
        DefinitionError: if a parameter is not positional.
    """
    check_name(function.__name__, "on-demand transform")
    positional, keywords = parameter_names(function)
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
        _, keywords = parameter_names(function)
        if keywords and fit is None:
            raise DefinitionError(f"{function.__name__}: nothing fits its state {', '.join(keywords)}; give fit=")
        return ModelDependent(function, fit)

    return declare(function) if function else declare


def postprocess(type: FieldType, *, unit: str = "", description: str = "") -> Callable[[Function], Postprocess]:
    """Declare a post-processing step, whose result becomes a field of the answer under the function's name.

    Positional parameters name columns: the prediction, another step, an output tensor of the model, or anything that
    an on-demand transform can read. Keyword-only parameters are state, given when the bundle is written.

    Args:
        type: Type of the result: a single value but bytes, or an array of a fixed number of numbers.
        unit: Its unit.
        description: Free text.

    Raises:
        DefinitionError: if it is another type.
    """
    if not is_answer_type(type):
        raise DefinitionError(f"a post-processing step gives single values or arrays of a fixed length, not {type}")

    def declare(function: Function) -> Postprocess:
        check_name(function.__name__, "post-processing step")
        positional, keywords = parameter_names(function)
        answer = Field(type, unit=unit, description=description or inspect.getdoc(function) or "")
        return Postprocess(function.__name__, function, positional, keywords, answer)

    return declare
