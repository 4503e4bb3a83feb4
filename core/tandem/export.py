"""From a trained model to its bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tandem import bundle as bundles
from tandem import golden as golden_rows
from tandem.bundle import FORMAT, GOLDEN, MODEL, Bundle, Manifest
from tandem.errors import DefinitionError
from tandem.golden import DEFAULT_TOLERANCES, Golden, Tolerance
from tandem.onnx_model import OnnxModel
from tandem.package import ModelPackage, wheel_requirements
from tandem.pipeline import Inputs, Pipeline, widths
from tandem.replay import replay
from tandem.signature import bind, prediction_tensor
from tandem.transforms import State, check_row_independence


def write_bundle(
    parent: Path | str,
    *,
    package: Path | str,
    version: str,
    pipeline: Pipeline,
    onnx: bytes,
    golden: Inputs,
    expected: ArrayLike | Mapping[str, ArrayLike],
    postprocess_state: Mapping[str, State] | None = None,
    training_predictions: ArrayLike | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
) -> Bundle:
    """Write the bundle of one version, after proving that its parts fit each other.

    Args:
        parent: Directory in which ``NAME-DIGEST8`` is made.
        package: Directory of the model package.
        version: Name of the version: letters, digits, dots, dashes, underscores.
        pipeline: The fitted pipeline, of :func:`~tandem.training.fit`.
        onnx: The trained model as a serialized ONNX graph.
        golden: Some tens or hundreds of rows, typical and odd ones.
        expected: The training framework's own predictions for these rows: shape ``(rows,)``, or by output tensor.
        postprocess_state: State of post-processing steps, by step.
        training_predictions: Predictions for all training data, for the contract's histogram.
        tolerances: Where they differ from :data:`~tandem.golden.DEFAULT_TOLERANCES`, by execution provider.

    Raises:
        DefinitionError: if graph and model package do not fit, a transform leaks across rows, or state is missing.
        BundleError: if ONNX Runtime does not predict what the training framework does; names the row.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise DefinitionError(
            f"version {version!r}: a version has letters, digits, dots, dashes, underscores; the first two come first"
        )
    if not len(golden):
        raise DefinitionError("golden has no rows: some tens or hundreds are needed, typical and odd ones")
    with tempfile.TemporaryDirectory() as scratch:
        files = {MODEL: Path(scratch, MODEL), GOLDEN: Path(scratch, GOLDEN)}
        files[MODEL].write_bytes(onnx)
        graph = OnnxModel(files[MODEL])
        signed = _sign(pipeline, graph, golden, postprocess_state or {})
        tensor = prediction_tensor(signed.model, graph.outputs)
        rows = golden_rows.make(signed, golden, golden_rows.as_outputs(signed.signature, expected, tensor, len(golden)))
        tolerances = {**DEFAULT_TOLERANCES, **(tolerances or {})}
        _check_postprocess(signed, rows)
        replay(graph.run, rows.vectors, rows.outputs, tolerances["CPUExecutionProvider"], singles=None)
        rows.save(files[GOLDEN], signed.model)
        model_package = ModelPackage.read(package)
        wheel = model_package.build_wheel(Path(scratch))
        files[wheel.name] = wheel
        manifest = Manifest(
            format=FORMAT,
            name=signed.model.name,
            version=version,
            entry_point=model_package.entry_point,
            contract=signed.model.contract,
            views=signed.model.views,
            signature=signed.signature,
            signature_hash=signed.signature.hash,
            state=signed.state,
            tolerances=tolerances,
            requirements=tuple(wheel_requirements(wheel)),
            training_histogram=_histogram(
                signed, training_predictions if training_predictions is not None else rows.outputs[tensor]
            ),
            files={},
        )
        trial = bundles.write(Path(scratch, "trial"), manifest, files)
        golden_rows.replay_vectors(trial.pipeline(), trial.golden_inputs())
        return bundles.write(parent, manifest, files)


def _sign(pipeline: Pipeline, graph: OnnxModel, golden: Inputs, postprocess_state: Mapping[str, State]) -> Pipeline:
    """The pipeline with the graph's tensors bound, all state given, and every transform shown to be row-independent."""
    model = pipeline.model
    columns = pipeline.features(golden).columns
    pipeline.tensors(columns)
    signature = bind(model, widths(model, columns), graph.inputs, graph.outputs)
    signed = Pipeline(
        model, signature, {**pipeline.state, **{name: dict(state) for name, state in postprocess_state.items()}}
    )
    signed.check_state()
    for transform in (*model.on_demand, *model.model_dependent):
        check_row_independence(transform, columns, signed.state.get(transform.name, {}))
    return signed


def _check_postprocess(pipeline: Pipeline, rows: Golden) -> None:
    columns = pipeline.features(rows.known_inputs).columns
    pipeline.predictions(rows.outputs, columns)
    for step in pipeline.model.ordered_postprocess:
        check_row_independence(step, columns, pipeline.state.get(step.name, {}))


def _histogram(pipeline: Pipeline, predictions: ArrayLike) -> tuple[int, ...]:
    edges = pipeline.model.contract.prediction.buckets
    if not edges:
        return ()
    values = np.asarray(predictions, dtype=np.float64).reshape(-1)
    return tuple(np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).tolist())
