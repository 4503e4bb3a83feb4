"""gRPC's health checks (``grpc.health.v1``), which kubelet's probes and load balancers ask. Needs the extra ``grpc``.

Source: gRPC's ``health-checking.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from tandem.errors import NotFound, Unavailable
from tandem.oip import health_pb2 as pb
from tandem.oip import protobuf

#: Full name of the gRPC service.
SERVICE: Final = "grpc.health.v1.Health"

_Status = pb.HealthCheckResponse.ServingStatus


class Health:
    """Tells whether a server should get calls; all of its services are ready at the same time.

    Args:
        services: Full names of the services; the empty name, that of the server, is always known.
        ready: Whether they should get calls. Whatever changes that tells :meth:`changed`.
    """

    def __init__(self, services: Sequence[str], ready: Callable[[], bool]) -> None:
        self._services = ("", SERVICE, *services)
        self._ready = ready
        self._change = asyncio.Event()
        self._closed = False

    def changed(self) -> None:
        """Tell those that watch."""
        self._change.set()
        # a new one for the next change: those that watch still hold the old one
        self._change = asyncio.Event()

    def close(self) -> None:
        """Tell those that watch that nothing more is served, and let go of them."""
        self._closed = True
        self.changed()

    async def check(self, message: bytes) -> bytes:
        """A serialised ``HealthCheckResponse`` to a serialised ``HealthCheckRequest``.

        Raises:
            NotFound: ``service_not_found``.
            MalformedRequest: The message is not valid.
        """
        name = protobuf.parse(pb.HealthCheckRequest, message).service
        status = self._status(name)
        if status is _Status.SERVICE_UNKNOWN:
            raise NotFound(f"there is no service {name!r}", code="service_not_found")
        return _response(status)

    async def list(self, message: bytes) -> bytes:
        """A serialised ``HealthListResponse`` to a serialised ``HealthListRequest``."""
        response = pb.HealthListResponse()
        for name in self._services:
            response.statuses[name].status = self._status(name)
        return bytes(response.SerializeToString())

    async def watch(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Serialised ``HealthCheckResponse`` messages, one at once and one whenever the status has changed.

        Args:
            messages: The one request.

        Raises:
            Unavailable: The server ends.
            MalformedRequest: The message is not valid.
        """
        name = protobuf.parse(pb.HealthCheckRequest, await anext(messages, b"")).service
        last_status = None
        while not self._closed:
            # taken before the status is read, so that no change in between is missed
            change = self._change
            # unlike a check, a watch of an unknown service goes on: it may be added later (health-checking.md)
            status = self._status(name)
            if status != last_status:
                last_status = status
                yield _response(status)
            else:
                await change.wait()
        if last_status != self._status(name):
            yield _response(self._status(name))
        raise Unavailable("the server is stopping")

    def _status(self, name: str) -> pb.HealthCheckResponse.ServingStatus:
        if name not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._ready() and not self._closed else _Status.NOT_SERVING


def _response(status: pb.HealthCheckResponse.ServingStatus) -> bytes:
    return bytes(pb.HealthCheckResponse(status=status).SerializeToString())
