"""The registry: versions of models and their aliases, on an MLflow tracking server or in an SQLite file."""

import os

# MLflow reads this when it is imported, and reports its use over the network otherwise
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from tandem_offline.registry.entries import AliasMove, ModelVersion, Reference, RegistryError
from tandem_offline.registry.registry import Registry

__all__ = ["AliasMove", "ModelVersion", "Reference", "Registry", "RegistryError"]
