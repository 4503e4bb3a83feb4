"""The registry: versions of models and their aliases, on an MLflow tracking server or in an SQLite file."""

from tandem_offline.registry.entries import AliasMove, ModelVersion, Reference, RegistryError
from tandem_offline.registry.registry import Registry

__all__ = ["AliasMove", "ModelVersion", "Reference", "Registry", "RegistryError"]
