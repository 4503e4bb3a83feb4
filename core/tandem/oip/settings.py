"""Settings that both servers have; see :mod:`tandem.oip.flags` for how they become a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tandem.oip.flags import Flag, duration, natural, port, positive, span
from tandem.oip.uploads import Uploads


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of every server of the Open Inference Protocol.

    Attributes whose names end in ``_ms`` are milliseconds, in ``_s`` seconds.
    """

    host: Annotated[str, Flag("address to listen at")] = "0.0.0.0"  # noqa: S104 (a container serves its pod's address)
    http_port: Annotated[int, Flag("port of HTTP, health and metrics, 0 for any free one", port)] = 8080
    grpc_port: Annotated[int, Flag("port of gRPC, 0 for none", port)] = 8081
    workers: Annotated[
        int,
        Flag(
            "most requests in flight, 0 for no limit; never a number of processes: KServe sets it to "
            "containerConcurrency",
            natural,
        ),
    ] = 0
    max_body_bytes: Annotated[int, Flag("longest body of a request", positive)] = 8 * 2**20
    max_buffered_bytes: Annotated[
        int,
        Flag(
            "bytes of long requests that may be held at once, for HTTP and for gRPC each; more are answered with 429",
            positive,
        ),
    ] = 128 * 2**20
    upload_timeout_s: Annotated[
        float, Flag("longest time from the first to the last byte of a request, in seconds", duration)
    ] = 30.0
    max_connections: Annotated[
        int,
        Flag(
            "connections at once, for HTTP and for gRPC each; of more, the one that was idle for longest is closed",
            positive,
        ),
    ] = 4096
    shutdown_grace_s: Annotated[float, Flag("time for requests in flight to end after SIGTERM, in seconds", span)] = (
        20.0
    )

    def uploads(self) -> Uploads:
        """Limits of requests that are on their way over HTTP, in this process."""
        return Uploads(
            max_body_bytes=self.max_body_bytes,
            max_buffered_bytes=self.max_buffered_bytes,
            timeout_s=self.upload_timeout_s,
            max_connections=self.max_connections,
        )
