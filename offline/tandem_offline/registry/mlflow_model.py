"""A bundle as an MLflow model: a directory that `mlflow.pyfunc` loads and `mlflow models serve` serves."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric, RunTag

from tandem.bundle import Bundle
from tandem.dtypes import FieldType, array_length

with warnings.catch_warnings():
    # MLflow warns of its own type hints when this is imported
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    from mlflow.models import Model as MlflowModel
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array

DIGEST_TAG = "tandem.digest"
VERSION_TAG = "tandem.version"
MODEL_TAG = "tandem.model_id"

BUNDLE = "artifacts/bundle"
"""Where the bundle is in the directory of the MLflow model."""

_LOADER = Path(__file__).with_name("loader.py")
_TYPES = {
    "float64": DataType.double,
    "int64": DataType.long,
    "bool": DataType.boolean,
    "string": DataType.string,
    "timestamp": DataType.datetime,
}


def log_bundle(
    client: MlflowClient, bundle: Bundle, metrics: Mapping[str, float], tags: Mapping[str, str], location: str | None
) -> LoggedModel:
    """Log a bundle as a run with one model, in the experiment that is called as the model.

    Args:
        client: The client of the registry.
        bundle: The bundle.
        metrics: How good it is.
        tags: Tags of the run.
        location: Where the files of experiments are kept; None for the server's own place.

    Returns:
        The model.
    """
    experiment = _experiment(client, bundle.name, location)
    run_id = client.create_run(experiment, run_name=bundle.wire_name, tags=dict(tags)).info.run_id
    model = client.create_logged_model(experiment, name=bundle.wire_name, source_run_id=run_id)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        write_mlflow_model(bundle, directory, model.model_id)
        client.log_model_artifacts(model.model_id, str(directory))
    now = int(datetime.now(UTC).timestamp() * 1000)
    values = [Metric(name, value, now, 0, model_id=model.model_id, run_id=run_id) for name, value in metrics.items()]
    client.log_batch(run_id, metrics=values, tags=[RunTag(DIGEST_TAG, bundle.digest)])
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id)
    return model


def write_mlflow_model(bundle: Bundle, directory: Path, model_id: str) -> None:
    """Write the MLflow model of a bundle.

    Args:
        bundle: The bundle.
        directory: The directory, which is created.
        model_id: Id of the logged model that it becomes.
    """
    requirements = [requirement for requirement in bundle.manifest.requirements if not requirement.startswith("python")]
    # MLflow keeps it under the name of its directory, which may be any
    copy = shutil.copytree(bundle.path, directory.with_name("bundle"))
    with warnings.catch_warnings():
        # MLflow would like type hints and an example, from which it would infer the signature
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(directory),
            python_model=str(_LOADER),
            artifacts={"bundle": str(copy)},
            signature=signature_of(bundle),
            # named here, since MLflow would find them out by loading the model in another process
            pip_requirements=[f"tandem-core[onnx,redis]=={version_of('tandem-core')}", "pandas", *requirements],
            metadata={DIGEST_TAG: bundle.digest, VERSION_TAG: bundle.version},
            mlflow_model=MlflowModel(model_id=model_id),
        )


def signature_of(bundle: Bundle) -> ModelSignature:
    """The deployment API as MLflow's signature; stored features may be given too, and are then not looked up."""
    inputs: list[ColSpec | TensorSpec] = [
        _column(name, field.type, required=field.required) for name, field in bundle.contract.inputs.items()
    ]
    for use in bundle.manifest.views:
        inputs.append(_column(f"{use.name}_event_time", "timestamp", required=False))
        for name, feature in zip(use.column_names(), use.view.features, strict=True):
            inputs.append(_column(name, feature.type, required=False))
    outputs = [_column(name, field.type) for name, field in bundle.contract.answers.items()]
    return ModelSignature(Schema(inputs), Schema([*outputs, ColSpec(DataType.string, "degraded", required=False)]))


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    return str(client.create_experiment(name, artifact_location=location and f"{location}/{name}"))


def _column(name: str, type_: FieldType, *, required: bool = True) -> ColSpec:
    kind = _TYPES[type_] if array_length(type_) is None else Array(DataType.double)
    return ColSpec(kind, name, required=required)
