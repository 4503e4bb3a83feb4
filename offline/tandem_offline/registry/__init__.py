"""The registry: versions of models and their aliases, on an MLflow tracking server or in an SQLite file."""

import os

# MLflow reads these when it is imported; it would report its use over the network, and each step of a new SQLite file
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from tandem_offline.registry.entries import AliasMove, ModelVersion, Reference, RegistryError
from tandem_offline.registry.following import AliasState, FollowedAlias
from tandem_offline.registry.registry import Registry

__all__ = ["AliasMove", "AliasState", "FollowedAlias", "ModelVersion", "Reference", "Registry", "RegistryError"]
