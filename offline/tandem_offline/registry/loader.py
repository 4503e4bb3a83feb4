"""The code of a bundle in MLflow, which is stored beside it as it is here: MLflow loads it, and nothing is pickled.

A table that has the features of the model is predicted as it is. Otherwise they are looked up in the online store that
``TANDEM_STORE_URL`` names; without it every entity is unknown.
"""

import json
import os

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

import tandem


class BundleModel(PythonModel):
    """A bundle as MLflow calls it."""

    def load_context(self, context):  # type: ignore[no-untyped-def]
        """Open the bundle, and replay its golden rows."""
        self.model = tandem.load(context.artifacts["bundle"], store=os.environ.get("TANDEM_STORE_URL") or None)

    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]
        """A row for each row, with a column for each field of the answer."""
        views = self.model.bundle.model.views
        joined = [name for use in views for name in (*use.column_names(), f"{use.name}_event_time")]
        if all(name in model_input for name in joined):
            return pd.DataFrame(self.model.predict_columns(model_input))
        fields = [name for name in model_input if name in self.model.bundle.contract.inputs]
        answers = pd.DataFrame(self.model.predict(model_input[fields]))
        if "degraded" in answers:
            answers["degraded"] = [
                json.dumps(value) if isinstance(value, dict) else "" for value in answers["degraded"]
            ]
        return answers


mlflow.models.set_model(BundleModel())
