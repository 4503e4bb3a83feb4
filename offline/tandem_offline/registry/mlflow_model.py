"""A bundle as an MLflow model: a directory that `mlflow.pyfunc` loads and `mlflow models serve` serves."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from tandem.bundle import Bundle
from tandem.dtypes import FieldType, array_length

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


def write_mlflow_model(bundle: Bundle, directory: Path, model_id: str) -> None:
    """Write the MLflow model of a bundle.

    Args:
        bundle: The bundle.
        directory: The directory, which is created.
        model_id: Id of the logged model that it becomes.
    """
    requirements = [requirement for requirement in bundle.manifest.requirements if not requirement.startswith("python")]
    mlflow.pyfunc.save_model(
        str(directory),
        python_model=str(_LOADER),
        artifacts={"bundle": str(bundle.path)},
        signature=signature_of(bundle),
        # named here, since MLflow would find them out by loading the model in another process
        pip_requirements=[f"tandem-core[onnx,redis]=={version_of('tandem-core')}", "pandas", *requirements],
        metadata={"tandem.digest": bundle.digest, "tandem.version": bundle.version},
        mlflow_model=MlflowModel(model_id=model_id),
    )


def signature_of(bundle: Bundle) -> ModelSignature:
    """The deployment API as MLflow's signature; stored features may be given too, and are then not looked up."""
    inputs = [_column(name, field.type, required=field.required) for name, field in bundle.contract.inputs.items()]
    for use in bundle.manifest.views:
        inputs.append(_column(f"{use.name}_event_time", "timestamp", required=False))
        for name, feature in zip(use.column_names(), use.view.features, strict=True):
            inputs.append(_column(name, feature.type, required=False))
    outputs = [_column(name, field.type) for name, field in bundle.contract.answers.items()]
    return ModelSignature(Schema(inputs), Schema([*outputs, ColSpec(DataType.string, "degraded", required=False)]))


def _column(name: str, type_: FieldType, *, required: bool = True) -> ColSpec:
    kind = _TYPES[type_] if array_length(type_) is None else Array(DataType.double)
    return ColSpec(kind, name, required=required)
