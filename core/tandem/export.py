"""From a trained model to its bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tandem import bundle_directory
from tandem.bundle import Bundle
from tandem.comparison import DEFAULT_TOLERANCES, Tolerance
from tandem.dtypes import array_length
from tandem.errors import DefinitionError
from tandem.expected_outputs import as_outputs
from tandem.golden import Golden, make_golden, replay_vectors
from tandem.inputs import Inputs, Tensors
from tandem.manifest import FORMAT, GOLDEN, MANIFEST, MODEL, SIMPLER, Manifest, is_file_name
from tandem.onnx_files import external_files, missing_files
from tandem.onnx_model import OnnxModel
from tandem.package import ModelPackage, wheel_requirements
from tandem.pipeline import Pipeline
from tandem.replay import replay
from tandem.signature import prediction_tensor
from tandem.signing import check_postprocess, sign
from tandem.simpler_model import check_need, check_simpler
from tandem.table_inputs import as_inputs
from tandem.tables import Table
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
    simpler: Bundle | Path | str | None = None,
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
        simpler: The bundle of a model that answers for views with ``fallback="model"``, or its directory: with the same
            contract, and without views. It becomes part of the bundle.

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
        simpler=simpler,
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
    simpler: Bundle | Path | str | None,
) -> Bundle:
    """As :func:`write_bundle`, with all state in the pipeline; without ``expected`` the outputs are ONNX Runtime's."""
    # the version is a segment of paths, as in /versions/VERSION
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise DefinitionError(
            f"version {version!r}: use letters, digits, dots, dashes, underscores, and begin with a letter or a digit"
        )
    inner = Bundle.open(simpler.path if isinstance(simpler, Bundle) else simpler) if simpler is not None else None
    check_need(pipeline.model.views, has_simpler=inner is not None)
    if inner is not None:
        check_simpler(pipeline.model.contract, inner.manifest)
    golden = as_inputs(pipeline.model, golden)
    if not len(golden):
        raise DefinitionError("golden has no rows: tens or hundreds are needed, typical ones and edge cases")
    with tempfile.TemporaryDirectory() as scratch:
        files = {**_model_files(onnx, Path(scratch)), GOLDEN: Path(scratch, GOLDEN)}
        graph = OnnxModel(files[MODEL])
        signed, results = sign(pipeline, graph, golden)
        outputs = results if expected is None else _as_outputs(signed, expected, len(golden))
        rows = make_golden(signed, golden, outputs)
        tolerances = {**DEFAULT_TOLERANCES, **(tolerances or {})}
        # everything is proved before anything is written
        check_postprocess(signed, rows)
        # all rows alone, not a sample of them as at a start: a bundle is written once
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
        return bundle_directory.write(parent, manifest, files, simpler=inner, prove=_prove)


def _prove(bundle: Bundle) -> None:
    replay_vectors(bundle.pipeline(), bundle.golden_inputs())


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
    _check_weight_names(path, names)
    if missing := missing_files(path):
        raise DefinitionError(f"{path} keeps weights in {', '.join(missing)}, which is not beside it")
    return {MODEL: path, **{name: path.parent / name for name in names}}


def _check_weight_names(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if not is_file_name(name) or name in (MODEL, GOLDEN, MANIFEST, SIMPLER) or name.endswith(".whl"):
            raise DefinitionError(
                f"{path} keeps weights in {name!r}, which cannot be the name of a file in a bundle; save it with "
                'onnx.save_model(…, save_as_external_data=True, location="model.onnx.data")'
            )


def _as_outputs(pipeline: Pipeline, expected: ArrayLike | Mapping[str, ArrayLike], rows: int) -> Tensors:
    outputs = pipeline.signature.outputs
    # post-processing is replayed on expected outputs, so that each output that it reads is needed
    readers = {name: step.name for step in pipeline.model.postprocess for name in step.inputs}
    contract = pipeline.model.contract
    readers |= {prediction_tensor(further, outputs): further.name for further in contract.further_predictions}
    readers = {spec.name: readers[spec.name] for spec in outputs if spec.name in readers}
    tensor = prediction_tensor(contract.prediction, outputs)
    return as_outputs(pipeline.signature, expected, tensor, rows, readers=readers)


def _histogram(pipeline: Pipeline, rows: Golden, predictions: ArrayLike | None) -> tuple[int, ...]:
    prediction = pipeline.model.contract.prediction
    edges = prediction.buckets
    if not edges:
        return ()
    if predictions is None:
        predictions = rows.answers[prediction.name]
    values = np.asarray(predictions, dtype=np.float64)
    # one value per row, with or without an axis of its own
    values = prediction.histogram_values(values if array_length(prediction.type) else values.reshape(-1))
    # edges belong to the bucket below them (le), as in Prometheus' histograms
    return tuple(np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).tolist())
