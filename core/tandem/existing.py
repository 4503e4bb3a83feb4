"""From a model that exists already to its bundle: an ONNX file and the state of its training, nothing fitted anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from tandem import export
from tandem.bundle import Bundle
from tandem.comparison import Tolerance
from tandem.errors import DefinitionError
from tandem.fitting import plain_state
from tandem.inputs import Inputs
from tandem.model import Model
from tandem.package import ModelPackage
from tandem.pipeline import Pipeline
from tandem.signature import Signature
from tandem.table_inputs import as_inputs
from tandem.tables import Table
from tandem.training import draft_signature
from tandem.transforms import State


def bundle_from_onnx(
    parent: Path | str,
    *,
    package: Path | str,
    version: str,
    onnx: bytes | Path | str,
    golden: Inputs | Table,
    state: Mapping[str, Mapping[str, Any]] | None = None,
    expected: ArrayLike | Mapping[str, ArrayLike] | None = None,
    training_predictions: ArrayLike | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
    simpler: Bundle | Path | str | None = None,
) -> Bundle:
    """Write the bundle of a model that was trained elsewhere; nothing is fitted.

    Args:
        parent: Directory in which ``NAME-DIGEST8`` is made.
        package: Directory of the model package, which says what the vector is made of.
        version: Name of the version: letters, digits, dots, dashes, underscores.
        onnx: The graph, or its path where it keeps weights in files beside it.
        golden: Some tens or hundreds of rows, typical and odd ones: inputs, or a table as for
            :func:`~tandem.table_inputs.inputs_from_table`.
        state: The state that training used, by transform or post-processing step and name:
            ``{"standardize_ctl_42d": {"mean": 41.2, "std": 9.8}}``. It is taken as it is: with the ``ddof`` of whatever
            computed it (NumPy and scikit-learn 0, pandas 1).
        expected: What the model is known to predict for the golden rows, of the training framework or recorded where it
            served until now: shape ``(rows,)``, or by output tensor. It proves state, order of columns and export. None
            if nothing is left but the file: the bundle then says that its golden rows prove transport only.
        training_predictions: Predictions for all training data, for the contract's histogram.
        tolerances: Where they differ from :data:`~tandem.comparison.DEFAULT_TOLERANCES`, by execution provider.
        simpler: As for :func:`~tandem.export.write_bundle`.

    Raises:
        DefinitionError: if state is missing or of no transform, or graph and model package do not fit.
        BundleError: if ONNX Runtime does not predict what is expected; names the row.
    """
    model = ModelPackage.read(package).load()
    inputs = as_inputs(model, golden)
    return export.write(
        parent,
        package=package,
        version=version,
        pipeline=_with_state(model, inputs, state or {}),
        onnx=onnx,
        golden=inputs,
        expected=expected,
        training_predictions=training_predictions,
        tolerances=tolerances,
        simpler=simpler,
    )


def _with_state(model: Model, inputs: Inputs, state: Mapping[str, Mapping[str, Any]]) -> Pipeline:
    transforms = {transform.name: transform for transform in (*model.model_dependent, *model.postprocess)}
    own: dict[str, State] = {}
    for name, values in state.items():
        names = transforms[name].state_names if name in transforms else ()
        if strange := values.keys() - set(names):
            have = (
                "; ".join(f"{n}: {', '.join(t.state_names)}" for n, t in transforms.items() if t.state_names) or "none"
            )
            raise DefinitionError(f"state: nothing reads {', '.join(sorted(strange))} of {name!r}; there is {have}")
        own[name] = {key: _finite(name, key, plain_state(name, key, value)) for key, value in values.items()}
    stateful = Pipeline(model, Signature((), ()), own)
    stateful.check_state()
    columns = stateful.features(inputs).columns
    # adds the columns of the transforms, whose widths the signature needs
    stateful.tensors(columns)
    return Pipeline(model, draft_signature(model, columns), own)


def _finite(transform: str, name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(transform, name, item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(f"state: {name} of {transform!r} is {value}, which no model was trained with")
    return value
