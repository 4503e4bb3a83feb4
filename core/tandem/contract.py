"""The deployment API of a model: what clients send, what they get, and what may change between two versions.

The contract is public and stable. The model's private tensors are the business of :mod:`tandem.signature`.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from tandem.dtypes import FieldType
from tandem.errors import DefinitionError
from tandem.fields import Field, check_name
from tandem.inputs import Reason, Source


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model predicts.

    Attributes:
        name: Name of the prediction in answers, and of its column in post-processing.
        type: ``float64``, ``int64`` or ``string``.
        unit: Its unit.
        buckets: Upper edges of the histogram of predictions, ascending. They belong to the contract so that the
            predictions of two versions can be compared.
        tensor: Name of the model's output tensor; needed only when the model has more than one.
        column: Which column of that tensor, from 0, where it has several: 1 for the probability of the second class.
        description: Free text, in the API's documentation.
    """

    name: str
    type: FieldType = "float64"
    unit: str = ""
    buckets: tuple[float, ...] = ()
    tensor: str | None = None
    description: str = ""
    column: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "prediction")
        if self.type not in ("float64", "int64", "string"):
            raise DefinitionError(
                f"prediction {self.name!r}: a prediction is float64, int64 or string, not {self.type}"
            )
        if self.column is not None and (isinstance(self.column, bool) or self.column < 0):
            raise DefinitionError(f"prediction {self.name!r}: column={self.column!r} must be a whole number from 0")
        # ascending and different, as edges of a Prometheus histogram
        if list(self.buckets) != sorted(set(self.buckets)):
            raise DefinitionError(f"prediction {self.name!r}: buckets must ascend")

    @property
    def field(self) -> Field:
        """The prediction as a field of the answer."""
        return Field(self.type, unit=self.unit, description=self.description)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment API of one model.

    Attributes:
        model: Name of the model, as clients know it.
        serving_keys: Fields that identify the entities whose features are looked up.
        passed_features: Features that only the client knows.
        request_parameters: Everything else about the request.
        prediction: What the model predicts.
        outputs: What post-processing adds to each prediction.
        as_of: The timestamp field that tells *when* the question is asked; None for the time of arrival.
    """

    model: str
    serving_keys: dict[str, Field]
    passed_features: dict[str, Field]
    request_parameters: dict[str, Field]
    prediction: Prediction
    outputs: dict[str, Field]
    as_of: str | None = None

    @property
    def inputs(self) -> dict[str, Field]:
        """All request fields by name, in order: serving keys, passed features, request parameters."""
        return {**self.serving_keys, **self.passed_features, **self.request_parameters}

    @property
    def answers(self) -> dict[str, Field]:
        """All fields of one prediction in an answer, the prediction itself first."""
        return {self.prediction.name: self.prediction.field, **self.outputs}

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
        return {
            "type": "object",
            "properties": {
                **{name: field.json_schema() for name, field in self.answers.items()},
                "degraded": degraded,
                "precomputed": precomputed,
            },
            "required": list(self.answers),
        }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
