"""Versions and aliases in MLflow: registered, compared, promoted, rolled back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from tandem.bundle import Bundle
from tandem.compatibility import compare
from tandem.embedded import EmbeddedModel
from tandem.manifest import MANIFEST, Manifest, read_manifest
from tandem_offline.registry.entries import (
    CHAMPION,
    AliasMove,
    ModelVersion,
    PromotionRefused,
    Reference,
    RegistryError,
    read_moves,
)
from tandem_offline.registry.mlflow_model import BUNDLE, DIGEST_TAG, MODEL_TAG, VERSION_TAG, log_bundle


class Registry:
    """Versions of models in MLflow.

    Args:
        uri: A tracking server, as ``http://mlflow:5000``, or an SQLite file, as ``sqlite:////var/lib/registry.db``,
            beside which the bundles are kept.
        create: Whether the SQLite file is made where it does not exist.

    Raises:
        RegistryError: if it cannot be opened, or does not exist and is not to be made.
    """

    def __init__(self, uri: str, *, create: bool = False) -> None:
        self.uri = uri
        file = sqlite_file(uri)
        # MLflow makes the file, with all of its tables, as soon as it opens it
        if file is not None and not create and not file.exists():
            raise RegistryError(f"registry {uri}: file {file} does not exist; `tandem register` creates it")
        with naming_registry(uri):
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def register(
        self, bundle: Bundle, *, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None
    ) -> ModelVersion:
        """Register a bundle as the next version of its model, after replaying its golden rows.

        A bundle that is registered already is not registered again.

        Args:
            bundle: The bundle.
            metrics: How good it is, by the names of the metrics.
            tags: Further facts, as where its data and its code come from.

        Raises:
            BundleError: if the bundle is damaged or its golden rows are not predicted as they should be.
            RegistryError: if the registry cannot be reached.
        """
        EmbeddedModel.open(bundle.path)
        with naming_registry(self.uri):
            for version in self._search(bundle.name):
                if version.tags.get(DIGEST_TAG) == bundle.digest:
                    return _describe(self._client, version)
            model = log_bundle(self._client, bundle, metrics or {}, tags or {}, _beside(self.uri))
            if not self._client.search_registered_models(f"name = '{bundle.name}'"):
                self._client.create_registered_model(bundle.name)
            own = {DIGEST_TAG: bundle.digest, VERSION_TAG: bundle.version, MODEL_TAG: model.model_id}
            # of an SQLite file MLflow would look for models:/ID in the registry that is the process's own
            source = f"models:/{model.model_id}" if _beside(self.uri) is None else model.artifact_location
            version = self._client.create_model_version(
                bundle.name, source, run_id=model.source_run_id, tags={**(tags or {}), **own}
            )
            return _describe(self._client, version)

    def names(self) -> list[str]:
        """Names of all models, in order."""
        with naming_registry(self.uri):
            return sorted(model.name for model in self._client.search_registered_models())

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, the newest first.

        Raises:
            RegistryError: if there is no such model.
        """
        with naming_registry(self.uri):
            self._client.get_registered_model(name)
            return [_describe(self._client, version) for version in self._search(name)]

    def resolve(self, reference: Reference) -> ModelVersion:
        """The version that a reference means at present.

        Raises:
            RegistryError: if there is none.
        """
        with naming_registry(self.uri):
            return _describe(self._client, self._get(reference))

    def manifest(self, version: ModelVersion) -> Manifest:
        """The manifest of a version's bundle.

        Raises:
            RegistryError: if it is gone.
            BundleError: if it is not valid.
        """
        with naming_registry(self.uri), tempfile.TemporaryDirectory() as directory:
            return read_manifest(self._download(version, f"{BUNDLE}/{MANIFEST}", directory).read_bytes())

    def download(self, version: ModelVersion, directory: Path) -> Bundle:
        """The bundle of a version, verified against the digest that was registered.

        Args:
            version: The version.
            directory: Where ``NAME-DIGEST8`` is made; if it is there, it is verified and not downloaded.

        Raises:
            RegistryError: if it is gone.
            BundleError: if it is damaged, or another one than was registered.
        """
        target = directory / f"{version.name}-{version.digest[:8]}"
        if target.exists():
            return Bundle.open(target, digest=version.digest)
        directory.mkdir(parents=True, exist_ok=True)
        with naming_registry(self.uri), tempfile.TemporaryDirectory(prefix=".", dir=directory) as scratch:
            path = self._download(version, BUNDLE, scratch)
            Bundle.open(path, digest=version.digest)
            path.rename(target)
        return Bundle.open(target, digest=version.digest)

    def promote(
        self, version: ModelVersion, *, alias: str = CHAMPION, allow_breaking: bool = False, reason: str = ""
    ) -> AliasMove | None:
        """Point an alias to a version.

        Args:
            version: The version.
            alias: The alias.
            allow_breaking: Whether clients of the version that has it may break.
            reason: Why, in words.

        Returns:
            The move; None if the alias points to this version already.

        Raises:
            PromotionRefused: if the contract breaks clients of the version that has the alias.
            RegistryError: if there is no such version.
        """
        with naming_registry(self.uri):
            previous = self._aliased(version.name, alias)
        if previous is not None and previous.number == version.number:
            return None
        if previous is not None and not allow_breaking:
            changes = compare(self.manifest(previous).contract, self.manifest(version).contract)
            if breaking := [change for change in changes if change.breaking]:
                reasons = "; ".join(f"{change.field}: {change.what}" for change in breaking)
                message = f"{version.reference} breaks clients of {previous.reference}, which is {alias}: {reasons}"
                raise PromotionRefused(message, breaking)
        return self._move(version, previous, alias, "promote", reason)

    def rollback(self, name: str, *, alias: str = CHAMPION, reason: str = "") -> AliasMove:
        """Point an alias back to the version that had it before.

        Raises:
            RegistryError: if there is no such model or alias, or it was never moved.
        """
        with naming_registry(self.uri):
            present = self._aliased(name, alias)
        if present is None:
            raise RegistryError(f"models:/{name}@{alias} does not exist")
        for move in reversed(self.history(name)):
            if (move.alias, move.number, move.action) == (alias, present.number, "promote") and move.previous:
                previous = self.resolve(Reference(name, move.previous))
                return self._move(previous, present, alias, "rollback", reason)
        raise RegistryError(f"models:/{name}@{alias} points to version {present.number} since it was first set")

    def history(self, name: str) -> list[AliasMove]:
        """The moves of a model's aliases, the oldest first.

        Raises:
            RegistryError: if there is no such model.
        """
        with naming_registry(self.uri):
            return read_moves(self._client.get_registered_model(name).tags)

    def _move(
        self, version: ModelVersion, previous: ModelVersion | None, alias: str, action: str, reason: str
    ) -> AliasMove:
        move = AliasMove(
            alias=alias,
            number=version.number,
            previous=previous.number if previous else None,
            moved_at=datetime.now(UTC),
            action=action,
            reason=reason,
        )
        with naming_registry(self.uri):
            # the history first: if this process ends in between, what is recorded says more than happened, not less
            self._client.set_registered_model_tag(version.name, *move.as_tag())
            self._client.set_registered_model_alias(version.name, alias, str(version.number))
        return move

    def _search(self, name: str) -> list[MlflowVersion]:
        versions = self._client.search_model_versions(f"name = '{name}'")
        return sorted(versions, key=lambda version: -int(version.version))

    def _get(self, reference: Reference) -> MlflowVersion:
        if reference.alias is not None:
            return self._client.get_model_version_by_alias(reference.name, reference.alias)
        return self._client.get_model_version(reference.name, str(reference.number))

    def _aliased(self, name: str, alias: str) -> ModelVersion | None:
        number = self._client.get_registered_model(name).aliases.get(alias)
        return None if number is None else _describe(self._client, self._get(Reference(name, int(number))))

    def _download(self, version: ModelVersion, name: str, directory: str) -> Path:
        stored = self._client.get_model_version(version.name, str(version.number))
        if MODEL_TAG not in stored.tags:
            raise RegistryError(f"registry {self.uri}: {version.reference} is no bundle")
        location = self._client.get_logged_model(stored.tags[MODEL_TAG]).artifact_location
        return Path(download_artifacts(f"{location}/{name}", dst_path=directory, tracking_uri=self.uri))


