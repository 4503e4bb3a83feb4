"""A model as its author declares it: contract, feature views, transforms, and the order of the model's inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tandem.contract import Contract, Prediction
from tandem.dtypes import FieldType, is_ragged, mask_column
from tandem.durations import parse_duration
from tandem.errors import DefinitionError
from tandem.features import FeatureView, ViewUse
from tandem.fields import Field, as_field, check_name
from tandem.transforms import BoundTransform, OnDemand, Postprocess, order

ModelInput = str | OnDemand | BoundTransform
"""One input of the model: a column's name, an on-demand transform, or a model-dependent transform of columns."""


class Model:
    """A model package's one declaration; everything else is derived from it.

    Args:
        name: Name under which clients ask for the model: lower-case letters, digits and dashes, at most 40, so that
            Kubernetes objects can be named after it.
        serving_keys: Fields that identify entities; ``string`` or ``int64``, always required.
        passed_features: Features that only the client knows.
        request_parameters: Everything else about the request.
        views: Feature views that are looked up for each row.
        on_demand: On-demand transforms that others read by name; those among ``inputs`` need not be named again.
        inputs: The model's inputs in their order: all of them for a model with one input tensor, or by tensor name.
        prediction: What the model predicts.
        predictions: The same for a model that predicts several things: the first is what versions are compared by.
        postprocess: Further fields of each answer.
        as_of: Name of the request parameter that tells when the question is asked; None for the time of arrival.
        precomputed: For so long, predictions that were computed ahead answer in place of the model: a number and one
            of ``s m h d w``, as ``"1h"``; None if there are none.

    Raises:
        DefinitionError: naming what is not valid.
    """

    def __init__(
        self,
        name: str,
        *,
        serving_keys: Mapping[str, Field | FieldType],
        inputs: Sequence[ModelInput] | Mapping[str, Sequence[ModelInput]],
        prediction: Prediction | None = None,
        predictions: Sequence[Prediction] = (),
        passed_features: Mapping[str, Field | FieldType] | None = None,
        request_parameters: Mapping[str, Field | FieldType] | None = None,
        views: Sequence[FeatureView | ViewUse] = (),
        on_demand: Sequence[OnDemand] = (),
        postprocess: Sequence[Postprocess] = (),
        as_of: str | None = None,
        precomputed: str | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
            raise DefinitionError(
                f"model {name!r}: a name has lower-case letters, digits and dashes, at most 40 characters"
            )
        if precomputed is not None:
            parse_duration(precomputed)
        self.name = name
        self.precomputed = precomputed
        first, *further = self._predictions(prediction, predictions)
        self.postprocess = tuple(postprocess)
        self._named_on_demand = tuple(on_demand)
        self.views = tuple(view.on() if isinstance(view, FeatureView) else view for view in views)
        self.contract = Contract(
            model=name,
            serving_keys=_fields(serving_keys),
            passed_features=_fields(passed_features or {}),
            request_parameters=_fields(request_parameters or {}),
            prediction=first,
            further_predictions=tuple(further),
            outputs={step.name: step.answer for step in self.postprocess},
            as_of=as_of,
        )
        self.inputs: dict[str | None, tuple[ModelInput, ...]] = (
            {tensor: tuple(columns) for tensor, columns in inputs.items()}
            if isinstance(inputs, Mapping)
            else {None: tuple(inputs)}
        )
        self._check()

    @cached_property
    def types(self) -> dict[str, FieldType]:
        """Types of request fields and features, by column."""
        types = {name: field.type for name, field in self.contract.inputs.items()}
        return types | {use.prefix + feature.name: feature.type for use in self.views for feature in use.view.features}

    @cached_property
    def masks(self) -> dict[str, str]:
        """The column of arrays of different length to which each mask belongs."""
        return {mask_column(name): name for name, type_ in self.types.items() if is_ragged(type_)}

    @cached_property
    def given_columns(self) -> frozenset[str]:
        """Columns that exist before any transform: request fields, features, masks, ``as_of``, ages of views."""
        # as_of and the ages are always there, so that no transform has a reason to read the clock
        return frozenset((*self.types, *self.masks, "as_of", *(age_column(use) for use in self.views)))

    @cached_property
    def on_demand(self) -> tuple[OnDemand, ...]:
        """On-demand transforms in the order in which they run."""
        return tuple(order(_unique(self._on_demand_sources()), self.given_columns))

    @cached_property
    def model_dependent(self) -> tuple[BoundTransform, ...]:
        """Model-dependent transforms in the order of the model's inputs."""
        return tuple(_unique(source for source in self._input_list() if isinstance(source, BoundTransform)))

    @cached_property
    def ordered_postprocess(self) -> tuple[Postprocess, ...]:
        """Post-processing steps in the order in which they run; they can read output tensors of the model."""
        own = {step.name for step in self.postprocess}
        outside = {name for step in self.postprocess for name in step.inputs} - own
        return tuple(order(self.postprocess, outside))

    def _predictions(self, prediction: Prediction | None, predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        if (prediction is None) == (not predictions):
            raise DefinitionError(f"model {self.name!r}: give prediction=, or predictions= for several")
        if buckets := [further.name for further in predictions[1:] if further.buckets]:
            raise DefinitionError(f"prediction {buckets[0]!r}: only the first prediction has buckets")
        return predictions if prediction is None else [prediction]

    def _input_list(self) -> list[ModelInput]:
        return [source for columns in self.inputs.values() for source in columns]

    def _on_demand_sources(self) -> Iterable[OnDemand]:
        yield from self._named_on_demand
        for source in self._input_list():
            if isinstance(source, OnDemand):
                yield source
            elif isinstance(source, BoundTransform):
                yield from source.on_demand

    def _check(self) -> None:
        contract = self.contract
        names = [*contract.serving_keys, *contract.passed_features, *contract.request_parameters]
        names += [name for use in self.views for name in use.column_names()]
        names += self.masks
        names += [transform.name for transform in self.on_demand]
        names += [*(prediction.name for prediction in contract.predictions), *(step.name for step in self.postprocess)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DefinitionError(
                f"model {self.name!r}: {', '.join(repeated)} named twice; names are unique within a model"
            )
        for key, field in contract.serving_keys.items():
            if field.type not in ("string", "int64") or not field.required:
                raise DefinitionError(f"serving key {key!r}: a key is a required string or int64")
        if (
            contract.as_of is not None
            and getattr(contract.request_parameters.get(contract.as_of), "type", None) != "timestamp"
        ):
            raise DefinitionError(f"as_of={contract.as_of!r} must name a request parameter of type timestamp")
        self._check_views()
        self._check_inputs()
        # computed here, so that a cycle is found when the package is imported
        _ = self.ordered_postprocess

    def _check_views(self) -> None:
        for use in self.views:
            for key in use.serving_keys:
                if key not in self.contract.serving_keys:
                    serving_keys = ", ".join(self.contract.serving_keys) or "none"
                    raise DefinitionError(
                        f"feature view {use.view.name!r} needs the serving key {key!r}; the model has {serving_keys}"
                    )
        names = [use.name for use in self.views]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DefinitionError(
                f"model {self.name!r} uses {', '.join(repeated)} twice; give one of them a prefix with .on(prefix=…)"
            )

    def _check_inputs(self) -> None:
        if not self._input_list():
            raise DefinitionError(f"model {self.name!r} has no inputs")
        columns = self.given_columns | {transform.name for transform in self.on_demand}
        for source in self._input_list():
            missing = [source] if isinstance(source, str) else [] if isinstance(source, OnDemand) else source.inputs
            for name in missing:
                if name not in columns:
                    raise DefinitionError(f"model {self.name!r} reads {name!r}, which nothing provides")
            if isinstance(source, str) and self.types.get(source) == "bytes":
                raise DefinitionError(
                    f"model {self.name!r} reads {source!r}, which is bytes: an on-demand transform must turn it into "
                    "numbers"
                )
            check_name(input_name(source), "model input")
        input_names = [input_name(source) for source in self._input_list()]
        if repeated := sorted({name for name in input_names if input_names.count(name) > 1}):
            raise DefinitionError(f"model {self.name!r} has {', '.join(repeated)} twice among its inputs")


def age_column(use: ViewUse) -> str:
    """Name of the column with the age of a view's values, in seconds."""
    return f"{use.name}_age"


def input_name(source: ModelInput) -> str:
    """Name of the column that a model input is."""
    return source if isinstance(source, str) else source.name


def _fields(fields: Mapping[str, Field | FieldType]) -> dict[str, Field]:
    return {name: as_field(field, name) for name, field in fields.items()}


def _unique(transforms: Iterable[Any]) -> list[Any]:
    by_name: dict[str, Any] = {}
    for transform in transforms:
        # one transform may be among the inputs of several others, or be bound twice to the same columns
        if by_name.setdefault(transform.name, transform) is not transform and by_name[transform.name] != transform:
            raise DefinitionError(f"two transforms are called {transform.name!r}")
    return list(by_name.values())
