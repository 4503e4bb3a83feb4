"""The deployment API of a model: what clients send, what they get, and what may change between two versions.

The contract is public and stable. The model's private tensors are the business of :mod:`tandem.signature`.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import numpy as np

from tandem.dtypes import Column, FieldType, array_length, element_type, is_ragged
from tandem.errors import DefinitionError
from tandem.fields import Field, check_name
from tandem.inputs import Reason, Source


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that the model predicts.

    Attributes:
        name: Name of the prediction in answers, and of its column in post-processing.
        type: ``float64``, ``float32``, ``int64``, ``string``, or an array of a fixed number of numbers such as
            ``float32[384]``. With ``classes`` it may be the type of one number.
        unit: Its unit.
        buckets: Upper edges of the histogram of predictions, ascending. They belong to the contract so that the
            predictions of two versions can be compared. See :meth:`histogram_values` for arrays.
        tensor: Name of the model's output tensor; needed only when the model has more than one.
        column: Which column of that tensor, from 0, where it has several: 1 for the probability of the second class.
        description: Free text, in the API's documentation.
        classes: Names of an array's numbers, such as those of classes for their probabilities; JSON then has an object
            by name in place of a list.
    """

    name: str
    type: FieldType = "float64"
    unit: str = ""
    buckets: tuple[float, ...] = ()
    tensor: str | None = None
    description: str = ""
    column: int | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "prediction")
        if self.classes:
            self._name_numbers(tuple(self.classes))
        if not is_answer_type(self.type) or self.type in ("bool", "timestamp"):
            raise DefinitionError(
                f"prediction {self.name!r}: a prediction is float64, float32, int64, string or an array of a fixed "
                f"number of numbers, not {self.type}"
            )
        if self.column is not None and (isinstance(self.column, bool) or self.column < 0):
            raise DefinitionError(f"prediction {self.name!r}: column={self.column!r} must be a whole number from 0")
        if self.column is not None and array_length(self.type) is not None:
            raise DefinitionError(f"prediction {self.name!r}: a column is one number, not {self.type}")
        # ascending and different, as edges of a Prometheus histogram
        if list(self.buckets) != sorted(set(self.buckets)):
            raise DefinitionError(f"prediction {self.name!r}: buckets must ascend")

    @property
    def field(self) -> Field:
        """The prediction as a field of the answer."""
        return Field(self.type, unit=self.unit, description=self.description)

    def histogram_values(self, column: Column) -> Column:
        """What the histogram counts of predictions: ``float64``, shape ``(rows,)``.

        A number is counted as it is. Of an array it is the Euclidean norm, which shows that vectors are longer or
        shorter than before, and of class probabilities the largest, which shows that the model is surer or less sure.

        Args:
            column: Predictions, shape ``(rows,)``, or ``(rows, n)``.
        """
        values = np.asarray(column, np.float64)
        if values.ndim == 1:
            return values
        histogram: Column = values.max(axis=1) if self.classes else np.linalg.norm(values, axis=1)
        return histogram

    def _name_numbers(self, classes: tuple[str, ...]) -> None:
        # lists read better in a model package; tuples keep the prediction hashable
        msgspec.structs.force_setattr(self, "classes", classes)
        if len(set(classes)) < len(classes) or not all(isinstance(name, str) for name in classes):
            raise DefinitionError(f"prediction {self.name!r}: classes must be different texts")
        if array_length(self.type) is None:
            msgspec.structs.force_setattr(self, "type", f"{self.type}[{len(classes)}]")
        if element_type(self.type) == "int64" or array_length(self.type) != len(classes):
            raise DefinitionError(
                f"prediction {self.name!r}: {len(classes)} classes need float64[{len(classes)}] or "
                f"float32[{len(classes)}], not {self.type}"
            )


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The deployment API of one model.

    Attributes:
        model: Name of the model, as clients know it.
        serving_keys: Fields that identify the entities whose features are looked up.
        passed_features: Features that only the client knows.
        request_parameters: Everything else about the request.
        prediction: What the model predicts; of several the first, which versions are compared by.
        outputs: What post-processing adds to each prediction.
        as_of: The timestamp field that tells *when* the question is asked; None for the time of arrival.
        further_predictions: What else the model predicts, in order.
    """

    model: str
    serving_keys: dict[str, Field]
    passed_features: dict[str, Field]
    request_parameters: dict[str, Field]
    prediction: Prediction
    outputs: dict[str, Field]
    as_of: str | None = None
    further_predictions: tuple[Prediction, ...] = ()

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """All that the model predicts, in order."""
        return (self.prediction, *self.further_predictions)

    @property
    def inputs(self) -> dict[str, Field]:
        """All request fields by name, in order: serving keys, passed features, request parameters."""
        return {**self.serving_keys, **self.passed_features, **self.request_parameters}

    @property
    def answers(self) -> dict[str, Field]:
        """All fields of one row of an answer, the predictions first."""
        return {**{prediction.name: prediction.field for prediction in self.predictions}, **self.outputs}

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Names of the numbers of predictions that have names, by prediction."""
        return {prediction.name: prediction.classes for prediction in self.predictions if prediction.classes}

    def row_schema(self) -> dict[str, Any]:
        """JSON Schema of one instance of a request."""
        return {
            "type": "object",
            "properties": {
                name: field.json_schema() if field.required else _nullable(field.json_schema())
                for name, field in self.inputs.items()
            },
            "required": [name for name, field in self.inputs.items() if field.required],
            "additionalProperties": False,
        }

    def answer_schema(self) -> dict[str, Any]:
        """JSON Schema of one prediction of an answer."""
        degraded = {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "reason": {"enum": list(get_args(Reason))},
                    "source": {"enum": list(get_args(Source))},
                    "age_s": {"type": "number", "description": "Seconds since a last known row was read."},
                },
                "required": ["reason", "source"],
            },
            "description": "Feature views whose stored values could not be used, why, and what stands for them; "
            "defaults that stand for values stored as null, as `view.feature`; absent when there are none of either.",
        }
        precomputed = {
            "type": "object",
            "properties": {"age_s": {"type": "number", "description": "Seconds since the time that it is about."}},
            "required": ["age_s"],
            "description": "The prediction was computed ahead; absent where it was not.",
        }
        fields = {name: field.json_schema() for name, field in self.answers.items()}
        fields |= {name: _by_class(fields[name], classes) for name, classes in self.classes.items()}
        return {
            "type": "object",
            "properties": {**fields, "degraded": degraded, "precomputed": precomputed},
            "required": list(self.answers),
        }


def is_answer_type(type_: FieldType) -> bool:
    """Whether a value of the type can stand in an answer: any single value but bytes, or an array of a fixed length."""
    return type_ != "bytes" and not is_ragged(type_)


def _by_class(schema: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    by_class = {"type": "object", "properties": dict.fromkeys(classes, schema["items"]), "required": list(classes)}
    return by_class | ({"description": schema["description"]} if "description" in schema else {})


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
