"""The only code that turns a request and its features into the model's tensors, and tensors into predictions.

A :class:`Pipeline` is pure: it reads no store, calls no model and never looks at the clock. Whoever uses it does the
lookup and the model call: online, in batch, in a stream, or embedded. So there is nothing that could skew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tandem.contract import Column, Columns, FieldType, Prediction, numpy_dtype
from tandem.elements import misfits, rule
from tandem.errors import ContractViolation, DefinitionError, Internal, NotFound, RequestError, Violation
from tandem.features import Feature, ViewColumns, ViewUse, parse_duration
from tandem.model import Model, age_column, input_name
from tandem.signature import Signature, TensorSpec, prediction_tensor
from tandem.transforms import State, Transform, as_answer_column, as_arrays, check_finite, checked

Reason = Literal["missing", "stale", "null"]
"""Why a stored value was not used: the store has none, it is older than its view's ``max_age``, or it is null."""

Tensors = dict[str, NDArray[Any]]
"""Named tensors of one batch; the first axis is the rows."""


@dataclass(slots=True)
class Inputs:
    """All that a prediction depends on, for a batch of rows.

    Attributes:
        request: A column for each field of the contract.
        views: Stored features, one entry for each of the model's views in its order.
        as_of: When each row's question is asked: ``datetime64[us]``, shape ``(rows,)``.
    """

    request: Columns
    views: tuple[ViewColumns, ...]
    as_of: Column

    def __len__(self) -> int:
        return len(self.as_of)

    def take(self, rows: Any) -> Inputs:
        """The given rows: an index array, a mask or a slice."""
        request = {name: column[rows] for name, column in self.request.items()}
        return Inputs(request, tuple(view.take(rows) for view in self.views), self.as_of[rows])


@dataclass(slots=True)
class Features:
    """Columns with features looked up, filled in and computed.

    Attributes:
        columns: Request fields, features, on-demand features, ``as_of``.
        degraded: For each row with a stored value that was not used: the reason, by view; where a default stands for a
            null, by ``view.feature``. Empty in good times.
        refused: For each row that cannot be answered: what to tell the client.
    """

    columns: Columns
    degraded: dict[int, dict[str, Reason]] = field(default_factory=dict)
    refused: dict[int, RequestError] = field(default_factory=dict)


