"""Where records may be delivered."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from tandem.errors import TandemError

TOKEN_VARIABLE: Final = "TANDEM_PREDICTION_LOG_TOKEN"  # noqa: S105 (the name of a variable)
"""Environment variable with the token that a receiver over HTTP is shown."""

Event = dict[str, Any]
"""A CloudEvent."""

_BATCH: Final = "application/cloudevents-batch+json"
_TIMEOUT_S: Final = 10.0
_PASSING: Final = frozenset({408, 425, 429})
"""Of 4xx, those that say nothing against the events."""


class SinkUnavailable(TandemError):
    """A sink does not take events now; they are to be sent again later."""


class EventsRejected(TandemError):
    """A sink will never take these events."""


class Sink(Protocol):
    """Takes events."""

    def send(self, events: Sequence[Event]) -> None:
        """Deliver events; returns when all of them have been taken.

        Raises:
            SinkUnavailable: some may have been taken, perhaps; all are to be sent again.
            EventsRejected: there is no sense in sending them again.
        """

    def close(self) -> None:
        """Give back connections."""
        ...


def open_sink(address: str) -> Sink:
    """The sink at an address, ``http://``, ``https://`` or ``kafka://``.

    Raises:
        SinkUnavailable: the package that it needs is not installed.
    """
    if address.startswith("kafka://"):
        from tandem_transformer.prediction_log.kafka_sink import KafkaSink

        return KafkaSink(address)
    return HttpSink(address, os.environ.get(TOKEN_VARIABLE, ""))


class HttpSink:
    """Posts events as batches of CloudEvents in JSON, over one connection.

    Args:
        address: URL of the receiver.
        token: Is sent as a bearer token; empty for none.
    """

    def __init__(self, address: str, token: str = "") -> None:
        parts = urlsplit(address)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"content-type": _BATCH} | ({"authorization": f"Bearer {token}"} if token else {})
        host = parts.hostname or ""
        self._connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
        )

    def send(self, events: Sequence[Event]) -> None:
        """Post a batch."""
        body = msgspec.json.encode(events)
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            # the next request opens another connection
            self.close()
            raise SinkUnavailable(str(error) or type(error).__name__) from error
        if 400 <= response.status < 500 and response.status not in _PASSING:
            raise EventsRejected(f"the receiver answers {response.status} {response.reason}")
        if not 200 <= response.status < 300:
            raise SinkUnavailable(f"the receiver answers {response.status} {response.reason}")

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._connection.close()
