"""The only code that turns a request and its features into the model's tensors, and tensors into predictions.

A :class:`Pipeline` is pure: it reads no store, calls no model and never reads the clock. Whoever uses it does the
lookup and the model call: online, in batch, in a stream, or embedded. So training and serving cannot skew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.answers import check_answer, flatten, select_prediction
from tandem.assembly import Assembly
from tandem.dtypes import Columns, split_ragged
from tandem.errors import DefinitionError, Internal
from tandem.evaluation import as_arrays, check_finite, check_result
from tandem.features import ViewUse
from tandem.filling import Filler
from tandem.inputs import Features, Inputs, Tensors
from tandem.model import Model, age_column, input_name
from tandem.signature import Signature, prediction_tensor
from tandem.transforms import State, Transform


class Pipeline:
    """A model with its signature and fitted state, compiled once.

    Args:
        model: The declaration.
        signature: Order and types of the model's tensors.
        state: Fitted state by the name of the transform or post-processing step.

    Attributes:
        assembly: What makes the input tensors, in the order of the signature.
    """

    def __init__(self, model: Model, signature: Signature, state: Mapping[str, State]) -> None:
        self.model = model
        self.signature = signature
        self.state = dict(state)
        self._views = [Filler(use, model) for use in model.views]
        self._masks = tuple(model.masks.items())
        # only those that something reads: most views' ages are never asked for
        self._wanted_ages = self._ages()
        self._on_demand = [Step(transform, {}) for transform in model.on_demand]
        self._model_dependent = [
            Step(transform, self.state.get(transform.name, {})) for transform in model.model_dependent
        ]
        self._postprocess = [
            Step(transform, self.state.get(transform.name, {})) for transform in model.ordered_postprocess
        ]
        self.assembly = tuple(Assembly(tensor) for tensor in signature.inputs)
        predictions = model.contract.predictions if signature.outputs else ()
        self._predictions = [
            (prediction, prediction_tensor(prediction, signature.outputs)) for prediction in predictions
        ]

    def with_state(self, state: Mapping[str, State]) -> Pipeline:
        """The same pipeline with further state, by the name of the transform or post-processing step."""
        return Pipeline(self.model, self.signature, {**self.state, **{name: dict(own) for name, own in state.items()}})

    @property
    def steps(self) -> tuple[Step, ...]:
        """The transforms before the model, in the order in which they run."""
        return (*self._on_demand, *self._model_dependent)

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
        for mask, name in self._masks:
            features.columns[name], features.columns[mask] = split_ragged(features.columns[name])
        # the simpler model reads none of the views, so that nothing stands for the others of these rows
        features.degraded.update(features.simpler)
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
            return {assembly.tensor.name: assembly.assemble(columns) for assembly in self.assembly}

    def predictions(self, outputs: Mapping[str, NDArray[Any]], columns: Columns) -> Columns:
        """Turn the model's output tensors into the fields of the answer.

        Args:
            outputs: The output tensors; the first axis is the rows.
            columns: Of :meth:`features`; the prediction and all outputs are added.

        Returns:
            A column for each field of an answer, the predictions first.

        Raises:
            Internal: ``prediction_not_finite`` naming rows, ``transform_failed``, or ``inference_failed`` if there is
                not one row for each that went in.
        """
        rows = columns["as_of"].shape
        for name, output in outputs.items():
            # a batch has rows of many clients: rows that do not line up would be answers of others
            if output.shape[:1] != rows:
                text = f"output {name!r} of the model has shape {list(output.shape)} for {rows[0]} rows"
                raise Internal(text, code="inference_failed")
            columns[name] = flatten(output)
        answers: Columns = {}
        for prediction, tensor in self._predictions:
            values = select_prediction(prediction, outputs[tensor])
            columns[prediction.name] = check_answer(prediction.name, values, prediction.type)
            answers[prediction.name] = columns[prediction.name]
        self._run(self._postprocess, columns)
        for step in self.model.postprocess:
            answers[step.name] = check_answer(step.name, columns[step.name], step.answer.type)
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

    def _run(self, steps: Sequence[Step], columns: Columns) -> None:
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


class Step:
    """A transform with its state.

    Attributes:
        name: Name of its result.
        inputs: Names of the columns that it reads.
        function: Called with these; its state is bound.
    """

    __slots__ = ("function", "inputs", "name")

    def __init__(self, transform: Transform, state: Mapping[str, Any]) -> None:
        self.name = transform.name
        self.inputs = transform.inputs
        # bound once, so that a request does not convert the state again
        self.function = partial(transform.function, **as_arrays(state)) if state else transform.function

    def run(self, columns: Columns, rows: int) -> Any:
        """The result for the columns of a batch.

        Raises:
            Internal: ``transform_failed`` if the function raises, or returns another shape.
        """
        try:
            # a list and not a generator: it is faster for the one to five inputs of a transform
            return check_result(self.name, self.function(*[columns[name] for name in self.inputs]), rows)
        except DefinitionError as error:
            raise Internal(str(error), code="transform_failed") from error
        except Exception as error:
            raise Internal(f"{self.name}: {type(error).__name__}: {error}", code="transform_failed") from error