class Pipeline:
    """A model with its signature and fitted state, compiled once.

    Args:
        model: The declaration.
        signature: Order and types of the model's tensors.
        state: Fitted state by the name of the transform or post-processing step.
    """

    def __init__(self, model: Model, signature: Signature, state: Mapping[str, State]) -> None:
        self.model = model
        self.signature = signature
        self.state = dict(state)
        self._views = [_Filler(use, model) for use in model.views]
        self._wanted_ages = self._ages()
        self._on_demand = [_Step(transform, {}) for transform in model.on_demand]
        self._model_dependent = [
            _Step(transform, self.state.get(transform.name, {})) for transform in model.model_dependent
        ]
        self._postprocess = [
            _Step(transform, self.state.get(transform.name, {})) for transform in model.ordered_postprocess
        ]
        self._assembly = [_Assembly(tensor) for tensor in signature.inputs]
        self._prediction = prediction_tensor(model, signature.outputs) if signature.outputs else ""

    def with_state(self, state: Mapping[str, State]) -> Pipeline:
        """The same pipeline with further state, by the name of the transform or post-processing step."""
        return Pipeline(self.model, self.signature, {**self.state, **{name: dict(own) for name, own in state.items()}})

    def check_state(self) -> None:
        """Refuse a pipeline that lacks fitted state, or whose state is not finite.

        Raises:
            DefinitionError: naming the transform and the state.
        """
        for transform in (*self.model.model_dependent, *self.model.ordered_postprocess):
            if lacking := transform.required_state - self.state.get(transform.name, {}).keys():
                raise DefinitionError(f"{transform.name} has no state for {', '.join(sorted(lacking))}")
        for name, state in self.state.items():
            check_finite(name, state)

    def features(self, inputs: Inputs) -> Features:
        """Fill in what is missing and run the on-demand transforms.

        Args:
            inputs: The batch, at least one row.

        Raises:
            Internal: ``transform_failed`` if a transform raises or returns another shape.
        """
        features = self.given(inputs)
        self._run(self._on_demand, features.columns)
        return features

    def given(self, inputs: Inputs) -> Features:
        """Fill in what is missing, and run nothing: the columns that exist before any transform."""
        # NumPy picks other inner loops for strided columns, and those may differ in the last bit
        features = Features({name: np.ascontiguousarray(column) for name, column in inputs.request.items()})
        features.columns["as_of"] = np.ascontiguousarray(inputs.as_of)
        for filler, view in zip(self._views, inputs.views, strict=True):
            filler.fill(features, view, inputs.as_of, inputs.request)
        for use in self._wanted_ages:
            event_time = inputs.views[self.model.views.index(use)].event_time
            features.columns[age_column(use)] = (inputs.as_of - event_time) / np.timedelta64(1, "s")
        return features

    def tensors(self, columns: Columns) -> Tensors:
        """Run the model-dependent transforms and assemble the model's input tensors.

        Args:
            columns: Of :meth:`features`; the results of model-dependent transforms are added.

        Returns:
            A C-contiguous array for each input tensor of the signature.

        Raises:
            ContractViolation: for values that the tensors' element types cannot hold, naming row, column and rule.
            Internal: ``transform_failed`` if a transform raises or returns another shape.
        """
        rows = len(columns["as_of"])
        # entered once, since that costs more than a transform; what a cast does to values is checked in the tensor
        with np.errstate(all="ignore"):
            for step in self._model_dependent:
                columns[step.name] = step.run(columns, rows)
            return {assembly.tensor.name: assembly.assemble(columns) for assembly in self._assembly}

    def predictions(self, outputs: Mapping[str, NDArray[Any]], columns: Columns) -> Columns:
        """Turn the model's output tensors into the fields of the answer.

        Args:
            outputs: The output tensors; the first axis is the rows.
            columns: Of :meth:`features`; the prediction and all outputs are added.

        Returns:
            A column for each field of an answer, the prediction first.

        Raises:
            Internal: ``prediction_not_finite`` naming rows, ``transform_failed``, or ``inference_failed`` if there is
                not one row for each that went in.
        """
        prediction = self.model.contract.prediction
        rows = columns["as_of"].shape
        for name, output in outputs.items():
            if output.shape[:1] != rows:
                text = f"output {name!r} of the model has shape {list(output.shape)} for {rows[0]} rows"
                raise Internal(text, code="inference_failed")
            columns[name] = _one_dimensional(output)
        values = _chosen(prediction, outputs[self._prediction])
        columns[prediction.name] = _answer(prediction.name, values, prediction.type)
        self._run(self._postprocess, columns)
        answers = {prediction.name: columns[prediction.name]}
        for step in self.model.postprocess:
            answers[step.name] = _answer(step.name, columns[step.name], step.answer.type)
        return answers

    def vectors(self, inputs: Inputs) -> Tensors:
        """Input tensors of a batch, for training and for comparison.

        Raises:
            RequestError: if a row cannot be answered, or a transform fails.
        """
        features = self.features(inputs)
        if features.refused:
            raise next(iter(features.refused.values()))
        return self.tensors(features.columns)

    def _run(self, steps: Sequence[_Step], columns: Columns) -> None:
        if not steps:
            return
        # a division by zero is the transform's own business: the result is checked, not the way to it
        rows = len(columns["as_of"])
        with np.errstate(all="ignore"):
            for step in steps:
                columns[step.name] = step.run(columns, rows)

    def _ages(self) -> list[ViewUse]:
        read = {
            name
            for transform in (*self.model.on_demand, *self.model.model_dependent, *self.model.postprocess)
            for name in transform.inputs
        }
        read |= {input_name(source) for inputs in self.model.inputs.values() for source in inputs}
        return [use for use in self.model.views if age_column(use) in read]


