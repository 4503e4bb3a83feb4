"""Tandem: models served as pairs of transformer and predictor.

What a model package needs is here; see ``docs/authoring.md``. Names are imported when they are used first, so that a
program which only predicts loads neither training nor what builds bundles.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tandem.bundle import Bundle
    from tandem.comparison import Tolerance
    from tandem.contract import Contract, Prediction
    from tandem.decorators import model_dependent, on_demand, postprocess
    from tandem.embedded import EmbeddedModel
    from tandem.errors import BundleError, DefinitionError, RequestError, StoreError, TandemError
    from tandem.existing import bundle_from_onnx
    from tandem.export import write_bundle
    from tandem.features import Feature, FeatureView
    from tandem.fields import Field
    from tandem.inputs import Inputs
    from tandem.loading import load
    from tandem.model import Model
    from tandem.pipeline import Pipeline
    from tandem.table_inputs import inputs_from_table
    from tandem.training import fit, matrix
    from tandem.windows.definition import Statistic, Window

__all__ = [
    "Bundle",
    "BundleError",
    "Contract",
    "DefinitionError",
    "EmbeddedModel",
    "Feature",
    "FeatureView",
    "Field",
    "Inputs",
    "Model",
    "Pipeline",
    "Prediction",
    "RequestError",
    "Statistic",
    "StoreError",
    "TandemError",
    "Tolerance",
    "Window",
    "bundle_from_onnx",
    "fit",
    "inputs_from_table",
    "load",
    "matrix",
    "model_dependent",
    "on_demand",
    "postprocess",
    "write_bundle",
]

_MODULES = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "Contract": "contract",
    "DefinitionError": "errors",
    "EmbeddedModel": "embedded",
    "Feature": "features",
    "FeatureView": "features",
    "Field": "fields",
    "Inputs": "inputs",
    "Model": "model",
    "Pipeline": "pipeline",
    "Prediction": "contract",
    "RequestError": "errors",
    "Statistic": "windows.definition",
    "StoreError": "errors",
    "TandemError": "errors",
    "Tolerance": "comparison",
    "Window": "windows.definition",
    "bundle_from_onnx": "existing",
    "fit": "training",
    "inputs_from_table": "table_inputs",
    "load": "loading",
    "matrix": "training",
    "model_dependent": "decorators",
    "on_demand": "decorators",
    "postprocess": "decorators",
    "write_bundle": "export",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    # so that it is asked for once
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
