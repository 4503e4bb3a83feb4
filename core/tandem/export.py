"""From a trained model to its bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tandem import bundle_directory
from tandem import golden as golden_rows
from tandem.assembly import widths
from tandem.bundle import Bundle
from tandem.comparison import DEFAULT_TOLERANCES, Tolerance
from tandem.errors import BundleError, DefinitionError
from tandem.expected_outputs import as_outputs
from tandem.golden import Golden
from tandem.inputs import Inputs, Tensors
from tandem.manifest import FORMAT, GOLDEN, MANIFEST, MODEL, Manifest, is_file_name
from tandem.onnx_files import external_files, missing_files
from tandem.onnx_model import OnnxModel
from tandem.package import ModelPackage, wheel_requirements
from tandem.pipeline import Pipeline
from tandem.replay import replay
from tandem.row_independence import check_row_independence
from tandem.signature import Signature, bind, check_prediction, check_types, prediction_tensor, with_rows
from tandem.tables import Table
from tandem.training import as_inputs
from tandem.transforms import State


def write_bundle(
    parent: Path | str,
    *,
    package: Path | str,
    version: str,
    pipeline: Pipeline,
    onnx: bytes | Path | str,
    golden: Inputs | Table,
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
        onnx: The trained model: a serialized ONNX graph, or the path of one. A graph that keeps weights in files beside
            it is given by its path; these files become part of the bundle.
        golden: Some tens or hundreds of rows, typical and odd ones: inputs, or a table.
        expected: The training framework's own predictions for these rows: shape ``(rows,)``, or by output tensor.
        postprocess_state: State of post-processing steps, by step.
        training_predictions: Predictions for all training data, for the contract's histogram.
        tolerances: Where they differ from :data:`~tandem.comparison.DEFAULT_TOLERANCES`, by execution provider.

    Raises:
        DefinitionError: if graph and model package do not fit, a transform leaks across rows, or state is missing.
        BundleError: if ONNX Runtime does not predict what the training framework does; names the row.
    """
    return write(
        parent,
        package=package,
        version=version,
        pipeline=pipeline.with_state(postprocess_state or {}),
        onnx=onnx,
        golden=golden,
        expected=expected,
        training_predictions=training_predictions,
        tolerances=tolerances,
    )


def write(
    parent: Path | str,
    *,
    package: Path | str,
    version: str,
    pipeline: Pipeline,
    onnx: bytes | Path | str,
    golden: Inputs,
    expected: ArrayLike | Mapping[str, ArrayLike] | None,
    training_predictions: ArrayLike | None,
    tolerances: Mapping[str, Tolerance] | None,
) -> Bundle:
    """As :func:`write_bundle`, with all state in the pipeline; without ``expected`` the outputs are ONNX Runtime's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise DefinitionError(
            f"version {version!r}: a version has letters, digits, dots, dashes, underscores; the first two come first"
        )
    golden = as_inputs(pipeline.model, golden)
    if not len(golden):
        raise DefinitionError("golden has no rows: some tens or hundreds are needed, typical and odd ones")
    with tempfile.TemporaryDirectory() as scratch:
        files = {**_model_files(onnx, Path(scratch)), GOLDEN: Path(scratch, GOLDEN)}
        graph = OnnxModel(files[MODEL])
        signed, results = _sign(pipeline, graph, golden)
        outputs = results if expected is None else _as_outputs(signed, expected, len(golden))
        rows = golden_rows.make(signed, golden, outputs)
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
            training_histogram=_histogram(signed, rows, training_predictions),
            files={},
            proof="training" if expected is not None else "transport",
        )
        return bundle_directory.write(parent, manifest, files, prove=_prove)


def _prove(bundle: Bundle) -> None:
    golden_rows.replay_vectors(bundle.pipeline(), bundle.golden_inputs())


def _model_files(onnx: bytes | Path | str, scratch: Path) -> dict[str, Path]:
    """The graph and the files with its weights, by their names in the bundle."""
    if isinstance(onnx, bytes):
        path = scratch / MODEL
        path.write_bytes(onnx)
        if names := external_files(path):
            raise DefinitionError(
                f"the graph keeps weights in {', '.join(names)}: give onnx= its path, with these files beside it"
            )
        return {MODEL: path}
    path = Path(onnx)
    try:
        names = external_files(path)
    except OSError as error:
        raise DefinitionError(f"onnx: {path}: {error.strerror}") from error
    for name in names:
        if not is_file_name(name) or name in (MODEL, GOLDEN, MANIFEST) or name.endswith(".whl"):
            raise DefinitionError(
                f"{path} keeps weights in {name!r}, which cannot be the name of a file in a bundle; save it with "
                'onnx.save_model(…, save_as_external_data=True, location="model.onnx.data")'
            )
    if missing := missing_files(path):
        raise DefinitionError(f"{path} keeps weights in {', '.join(missing)}, which is not beside it")
    return {MODEL: path, **{name: path.parent / name for name in names}}


def _sign(pipeline: Pipeline, graph: OnnxModel, golden: Inputs) -> tuple[Pipeline, Tensors]:
    """The pipeline with the graph's tensors bound, its transforms shown to be row-independent; and the outputs."""
    pipeline.check_state()
    model = pipeline.model
    columns = pipeline.features(golden).columns
    pipeline.tensors(columns)
    signature = bind(model, widths(model, columns), graph.inputs, graph.outputs)
    check_types(signature, columns)
    results = _run(graph, Pipeline(model, signature, pipeline.state).tensors(columns))
    signature = Signature(signature.inputs, with_rows(graph.outputs, results, len(golden)))
    check_prediction(model, results[prediction_tensor(model, graph.outputs)])
    signed = Pipeline(model, signature, pipeline.state)
    for transform in (*model.on_demand, *model.model_dependent):
        check_row_independence(transform, columns, signed.state.get(transform.name, {}))
    return signed, results


def _as_outputs(pipeline: Pipeline, expected: ArrayLike | Mapping[str, ArrayLike], rows: int) -> Tensors:
    outputs = pipeline.signature.outputs
    readers = {name: step.name for step in pipeline.model.postprocess for name in step.inputs}
    readers = {spec.name: readers[spec.name] for spec in outputs if spec.name in readers}
    tensor = prediction_tensor(pipeline.model, outputs)
    return as_outputs(pipeline.signature, expected, tensor, rows, readers=readers)


def _run(graph: OnnxModel, vectors: Tensors) -> Tensors:
    try:
        return graph.run(vectors)
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        raise BundleError(f"ONNX Runtime fails on the golden rows: {error}") from error


def _check_postprocess(pipeline: Pipeline, rows: Golden) -> None:
    columns = pipeline.features(rows.known_inputs).columns
    pipeline.predictions(rows.outputs, columns)
    for step in pipeline.model.ordered_postprocess:
        check_row_independence(step, columns, pipeline.state.get(step.name, {}))


def _histogram(pipeline: Pipeline, rows: Golden, predictions: ArrayLike | None) -> tuple[int, ...]:
    prediction = pipeline.model.contract.prediction
    edges = prediction.buckets
    if not edges:
        return ()
    if predictions is None:
        predictions = rows.answers[prediction.name]
    values = np.asarray(predictions, dtype=np.float64).reshape(-1)
    return tuple(np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).tolist())
