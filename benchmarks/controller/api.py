"""A client of the API server for everything but the controller: plain JSON, without client-side limits."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final

import aiohttp

from benchmarks.controller.control_plane import ControlPlane

Plain = dict[str, Any]

_MERGE: Final = "application/merge-patch+json"
_LONGEST_LINE: Final = 1 << 22

ROLLOUTS: Final = "/apis/tandem-serving.io/v1alpha1", "inferencerollouts"
SERVICES: Final = "/apis/serving.kserve.io/v1beta1", "inferenceservices"
ROUTES: Final = "/apis/gateway.networking.k8s.io/v1", "httproutes"
SCALED: Final = "/apis/keda.sh/v1alpha1", "scaledobjects"
PODS: Final = "/api/v1", "pods"
NAMESPACES: Final = "/api/v1", "namespaces"
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"

Kind = tuple[str, str]
"""Where a kind is served, and its plural."""


class ApiError(Exception):
    """The API server does not do what it was asked.

    Args:
        message: What was asked, and what it says.
        status: Status of its answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A client.

    Args:
        plane: The API server.
        connections: Calls at the same time, watches apart.
    """

    def __init__(self, plane: ControlPlane, connections: int = 16) -> None:
        trusted = ssl.create_default_context(cafile=str(plane.certificate))
        headers = {"Authorization": f"Bearer {plane.token}", "User-Agent": "benchmark"}
        self._url = plane.url
        self._calls = asyncio.Semaphore(connections)
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=_LONGEST_LINE,
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, kind: Kind, manifest: Plain, namespace: str = "") -> Plain:
        """Make an object.

        Raises:
            ApiError: if it is not taken.
        """
        return await self._call("POST", _path(kind, namespace), manifest)

    async def patch(self, kind: Kind, namespace: str, name: str, change: Any, *, status: bool = False) -> Plain:
        """Change an object by a merge patch.

        Raises:
            ApiError: if it is not taken.
        """
        path = f"{_path(kind, namespace)}/{name}{'/status' if status else ''}"
        return await self._call("PATCH", path, change, _MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object at once; none that is gone already.

        Raises:
            ApiError: if it is not done.
        """
        try:
            await self._call("DELETE", f"{_path(kind, namespace)}/{name}", {"gracePeriodSeconds": 0})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def get(self, path: str) -> str:
        """What is at a path, as text.

        Raises:
            ApiError: if there is nothing.
        """
        async with self._calls, self._session.get(self._url + path) as response:
            text = await response.text()
        if response.status != 200:
            raise ApiError(f"GET {path}: {response.status}", response.status)
        return text

    async def served(self, definition: Plain, *, within: float) -> None:
        """Wait until a new kind is served.

        Args:
            definition: Its CustomResourceDefinition.
            within: Seconds after which it is too late.

        Raises:
            TimeoutError: then.
        """
        spec = definition["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        async with asyncio.timeout(within):
            while True:
                try:
                    await self.get(path)
                    return
                except ApiError:
                    await asyncio.sleep(0.2)

    async def watch(self, kind: Kind) -> AsyncIterator[tuple[str, Plain]]:
        """Every object of a kind as it is, and every change from then on."""
        listing = json.loads(await self.get(_path(kind, "")))
        for item in listing["items"]:
            yield "ADDED", item
        version = listing["metadata"]["resourceVersion"]
        while True:
            query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
            async with self._session.get(self._url + _path(kind, ""), params=query) as response:
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(f"watch of {kind[1]}: {status.get('message')}", status.get("code", 0))
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]

    async def _call(self, verb: str, path: str, body: Any, kind: str = "application/json") -> Plain:
        data, headers = json.dumps(body).encode(), {"Content-Type": kind}
        async with self._calls, self._session.request(verb, self._url + path, data=data, headers=headers) as response:
            reply: Plain = await response.json()
        if response.status >= 300:
            raise ApiError(f"{verb} {path}: {response.status} {reply.get('message')}", response.status)
        return reply


def _path(kind: Kind, namespace: str) -> str:
    base, plural = kind
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"
