"""From training data to a fitted pipeline: the same code that serves, run over a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.assembly import measure_widths
from tandem.dtypes import Columns, array_length
from tandem.errors import DefinitionError
from tandem.fitting import fit_state
from tandem.inputs import Inputs
from tandem.model import Model, input_name
from tandem.pipeline import Pipeline
from tandem.signature import Signature, TensorSpec, column_names, holds_strings
from tandem.table_inputs import as_inputs
from tandem.tables import Table


def fit(model: Model, inputs: Inputs | Table) -> Pipeline:
    """Fit the state of the model-dependent transforms.

    Args:
        model: The model.
        inputs: The training data: of :func:`inputs_from_table`, or a table.

    Returns:
        A pipeline whose vectors are ``float32``, or ``object`` for strings, to train on and to write the bundle from:
        one tensor ``X``, or those that the author named, or one for each input where there are strings and numbers.
        Tensors of ``int64`` arrays alone are ``int64``, and tensors of masks alone ``bool``.

    Raises:
        DefinitionError: if ``fit`` returns no state, not the state that its transform reads, or state that is not
            finite, as of a column with NaN.
        RequestError: if a row cannot be answered, or a transform fails.
    """
    unfitted = Pipeline(model, Signature((), ()), {})
    columns = unfitted.features(as_inputs(model, inputs)).columns
    state = {
        transform.name: fit_state(transform, columns)
        for transform in model.model_dependent
        if transform.fit is not None
    }
    fitted = Pipeline(model, Signature((), ()), state)
    # adds the columns of the transforms, whose widths the signature needs
    fitted.tensors(columns)
    return Pipeline(model, draft_signature(model, columns), state)


def matrix(pipeline: Pipeline, inputs: Inputs | Table) -> NDArray[Any]:
    """The vectors of a model with one input tensor, shape ``(rows, columns)``: what to train on.

    Args:
        pipeline: Of :func:`fit`.
        inputs: Of :func:`inputs_from_table`, or a table.

    Raises:
        DefinitionError: if it has several; :meth:`Pipeline.vectors` gives them all.
    """
    tensors = pipeline.vectors(as_inputs(pipeline.model, inputs))
    if len(tensors) != 1:
        raise DefinitionError(f"the model has {len(tensors)} input tensors, {', '.join(tensors)}: use pipeline.vectors")
    return next(iter(tensors.values()))


def draft_signature(model: Model, columns: Columns) -> Signature:
    """Input tensors as far as they are known without a graph; see :func:`fit`.

    Raises:
        DefinitionError: for a model input that is not a number, a boolean or a string, or a tensor with strings and
            numbers.
    """
    sizes = measure_widths(model, columns)
    tensors = []
    for tensor, inputs in model.inputs.items():
        sources = [input_name(source) for source in inputs]
        kinds = {holds_strings(name, columns[name]) for name in sources}
        if len(kinds) == 2 and tensor is not None:
            raise DefinitionError(
                f"tensor {tensor!r} has strings and numbers among {', '.join(sources)}: give it one kind"
            )
        groups = [(tensor or "X", sources)] if len(kinds) == 1 else [(name, [name]) for name in sources]
        for name, group in groups:
            parts = tuple(part for source in group for part in column_names(source, sizes[source]))
            tensors.append(TensorSpec(name, _draft_dtype(model, group, columns), parts, (-1, len(parts))))
    return Signature(tuple(tensors), ())


def _draft_dtype(model: Model, sources: list[str], columns: Columns) -> str:
    """Element type of a tensor as far as it is known without a graph.

    Arrays of whole numbers and masks keep theirs if nothing else is in the tensor: a float32 cannot hold every id.
    """
    if holds_strings(sources[0], columns[sources[0]]):
        return "object"
    kinds = {columns[source].dtype for source in sources}
    arrays = all(source in model.masks or array_length(model.types.get(source, "")) for source in sources)
    return str(kinds.pop()) if arrays and len(kinds) == 1 and np.dtype(float) not in kinds else "float32"