@contextmanager
def naming_registry(uri: str) -> Iterator[None]:
    """Errors of MLflow, of files and of connections as errors that name the registry.

    Args:
        uri: The registry.

    Raises:
        RegistryError: in place of these errors.
    """
    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"registry {uri}: {error.message}") from error
    except OSError as error:
        raise RegistryError(f"registry {uri}: {error}") from error


def _describe(client: MlflowClient, version: MlflowVersion) -> ModelVersion:
    # a version that was just made has no aliases yet, and one from a search has no metrics
    whole = client.get_model_version(version.name, version.version)
    # versions that other tools have registered are not of bundles
    model = client.get_logged_model(whole.tags[MODEL_TAG]) if MODEL_TAG in whole.tags else None
    tags = {name: text for name, text in whole.tags.items() if name not in (DIGEST_TAG, VERSION_TAG, MODEL_TAG)}
    return ModelVersion(
        name=whole.name,
        number=int(whole.version),
        version=whole.tags.get(VERSION_TAG, ""),
        digest=whole.tags.get(DIGEST_TAG, ""),
        aliases=tuple(sorted(whole.aliases)),
        registered_at=datetime.fromtimestamp(whole.creation_timestamp / 1000, UTC),
        metrics={metric.key: metric.value for metric in (model and model.metrics) or []},
        tags=tags,
    )


def _beside(uri: str) -> str | None:
    """Where bundles are kept beside an SQLite file; None for a server, which has a place of its own."""
    file = sqlite_file(uri)
    return None if file is None else file.with_suffix("").as_uri()


def sqlite_file(uri: str) -> Path | None:
    """The SQLite file of a registry; None for a server.

    Args:
        uri: The registry.
    """
    if not uri.startswith("sqlite:"):
        return None
    return Path(urlparse(uri).path.removeprefix("/")).absolute()
