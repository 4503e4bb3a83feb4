"""Aliases and tags of model versions in an MLflow tracking server, over its REST API."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx2
import msgspec

from tandem_rollout.api.text import one_line
from tandem_rollout.sources.fetch import MAX_REASON_LENGTH, Fetched, FetchError, fetch, open_client

DIGEST_TAG: Final = "tandem.digest"
"""Tag of a version with the digest of its bundle. `tandem register` sets it."""

VERDICT_TAG: Final = "tandem.verdict"
"""Tag of a version with the outcome of its last run, in one word."""

_MAX_BYTES: Final = 4 << 20
_API: Final = "/api/2.0/mlflow"
_MISSING: Final = "RESOURCE_DOES_NOT_EXIST"

_T = TypeVar("_T")


class RegistryError(Exception):
    """A registry does not answer, or rejects a request. The message has one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasTags:
    """What a registry has of an alias.

    Attributes:
        version: The version that it names; None if there is no such model or alias.
        tags: The tags by version, of those that were read and exist.
    """

    version: int | None
    tags: Mapping[int, Mapping[str, str]]


class _Alias(msgspec.Struct):
    alias: str
    version: str


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _Model(msgspec.Struct):
    aliases: list[_Alias] = []


class _Version(msgspec.Struct):
    tags: list[_Tag] = []


class _ModelResponse(msgspec.Struct):
    registered_model: _Model


class _VersionResponse(msgspec.Struct):
    model_version: _Version


class _ErrorResponse(msgspec.Struct):
    error_code: str = ""
    message: str = ""


class MlflowRegistry:
    """The registry of an MLflow tracking server.

    Args:
        address: Its URL, without ``/api``.
        timeout: Timeout of a request in seconds.
        client: HTTP client, which is closed with the registry.
    """

    def __init__(self, address: str, *, timeout: float = 5.0, client: httpx2.AsyncClient | None = None) -> None:
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._client = client or open_client(seconds=timeout)

    async def read(self, model: str, alias: str, versions: AbstractSet[int], *, known: int) -> AliasTags:
        """Read an alias, and the tags of versions.

        Args:
            model: Name of the model.
            alias: The alias.
            versions: Versions whose tags are read.
            known: The tags of this version are not read, even if the alias names it, unless they are asked for.

        Raises:
            RegistryError: The registry does not answer.
        """
        response = await self._get("registered-models/get", {"name": model}, _ModelResponse)
        aliases = response.registered_model.aliases if response is not None else []
        version = next((_number(entry.version) for entry in aliases if entry.alias == alias), None)
        numbers = set(versions) if version is None or version == known else {*versions, version}
        tags = {number: await self._tags(model, number) for number in sorted(numbers)}
        return AliasTags(version=version, tags={number: own for number, own in tags.items() if own is not None})

    async def put_back(self, model: str, alias: str, version: int, *, expected: int, reason: str) -> None:
        """Point an alias to another version, if it still names the expected one.

        Args:
            model: Name of the model.
            alias: The alias.
            version: The version.
            expected: The version that it names until then.
            reason: Why, for the history of aliases that ``tandem registry history`` shows.

        Raises:
            RegistryError: The registry does not answer, or rejects a request.
        """
        # MLflow has no conditional write: a person's move between the two requests would be lost
        if (await self.read(model, alias, set(), known=expected)).version != expected:
            return
        now = datetime.now(UTC)
        move = {"alias": alias, "number": version, "previous": expected, "moved_at": now, "action": "rollback"}
        value = msgspec.json.encode({**move, "reason": reason}).decode()
        key = f"tandem.alias.{alias}.{now:%Y%m%dT%H%M%S.%f}"
        await self._post("registered-models/set-tag", {"name": model, "key": key, "value": value})
        await self._post("registered-models/alias", {"name": model, "alias": alias, "version": str(version)})

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in this order.

        Args:
            model: Name of the model.
            version: The version.
            tags: The tags.

        Raises:
            RegistryError: The registry does not answer, or rejects a request.
        """
        for key, value in tags.items():
            own = {"name": model, "version": str(version), "key": key, "value": value}
            await self._post("model-versions/set-tag", own)

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._client.aclose()

    async def _tags(self, model: str, version: int) -> dict[str, str] | None:
        """The tags of a version; None if it does not exist."""
        params = {"name": model, "version": str(version)}
        response = await self._get("model-versions/get", params, _VersionResponse)
        return None if response is None else {tag.key: tag.value for tag in response.model_version.tags}

    async def _get(self, path: str, params: Mapping[str, str], kind: type[_T]) -> _T | None:
        """A response; None if there is no such model or version."""
        response = await self._send(path, params=params)
        if response.status != 200:
            error = _error(response)
            if response.status == 404 and error.error_code == _MISSING:
                return None
            raise RegistryError(_message(response, error))
        try:
            return msgspec.json.decode(response.body, type=kind)
        except msgspec.MsgspecError as error:
            raise RegistryError(f"the registry sent an invalid response: {error}") from None

    async def _post(self, path: str, document: Mapping[str, str]) -> None:
        response = await self._send(path, document=document)
        if response.status != 200:
            raise RegistryError(_message(response, _error(response)))

    async def _send(
        self, path: str, *, params: Mapping[str, str] | None = None, document: Mapping[str, str] | None = None
    ) -> Fetched:
        address = f"{self._address}{_API}/{path}"
        try:
            return await fetch(
                self._client, address, seconds=self._timeout, most=_MAX_BYTES, params=params, document=document
            )
        except FetchError as error:
            raise RegistryError(f"the registry does not answer: {error}") from error


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _error(response: Fetched) -> _ErrorResponse:
    try:
        return msgspec.json.decode(response.body, type=_ErrorResponse)
    except msgspec.MsgspecError:
        return _ErrorResponse()


def _message(response: Fetched, error: _ErrorResponse) -> str:
    reason = one_line(error.message, MAX_REASON_LENGTH) or "no message"
    return f"the registry responded with HTTP {response.status}: {reason}"