class _Step:
    """A transform with its state."""

    __slots__ = ("function", "inputs", "name")

    def __init__(self, transform: Transform, state: Mapping[str, Any]) -> None:
        self.name = transform.name
        self.inputs = transform.inputs
        self.function = partial(transform.function, **as_arrays(state)) if state else transform.function

    def run(self, columns: Columns, rows: int) -> Any:
        try:
            return checked(self.name, self.function(*[columns[name] for name in self.inputs]), rows)
        except DefinitionError as error:
            raise Internal(str(error), code="transform_failed") from error
        except Exception as error:
            raise Internal(f"{self.name}: {type(error).__name__}: {error}", code="transform_failed") from error


class _Filler:
    """Puts the features of one view among the columns, with defaults where values are missing or too old."""

    def __init__(self, use: ViewUse, model: Model) -> None:
        self.use = use
        self.max_age = parse_duration(use.view.max_age) if use.view.max_age else None
        self.required = [feature.name for feature in use.view.features if feature.default is None]
        self.names = [(use.prefix + feature.name, feature.name) for feature in use.view.features]
        self.fillers = [np.array(feature.filler, numpy_dtype(feature.type)) for feature in use.view.features]

    def fill(self, features: Features, view: ViewColumns, as_of: Column, request: Columns) -> None:
        # NaT compares as False: an age that is not known is not young enough
        usable = ~np.isnat(view.event_time) if self.max_age is None else as_of - view.event_time <= self.max_age
        all_usable = np.count_nonzero(usable) == len(usable)
        if all_usable and not view.nulls:
            for name, own in self.names:
                features.columns[name] = np.ascontiguousarray(view.columns[own])
            return
        for (name, own), filler in zip(self.names, self.fillers, strict=True):
            null = view.nulls.get(own)
            present = usable if null is None else usable & ~null
            filled = np.where(present[:, None] if filler.ndim else present, view.columns[own], filler)
            features.columns[name] = np.ascontiguousarray(filled)
        if not all_usable:
            self._report(features, np.flatnonzero(~usable).tolist(), np.isnat(view.event_time), request)
        for feature in self.use.view.features:
            if feature.name in view.nulls:
                self._report_nulls(features, feature, np.flatnonzero(view.nulls[feature.name] & usable).tolist())

    def _report_nulls(self, features: Features, feature: Feature, rows: list[int]) -> None:
        name = f"{self.use.name}.{feature.name}"
        for row in rows:
            if feature.default is not None:
                features.degraded.setdefault(row, {})[name] = "null"
            elif not feature.nullable:
                refusal = NotFound(
                    f"feature {feature.name!r} of view {self.use.name!r} is stored as null, and has no default",
                    code="feature_null",
                    details=[{"row": row, "field": name, "rule": "must not be null"}],
                )
                features.refused.setdefault(row, refusal)

    def _report(self, features: Features, rows: list[int], absent: Column, request: Columns) -> None:
        for row in rows:
            reason: Reason = "missing" if absent[row] else "stale"
            if self.required:
                features.refused.setdefault(row, self._refusal(row, reason, request))
            else:
                features.degraded.setdefault(row, {})[self.use.name] = reason

    def _refusal(self, row: int, reason: Reason, request: Columns) -> NotFound:
        keys = self.use.serving_keys
        entity = ", ".join(f"{name}={request[name][row]}" for name in keys)
        content = "nothing" if reason == "missing" else "only outdated values"
        return NotFound(
            f"feature view {self.use.name!r} has {content} for {entity}, and no default for {self.required[0]!r}",
            code="entity_not_found" if reason == "missing" else "entity_stale",
            details=[{"row": row, "field": name, "rule": f"must be known to {self.use.name}"} for name in keys],
        )


