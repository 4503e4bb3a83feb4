"""An alias as a rollout follows it: read with the tags of versions, put back, and versions tagged."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tandem_offline.registry.entries import AliasMove, RegistryError
from tandem_offline.registry.registry import naming_registry, sqlite_file

VERDICT_TAG = "tandem.verdict"
"""Tag of a version with the outcome of its last run, in one word."""

_MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasState:
    """What a registry has of an alias.

    Attributes:
        version: The version that it names; None if there is no such model or alias.
        tags: By version of those that were read and exist: the text of its tag, or None without one.
    """

    version: int | None
    tags: dict[int, str | None]


class FollowedAlias:
    """An alias of a model, and the tags of a rollout that follows it.

    A request is tried once and waits ten seconds, unless the environment says otherwise: whoever follows asks again.

    Args:
        uri: The registry, as that of :class:`Registry`.
        name: Name of the model.
        alias: The alias.
        tag: Key of the rollout's tag of a version. Each rollout has its own.
    """

    def __init__(self, uri: str, name: str, alias: str, *, tag: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._uri, self._name, self._alias, self._tag = uri, name, alias, tag
        self._file = sqlite_file(uri)
        with naming_registry(uri):
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def read(self, versions: Iterable[int]) -> AliasState:
        """Read the alias, and the tags of the version that it names and of others.

        Args:
            versions: The others.

        Raises:
            RegistryError: if the registry cannot be read.
        """
        self._check_file()
        with naming_registry(self._uri):
            number = self._number()
            numbers = {*versions, *([number] if number is not None else [])}
            tags = {version: self._tags(version) for version in sorted(numbers)}
        return AliasState(
            version=number,
            tags={version: own.get(self._tag) for version, own in tags.items() if own is not None},
        )

    def put_back(self, version: int, *, expected: int, reason: str) -> bool:
        """Point the alias to another version, if it still names the expected one.

        Args:
            version: The version.
            expected: The version that it names until then.
            reason: Why, for the history.

        Returns:
            Whether the alias names the version now.

        Raises:
            RegistryError: if the registry cannot be written.
        """
        self._check_file()
        with naming_registry(self._uri):
            # MLflow has no conditional write: between the two requests a person's move would be lost
            if (number := self._number()) != expected:
                return number == version
            move = AliasMove(
                alias=self._alias,
                number=version,
                previous=expected,
                moved_at=datetime.now(UTC),
                action="rollback",
                reason=reason,
            )
            self._client.set_registered_model_tag(self._name, *move.as_tag())
            self._client.set_registered_model_alias(self._name, self._alias, str(version))
        return True

    def tag(self, version: int, verdict: str, text: str) -> None:
        """Tag a version with a verdict.

        Args:
            version: The version.
            verdict: The verdict in one word.
            text: The content of the rollout's tag, which is written last.

        Raises:
            RegistryError: if the registry cannot be written, or has no such version.
        """
        self._check_file()
        with naming_registry(self._uri):
            self._client.set_model_version_tag(self._name, str(version), VERDICT_TAG, verdict)
            self._client.set_model_version_tag(self._name, str(version), self._tag, text)

    def _number(self) -> int | None:
        try:
            number = self._client.get_registered_model(self._name).aliases.get(self._alias)
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            return None
        return None if number is None else int(number)

    def _tags(self, version: int) -> dict[str, str] | None:
        """The tags of a version; None if it does not exist."""
        try:
            return dict(self._client.get_model_version(self._name, str(version)).tags)
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            return None

    def _check_file(self) -> None:
        # MLflow would make the file again, and it would have no aliases
        if self._file is not None and not self._file.exists():
            raise RegistryError(f"registry {self._uri}: file {self._file} does not exist")
