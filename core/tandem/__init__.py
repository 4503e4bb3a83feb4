"""Tandem: models served as pairs of transformer and predictor.

What a model package needs is here; see ``docs/authoring.md``.
"""

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
    "matrix",
    "model_dependent",
    "on_demand",
    "postprocess",
    "write_bundle",
]