class _Assembly:
    """Copies columns into one input tensor, casting to its element type what that can hold."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.tensor = tensor
        self.dtype = np.dtype(tensor.dtype)
        self.is_float = self.dtype.kind == "f"
        # blocks of several elements per row are written x[0], x[1], … in the signature
        sources: dict[str, int] = {}
        for column in tensor.columns:
            name = column.partition("[")[0]
            sources[name] = sources.get(name, 0) + 1
        self.sources = list(sources.items())
        self.plain = list(sources) if list(sources) == list(tensor.columns) and self.dtype != object else []

    def assemble(self, columns: Columns) -> NDArray[Any]:
        if self.is_float:
            tensor = self._fill(columns)
            if np.count_nonzero(np.isinf(tensor)):
                self._check(columns)
            return tensor
        if self.dtype != object:
            self._check(columns)
        return self._fill(columns)

    def _check(self, columns: Columns) -> None:
        """Refuse values that the element type cannot hold."""
        violations = []
        for source, _ in self.sources:
            wrong = misfits(columns[source], self.dtype)
            for row, *element in np.argwhere(wrong).tolist() if wrong.any() else ():
                name = f"{source}[{element[0]}]" if element else source
                violations.append(Violation(row, name, rule(self.dtype)))
        if violations:
            raise ContractViolation(sorted(violations, key=lambda violation: violation.row or 0))

    def _fill(self, columns: Columns) -> NDArray[Any]:
        name = self.tensor.name
        first = columns[self.sources[0][0]]
        if len(self.tensor.shape) == 1:
            return np.ascontiguousarray(first, dtype=self.dtype)
        plain = [columns[source] for source in self.plain]
        if plain and all(column.ndim == 1 for column in plain):
            return np.ascontiguousarray(np.array(plain, self.dtype).T)
        tensor = np.empty((len(first), len(self.tensor.columns)), self.dtype)
        at = 0
        for source, width in self.sources:
            column = columns[source]
            if column.ndim == 1:
                tensor[:, at] = column
            elif column.shape[1] == width:
                tensor[:, at : at + width] = column
            else:
                raise Internal(
                    f"{source} has {column.shape[1]} elements per row, tensor {name!r} takes {width}",
                    code="transform_failed",
                )
            at += width
        return tensor


def widths(model: Model, columns: Columns) -> dict[str, int | None]:
    """For each model input, its number of elements per row; None for a plain column."""
    width_of: dict[str, int | None] = {}
    for inputs in model.inputs.values():
        for source in inputs:
            column = columns[input_name(source)]
            width_of[input_name(source)] = None if column.ndim == 1 else column.shape[1]
    return width_of


def _chosen(prediction: Prediction, output: NDArray[Any]) -> NDArray[Any]:
    """The prediction's column of its output."""
    if prediction.column is None:
        return _one_dimensional(output)
    if output.ndim != 2 or output.shape[1] <= prediction.column:
        raise Internal(
            f"{prediction.name} is column {prediction.column} of an output of shape {output.shape}, which has none",
            code="transform_failed",
        )
    # NumPy picks other inner loops for strided columns
    return np.ascontiguousarray(output[:, prediction.column])


def _one_dimensional(output: NDArray[Any]) -> NDArray[Any]:
    """An output of shape ``(rows, 1)`` as a column; any other as it is."""
    return output.reshape(len(output)) if output.ndim == 2 and output.shape[1] == 1 else output


def _answer(name: str, values: Column, type_: FieldType) -> Column:
    """A field of the answer, checked."""
    if values.ndim != 1:
        raise Internal(f"{name} must have one value per row, not shape {values.shape}", code="transform_failed")
    try:
        column = as_answer_column(values, type_)
    except (TypeError, ValueError) as error:
        raise Internal(f"{name} must be of type {type_}: {error}", code="transform_failed") from error
    if type_ == "float64" and np.count_nonzero(np.isfinite(column)) < len(column):
        rows = np.flatnonzero(~np.isfinite(column)).tolist()
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise Internal(
            f"row {rows[0]}: {name} is {column[rows[0]]}{more}",
            code="prediction_not_finite",
            details=[{"row": row, "field": name, "rule": "must be finite"} for row in rows],
        )
    return column
